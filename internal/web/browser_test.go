//go:build browser

// The tests in this file drive Chromium: make test-browser.
package web_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"multiattempt/internal/web"
)

const (
	// patience bounds a whole test in the browser; none waits for the clock.
	patience = 2 * time.Minute
	axeFile  = "../../.cache/web/axe-4.14.1.min.js"
)

// tab is a page in a browser, and everything it complained about.
type tab struct {
	ctx context.Context
	t   *testing.T

	mu         sync.Mutex
	complaints []string
	hosts      map[string]bool
}

var browser struct {
	once sync.Once
	ctx  context.Context
}

// newTab opens a page in a browser that is started once.
func newTab(t *testing.T) *tab {
	t.Helper()
	browser.once.Do(func() {
		options := []chromedp.ExecAllocatorOption{chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck}
		for _, flag := range []string{"headless", "no-sandbox", "disable-gpu", "disable-quic", "disable-background-networking",
			"disable-component-update", "disable-sync", "disable-dev-shm-usage", "hide-scrollbars"} {
			options = append(options, chromedp.Flag(flag, true))
		}
		allocator, _ := chromedp.NewExecAllocator(context.Background(), options...)
		browser.ctx, _ = chromedp.NewContext(allocator)
		if err := chromedp.Run(browser.ctx); err != nil {
			panic(fmt.Sprintf("chromium does not start: %v", err))
		}
	})
	ctx, cancel := chromedp.NewContext(browser.ctx)
	ctx, stop := context.WithTimeout(ctx, patience)
	b := &tab{ctx: ctx, t: t, hosts: map[string]bool{}}
	chromedp.ListenTarget(ctx, b.listen)
	t.Cleanup(func() { stop(); cancel() })
	b.run(network.Enable(), cdplog.Enable(), runtime.Enable())
	return b
}

func (b *tab) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, "exception: "+e.ExceptionDetails.Error())
	case *cdplog.EventEntryAdded:
		if e.Entry.Level == cdplog.LevelError {
			b.complaints = append(b.complaints, "log: "+e.Entry.Text+" "+e.Entry.URL)
		}
	case *page.EventJavascriptDialogOpening:
		if e.Type != page.DialogTypeConfirm {
			b.complaints = append(b.complaints, "dialogue: "+e.Message)
		}
		go chromedp.Run(b.ctx, page.HandleJavaScriptDialog(true)) //nolint:errcheck // the page goes on, or the test ends
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err == nil && u.Host != "" {
			b.hosts[u.Host] = true
		}
	}
}

func (b *tab) run(actions ...chromedp.Action) {
	b.t.Helper()
	require.NoError(b.t, chromedp.Run(b.ctx, actions...))
}

// eval returns what an expression is.
func eval[T any](b *tab, expression string) (value T) {
	b.t.Helper()
	b.run(chromedp.Evaluate(expression, &value, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	return value
}

// until waits for an expression to be true.
func (b *tab) until(expression string) {
	b.t.Helper()
	require.EventuallyWithT(b.t, func(c *assert.CollectT) {
		var done bool
		// A page that is being left has no context to evaluate in: the next try sees the new one.
		assert.NoError(c, chromedp.Run(b.ctx, chromedp.Evaluate(expression, &done)))
		assert.True(c, done, expression)
	}, 30*time.Second, 50*time.Millisecond)
}

// look opens a page and waits for what its scripts draw.
func (b *tab) look(address string) {
	b.t.Helper()
	b.run(chromedp.Navigate(address), chromedp.WaitReady("main"))
	b.until(`[...document.querySelectorAll("#charts, #tokens")].every(e => e.dataset.drawn) && document.fonts.status === "loaded"`)
}

// size makes the window so large, and its theme light or dark.
func (b *tab) size(width, height int64, theme string) {
	b.run(emulation.SetDeviceMetricsOverride(width, height, 1, width < 600),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}))
}

// quiet fails when the page complained, or asked anybody but the server.
func (b *tab) quiet(s *site) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Empty(b.t, b.complaints)
	require.Equal(b.t, map[string]bool{strings.TrimPrefix(s.URL, "http://"): true}, b.hosts)
}

// accessible fails on every serious finding of axe-core.
func (b *tab) accessible() {
	b.t.Helper()
	script, err := os.ReadFile(axeFile)
	require.NoError(b.t, err, "tools/web/fetch.sh axe .cache/web")
	b.run(chromedp.Evaluate(string(script)+"; true", nil))
	findings := eval[[]string](b, `axe.run().then(r => r.violations.filter(v => ["serious", "critical"].includes(v.impact)).map(v => v.id + ": " + v.nodes.map(n => n.html.slice(0, 160) + " " + (n.failureSummary || "")).slice(0, 3).join(" | ")))`)
	require.Empty(b.t, findings)
}

