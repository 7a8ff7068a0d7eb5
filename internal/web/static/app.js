// Makes pages live. Everything works without it, except figures and coloured tokens.
"use strict";

const $ = (selector) => document.querySelector(selector);

// ---- theme

$("#theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("theme", dark ? "light" : "dark"); } catch { /* holds for this page only */ }
  figures.redraw();
});

// ---- forms that cannot be taken back ask first

document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});

// ---- keys: / searches, j and k go through dialogues

document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  const search = $("input[type=search]");
  if (event.key === "/" && search) {
    event.preventDefault();
    search.focus();
  }
  const link = event.key === "j" ? $("a[rel=next]") : event.key === "k" ? $("a[rel=prev]") : null;
  if (link) link.click();
});

// ---- figures of a run

const charts = $("#charts");
let shownFigures = [];

async function loadSeries(after) {
  const response = await fetch(`${charts.dataset.src}?after=${after}`);
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}

async function drawCharts() {
  const { steps, charts: all } = await loadSeries(0);
  charts.replaceChildren();
  shownFigures = all.map((chart) => figures.add(charts, chart, steps));
  charts.dataset.last = String(steps.at(-1) ?? 0);
  charts.dataset.drawn = "true";
  $(".chart-tools").hidden = false;
  const smooth = $("#smooth");
  smooth.addEventListener("input", () => {
    for (const f of shownFigures) {
      f.smooth = Number(smooth.value);
      f.plot.setData(figures.data(f));
    }
  });
  $("#unzoom").addEventListener("click", () => shownFigures.forEach((f) => f.plot.setData(figures.data(f), true)));
}

// extendCharts adds the steps that are new; figures that appeared meanwhile need the whole page.
async function extendCharts() {
  const { steps, charts: more } = await loadSeries(Number(charts.dataset.last));
  if (!steps.length) return;
  if (more.length !== shownFigures.length) {
    shownFigures.forEach((f) => { f.plot.destroy(); figures.drawn.delete(f); });
    await drawCharts();
    return;
  }
  const all = shownFigures[0].steps;
  all.push(...steps);
  shownFigures.forEach((f, i) => {
    const redraw = more[i].series.length !== f.chart.series.length;
    more[i].series.forEach((s, j) => {
      f.chart.series[j] ??= { ...s, values: Array(all.length - steps.length).fill(null) };
      f.chart.series[j].values.push(...s.values);
    });
    f.steps = all;
    if (redraw) figures.draw(f);
    else f.plot.setData(figures.data(f));
    f.at.setAttribute("aria-label", figures.describe(f.chart, all));
  });
  charts.dataset.last = String(all.at(-1));
}

if (charts) {
  drawCharts().catch((error) => { charts.textContent = `The figures cannot be shown: ${error.message}`; });
}

document.querySelectorAll("[data-figure]").forEach((place) => {
  const { steps, chart } = JSON.parse(place.dataset.figure);
  figures.add(place, chart, steps, { height: 320, x: "k", sync: "attempts", dots: true, range: () => [0, 100] });
});

// ---- what changes while one looks

let refreshing = false, again = false;

// refresh loads this page anew and replaces what is marked as live.
async function refresh() {
  if (refreshing) { again = true; return; }
  refreshing = true;
  try {
    const response = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!response.ok) return;
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    document.querySelectorAll("[data-live]").forEach((old) => {
      const now = fresh.getElementById(old.id);
      // What somebody is typing into, or has chosen, stays.
      if (!now || old.innerHTML === now.innerHTML || old.contains(document.activeElement) && document.activeElement.matches("input, select")) return;
      const chosen = [...old.querySelectorAll("input:checked")].map((i) => i.value);
      old.replaceChildren(...now.childNodes);
      old.querySelectorAll("input[type=checkbox]").forEach((i) => { i.checked = chosen.includes(i.value); });
    });
    if (charts && charts.dataset.drawn) await extendCharts();
    else if (!charts && fresh.getElementById("charts")) location.reload();
  } finally {
    refreshing = false;
    if (again) { again = false; refresh(); }
  }
}

function follow() {
  const page = document.body.dataset.page;
  if (page !== "runs" && page !== "run") return;
  const run = page === "run" ? decodeURIComponent(location.pathname.split("/")[2]) : "";
  const stream = new EventSource(run ? `/events?run=${encodeURIComponent(run)}` : "/events");
  const say = $("#liveness");
  stream.addEventListener("open", () => { say.className = "on"; say.textContent = "Updates by itself"; });
  stream.addEventListener("error", () => { say.className = ""; say.textContent = "Not connected; trying again"; });
  stream.addEventListener("changed", () => { refresh().catch(() => {}); });
  addEventListener("pagehide", () => stream.close());
}
follow();

// ---- tokens

