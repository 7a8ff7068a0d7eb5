// Draws figures with uPlot. Colours are the page's own, read from its style sheet.
"use strict";

const figures = (() => {
  const palette = 8;
  const drawn = new Set(); // every figure on the page, to be drawn again in another theme or size

  // colour returns what a custom property of the style sheet looks like now.
  function colour(name) {
    const probe = document.createElement("i");
    probe.style.color = `var(--${name})`;
    document.body.append(probe);
    const seen = getComputedStyle(probe).color;
    probe.remove();
    return seen;
  }

  function faded(rgb, alpha) {
    return rgb.replace(/^rgba?\(([^,]+),([^,]+),([^,)]+).*$/, `rgba($1,$2,$3,${alpha})`);
  }

  const digits = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
  function shown(v) {
    if (v == null) return "–";
    const a = Math.abs(v);
    return a !== 0 && (a < 1e-3 || a >= 1e6) ? v.toExponential(2) : digits.format(v);
  }

  // smoothed is the exponential moving average of values, started without bias.
  function smoothed(values, weight) {
    if (!weight) return values;
    let sum = 0, total = 0;
    return values.map((v) => {
      if (v == null) return null;
      sum = sum * weight + v * (1 - weight);
      total = total * weight + (1 - weight);
      return sum / total;
    });
  }

  function axes(unit) {
    const font = "12px system-ui, sans-serif";
    const common = { stroke: colour("dim"), font, ticks: { stroke: colour("line"), width: 1 }, grid: { stroke: colour("line"), width: 1 } };
    return [
      { ...common, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000], values: (u, ticks) => ticks.map(String) },
      { ...common, size: (u, values) => 18 + 7 * Math.max(3, ...(values || []).map((v) => String(v).length)), values: (u, ticks) => ticks.map(shown) },
    ];
  }

  // warningLine draws the value that should not be crossed.
  function warningLine(value) {
    return {
      hooks: {
        draw: [(u) => {
          const y = u.valToPos(value, "y", true);
          if (!(y > u.bbox.top && y < u.bbox.top + u.bbox.height)) return;
          u.ctx.save();
          u.ctx.strokeStyle = colour("wrong");
          u.ctx.setLineDash([6, 5]);
          u.ctx.beginPath();
          u.ctx.moveTo(u.bbox.left, y);
          u.ctx.lineTo(u.bbox.left + u.bbox.width, y);
          u.ctx.stroke();
          u.ctx.restore();
        }],
      },
    };
  }

  function describe(chart, steps) {
    const parts = chart.series.filter((s) => s.label !== "low" && s.label !== "high").map((s) => {
      const last = s.values.findLast((v) => v != null);
      return `${s.label} ${shown(last)}`;
    });
    return `${chart.title}${chart.unit ? `, ${chart.unit}` : ""}. At ${steps.at(-1)}: ${parts.join(", ")}.`;
  }

  // frame makes the card around a figure and returns where to draw.
  function frame(chart) {
    const card = document.createElement("figure");
    card.className = "chart";
    card.dataset.chart = chart.id;
    const caption = document.createElement("figcaption");
    const title = document.createElement("span");
    title.textContent = chart.title;
    const unit = document.createElement("span");
    unit.className = "dim";
    unit.textContent = chart.unit;
    caption.append(title, unit);
    const plot = document.createElement("div");
    plot.setAttribute("role", "img");
    card.append(caption, plot);
    if (chart.help) {
      const help = document.createElement("p");
      help.className = "help";
      help.textContent = chart.help;
      card.append(help);
    }
    return { card, plot };
  }

  // line is one series' look; low and high are the edges of the band around the series before them.
  function look(s, i, index) {
    const stroke = colour(s.class || `c${index % palette}`);
    const label = s.label;
    const base = { label, stroke, width: 1.8, spanGaps: false, points: { show: false }, value: (u, v) => shown(v) };
    if (s.class === "optimum") return { ...base, dash: [6, 4], width: 1.3 };
    return base;
  }

  function draw(f) {
    if (f.plot) f.plot.destroy();
    const { chart, at } = f;
    const series = [{ label: f.x, value: (u, v) => (v == null ? "–" : String(v)) }];
    const bands = [];
    let index = -1, stroke = "";
    chart.series.forEach((s, i) => {
      if (s.label === "low" || s.label === "high") {
        series.push({ label: s.label, stroke: faded(stroke, 0.001), width: 0, points: { show: false } });
        if (s.label === "high") bands.push({ series: [i + 1, i], fill: faded(stroke, 0.14) });
        return;
      }
      const one = look(s, i, ++index);
      stroke = one.stroke;
      if (f.dots && s.class !== "optimum") one.points = { show: true, size: 6, fill: stroke };
      series.push(one);
    });
    const options = {
      width: Math.max(240, at.clientWidth), height: f.height, series, bands, axes: axes(chart.unit),
      scales: { x: { time: false }, y: f.range ? { range: f.range } : { range: (u, lo, hi) => padded(lo, hi) } },
      cursor: { sync: { key: f.sync }, drag: { x: true, y: false }, points: { size: 7 } },
      hooks: { setCursor: [(u) => { if (u.cursor.idx == null) showLast(u); }] }, legend: { live: true }, plugins: chart.warn ? [warningLine(chart.warn)] : [],
    };
    f.plot = new uPlot(options, data(f), at);
    showLast(f.plot);
    at.setAttribute("aria-label", describe(chart, f.steps));
    if (chart.series.some((s) => s.label === "low")) {
      at.querySelectorAll(".u-legend .u-series").forEach((row, i) => {
        if (i > 0 && ["low", "high"].includes(chart.series[i - 1].label)) row.hidden = true;
      });
    }
  }

  // showLast puts the newest values into the legend while nobody points at older ones.
  function showLast(u) {
    const last = u.data[0].length - 1;
    u.setLegend({ idxs: u.series.map((s, i) => u.data[i].findLastIndex((v) => v != null)), idx: last }, false);
  }

  function padded(lo, hi) {
    if (lo == null || hi == null) return [0, 1];
    const pad = (hi - lo || Math.abs(hi) || 1) * 0.08;
    const low = lo >= 0 && lo - pad < 0 ? 0 : lo - pad;
    return [low, hi + pad];
  }

  function data(f) {
    return [f.steps, ...f.chart.series.map((s) => smoothed(s.values, f.smooth))];
  }

  // add puts a figure into a place of the page.
  function add(into, chart, steps, options) {
    const { card, plot } = frame(chart);
    into.append(card);
    const f = { chart, steps, at: plot, card, smooth: 0, height: 190, x: "step", sync: "steps", ...options };
    drawn.add(f);
    draw(f);
    return f;
  }

  function redraw() {
    for (const f of drawn) draw(f);
  }

  let waiting = 0;
  addEventListener("resize", () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => {
      for (const f of drawn) f.plot.setSize({ width: Math.max(240, f.at.clientWidth), height: f.height });
    });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

  return { add, draw, data, redraw, describe, drawn };
})();