// demo lists every kind of page.
func demo() map[string]string {
	return map[string]string{
		"runs": "/", "run": "/runs/demo", "stored run": "/runs/hostile", "failed run": "/runs/unlucky", "dialogues": "/runs/demo/dialogues?q=marbles",
		"no dialogue": "/runs/demo/dialogues?q=nowhere+to+be+found", "dialogue": "/runs/demo/dialogues/38/5", "evaluated": "/runs/demo/evaluations/40/3/4?set=arithmetic",
		"problem": "/problem?id=arithmetic-007&run=demo&run=baseline", "compare": "/compare?run=baseline&run=demo", "nothing to compare": "/compare",
		"missing": "/runs/nobody",
	}
}

func TestEveryPageIsAccessibleAndAsksNobodyElse(t *testing.T) {
	s := open(t, nil)
	for name, path := range demo() {
		t.Run(name, func(t *testing.T) {
			b := newTab(t)
			for _, theme := range []string{"light", "dark"} {
				b.size(1280, 900, theme)
				b.look(s.URL + path)
				b.accessible()
			}
			b.size(390, 844, "light")
			b.look(s.URL + path)
			require.LessOrEqual(t, eval[float64](b, "document.documentElement.scrollWidth"), 390.0, "no sideways scrolling on a phone")
			b.accessible()
			if name == "missing" { // the browser itself logs the status 404
				return
			}
			b.quiet(s)
		})
	}
}

func TestHostileTextIsShownNotObeyed(t *testing.T) {
	s := open(t, nil)
	b := newTab(t)
	paths := []string{"/runs/hostile", "/runs/hostile/dialogues", "/runs/hostile/dialogues?from=2&to=2&order=oldest", "/problem?id=" + url.QueryEscape(planted) + "&run=hostile",
		"/runs/hostile/dialogues?q=" + url.QueryEscape(planted), "/compare?run=" + url.QueryEscape(planted)}
	for at := range 4 {
		paths = append(paths, fmt.Sprintf("/runs/hostile/dialogues/2/%d", at))
	}
	for _, path := range paths {
		b.look(s.URL + path)
		require.Equal(t, "undefined", eval[string](b, "typeof window.planted"), path)
		text := eval[string](b, "document.body.innerText")
		require.NotContains(t, text, "\x1b", path)
		require.NotContains(t, text, "\u202e", path)
		require.Zero(t, eval[int](b, `document.querySelectorAll("main img, main svg, a[href^='javascript']").length`), path)
	}
	b.look(s.URL + "/runs/hostile/dialogues/2/0")
	require.Contains(t, eval[string](b, `document.querySelector(".turn.question").innerText`), planted, "it is shown as it is")
	b.look(s.URL + "/runs/hostile/dialogues/2/1")
	require.Contains(t, eval[string](b, `document.querySelector("main").innerText`), "<U+001B>[2J")
	b.look(s.URL + "/runs/hostile/dialogues/2/2")
	require.Contains(t, eval[string](b, `document.querySelector("main").innerText`), "abc<U+202E>gnp.exe")
	b.look(s.URL + "/runs/hostile/dialogues/2/3")
	require.Less(t, eval[int](b, "document.documentElement.outerHTML.length"), 1<<20, "a line of a megabyte is cut")
	require.Contains(t, eval[string](b, `document.querySelector("main").innerText`), "All of it as plain text")
	b.quiet(s)
}

func TestPagesUpdateThemselves(t *testing.T) {
	store := own(t)
	s := open(t, func(o *web.Options) { o.Store = store })
	b := newTab(t)
	b.look(s.URL + "/runs/demo")
	b.until(`document.querySelector("#liveness").textContent === "Updates by itself"`)
	require.Equal(t, 40, eval[int](b, `shownFigures[0].steps.length`))
	add(t, store, 41)
	s.service.change(func(r *web.LiveRun) { r.Step, r.Phase = 41, "evaluating" })
	b.until(`document.querySelector("#state").innerText.includes("evaluating")`)
	b.until(`shownFigures[0].steps.length === 41`)
	b.until(`document.querySelector("#tiles").innerText.includes("41")`)
	b.quiet(s)

	b.look(s.URL + "/")
	b.until(`document.querySelector("#liveness").textContent === "Updates by itself"`)
	s.service.change(func(r *web.LiveRun) { r.Run = "renamed" })
	b.until(`document.querySelector("#runs").innerText.includes("renamed")`)
}

func TestSteeringInTheBrowser(t *testing.T) {
	s := open(t, nil)
	b := newTab(t)
	b.look(s.URL + "/runs/demo")
	b.run(chromedp.Click(`//section[@aria-label="Steering"]//button[text()="Pause"]`, chromedp.BySearch), chromedp.WaitVisible(".notices.done"))
	require.Contains(t, eval[string](b, "document.body.innerText"), "demo: pause is on its way")
	require.Contains(t, eval[string](b, `document.querySelector("#state").innerText`), "pauses after the iteration under way")
	require.Contains(t, eval[string](b, `document.querySelector("#steered").innerText`), "pause")
	b.run(chromedp.SetValue(`input[name="policy_lr"]`, "2"), chromedp.Click(`//button[text()="Set rates"]`, chromedp.BySearch), chromedp.WaitVisible(".error"))
	require.Contains(t, eval[string](b, "document.body.innerText"), "policy_lr = 2: from 0 to 1")
	b.look(s.URL + "/runs/demo")
	b.run(chromedp.Click(`//button[text()="Stop"]`, chromedp.BySearch), chromedp.WaitVisible(".notices.done")) // and its confirmation
	require.Len(t, s.service.steered, 2)
}