const colourings = {
  mask: { name: "trained", help: "sampled tokens: only these train" },
  logprob: { name: "log-prob", help: "under the sampling policy; red: surprising", scale: (v) => -Math.min(3, -v) },
  ratio: { name: "ratio", help: "policy after the update over before", scale: (v) => 6 * Math.log(v) },
  mismatch: { name: "ratio", help: "trainer over sampler", scale: (v) => 60 * Math.log(v) },
  advantage: { name: "advantage", help: "red: discouraged, blue: encouraged", scale: (v) => 1.5 * v },
  value: { name: "value", help: "what the critic expected", scale: (v) => 3 * v },
};

function bin(x) {
  const n = Math.max(-3, Math.min(3, Math.round(x)));
  return n === 0 ? "" : n < 0 ? `neg${-n}` : `pos${n}`;
}

// visible shows what is only white space.
function visible(piece) {
  return piece.replace(/\n/g, "⏎\n").replace(/\t/g, "⇥\t") || "∅";
}

function tokenFacts(place, view, i) {
  place.replaceChildren();
  const fact = (name, value) => {
    const span = document.createElement("span");
    const b = document.createElement("b");
    b.textContent = value;
    span.append(`${name} `, b);
    place.append(span);
  };
  fact("token", String(i));
  fact("id", String(view.ids[i]));
  fact("text", JSON.stringify(view.pieces[i]));
  if (!view.attempt[i]) {
    fact("", "forced, not trained");
    return;
  }
  fact("attempt", String(view.attempt[i]));
  const names = { logprob: "log-prob", trainer: "trainer's log-prob", reference: "reference's", after: "after the update", value: "value", advantage: "advantage", ratio: "ratio", mismatch: "trainer/sampler" };
  for (const [key, name] of Object.entries(names)) if (view.scores[key]) fact(name, view.scores[key][i].toFixed(4));
}

async function showTokens(place) {
  const response = await fetch(place.dataset.src);
  if (!response.ok) throw new Error(await response.text());
  const view = await response.json();
  const most = 4000; // more would make the page slow; the rest comes on request
  const box = document.createElement("div");
  box.className = "tokens";
  box.tabIndex = 0;
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", "Tokens; arrow keys go from one to the next");
  const facts = document.createElement("div");
  facts.className = "token-facts";
  facts.setAttribute("role", "status");
  facts.textContent = "Point at a token, or go through them with the arrow keys.";
  const add = (from, to) => {
    const part = document.createDocumentFragment();
    for (let i = from; i < to; i++) {
      const t = document.createElement("span");
      t.className = view.attempt[i] ? "t" : "t forced";
      t.dataset.i = String(i);
      t.tabIndex = -1;
      t.textContent = visible(view.pieces[i]);
      part.append(t);
    }
    box.append(part);
  };
  add(0, Math.min(most, view.ids.length));
  place.replaceChildren(facts, box);
  if (view.ids.length > most) {
    const more = document.createElement("button");
    more.type = "button";
    more.textContent = `Show the other ${view.ids.length - most} tokens`;
    more.addEventListener("click", () => { add(most, view.ids.length); more.remove(); paint(); });
    place.append(more);
  }
  for (const reason of view.missing) {
    const p = document.createElement("p");
    p.className = "dim small";
    p.textContent = reason;
    place.append(p);
  }
  const look = (target) => { if (target.dataset.i) tokenFacts(facts, view, Number(target.dataset.i)); };
  box.addEventListener("pointerover", (event) => look(event.target));
  box.addEventListener("focusin", (event) => look(event.target));
  box.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 10, ArrowUp: -10, Home: -1e9, End: 1e9 }[event.key];
    if (!step) return;
    event.preventDefault();
    const now = Number(document.activeElement.dataset.i ?? -1);
    const next = Math.max(0, Math.min(box.children.length - 1, now + step));
    box.children[next].focus();
  });
  let by = "mask";
  const paint = () => {
    for (const t of box.children) {
      const i = Number(t.dataset.i);
      const c = !view.attempt[i] ? "forced" : by === "mask" ? "on" : bin(colourings[by].scale(view.scores[by][i]));
      t.className = `t ${c}`;
    }
  };
  const choices = $("#colours");
  for (const [key, c] of Object.entries(colourings)) {
    if (key !== "mask" && !view.scores[key]) continue;
    const label = document.createElement("label");
    label.title = c.help;
    const input = document.createElement("input");
    input.type = "radio";
    input.name = "colour";
    input.value = key;
    input.checked = key === by;
    input.addEventListener("change", () => { by = key; paint(); });
    label.append(input, c.name);
    choices.append(label);
  }
  choices.hidden = false;
  paint();
  place.dataset.drawn = "true";
}

const tokens = $("#tokens");
if (tokens) showTokens(tokens).catch((error) => { tokens.textContent = `The tokens cannot be shown: ${error.message}`; });