func TestLogInInTheBrowser(t *testing.T) {
	const token = "a token of enough characters"
	s := open(t, func(o *web.Options) { o.Token = token })
	b := newTab(t)
	b.look(s.URL + "/runs/demo?x=1")
	b.accessible()
	b.run(chromedp.SendKeys(`input[name="token"]`, "not this one, surely\r"))
	b.until(`document.querySelector("[role=alert]") !== null`)
	b.run(chromedp.SendKeys(`input[name="token"]`, token+"\r"))
	b.until(`document.querySelector("#charts") !== null`)
	require.Equal(t, s.URL+"/runs/demo?x=1", eval[string](b, "location.href"), "no token in the address")
	require.NotContains(t, eval[string](b, "document.documentElement.outerHTML"), token)
	require.Empty(t, eval[string](b, "document.cookie"), "scripts cannot read the session")
}

func TestTokensAndKeys(t *testing.T) {
	s := open(t, nil)
	b := newTab(t)
	b.look(s.URL + "/runs/demo/dialogues/38/5")
	require.Equal(t, []string{"mask", "logprob", "ratio", "advantage", "value"}, eval[[]string](b, `[...document.querySelectorAll("#colours input")].map(i => i.value)`))
	b.run(chromedp.Click(`#colours input[value="advantage"]`))
	require.Positive(t, eval[int](b, `document.querySelectorAll(".t.pos1, .t.pos2, .t.pos3, .t.neg1, .t.neg2, .t.neg3").length`))
	require.Positive(t, eval[int](b, `document.querySelectorAll(".t.forced").length`))
	b.run(chromedp.Focus(".tokens"))
	b.run(chromedp.Evaluate(`document.querySelector(".tokens").dispatchEvent(new KeyboardEvent("keydown", {key: "End", bubbles: true}))`, nil))
	require.Contains(t, eval[string](b, `document.querySelector(".token-facts").innerText`), "token")
	b.run(chromedp.Evaluate(`document.activeElement.blur()`, nil), chromedp.KeyEvent("j"))
	b.until(`location.pathname.endsWith("/38/6")`)

	b.look(s.URL + "/runs/demo/dialogues")
	b.run(chromedp.Evaluate(`document.activeElement.blur()`, nil), chromedp.KeyEvent("/"))
	require.Equal(t, "q", eval[string](b, "document.activeElement.name"))
	b.run(chromedp.Evaluate(`document.activeElement.value = ""`, nil), chromedp.SendKeys(`input[name="q"]`, "shells\r")) // the browser here types the key that was taken

	b.until(`location.search.includes("q=shells") && document.querySelector(".dialogues")?.innerText.includes("shells")`)
	b.quiet(s)
}

// TestScreenshots keeps pictures of the pages in the folder that $SCREENSHOTS names: make screenshots.
func TestScreenshots(t *testing.T) {
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		t.Log("SCREENSHOTS is not set: the pages were looked at, no picture kept")
		dir = t.TempDir()
	}
	s := open(t, nil)
	for _, shot := range []struct {
		name, path, theme, prepare string
		width, height              int64
	}{
		{"runs", "/", "light", "", 1240, 560},
		{"run", "/runs/demo", "light", "", 1240, 1120},
		{"run-dark", "/runs/demo", "dark", "", 1240, 760},
		{"dialogues", "/runs/demo/dialogues?trait=recovered", "light", "document.activeElement.blur()", 1240, 820},
		{"dialogue", "/runs/demo/dialogues?used=3&outcome=correct", "light", `document.querySelector("#colours input[value=advantage]").click()`, 1240, 1300},
		{"compare", "/compare?run=baseline&run=demo", "light", "", 1240, 1120},
		{"problem", "/problem?id=arithmetic-007&run=demo&run=baseline", "dark", "", 1240, 700},
		{"phone", "/runs/demo", "dark", "", 390, 844},
	} {
		b := newTab(t)
		b.size(shot.width, shot.height, shot.theme)
		b.look(s.URL + shot.path)
		if shot.name == "dialogue" { // the first that needed three attempts
			b.look(s.URL + eval[string](b, `document.querySelector(".dialogue").getAttribute("href")`))
		}
		if shot.prepare != "" {
			b.run(chromedp.Evaluate(shot.prepare, nil))
		}
		var picture []byte
		b.run(chromedp.ActionFunc(func(ctx context.Context) (err error) {
			picture, err = page.CaptureScreenshot().WithFormat(page.CaptureScreenshotFormatWebp).WithQuality(60).Do(ctx)
			return err
		}))
		require.NoError(t, os.WriteFile(filepath.Join(dir, shot.name+".webp"), picture, 0o644))
	}
}

// change alters what the service knows of its first run.
func (s *service) change(f func(*web.LiveRun)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.runs[0])
}
