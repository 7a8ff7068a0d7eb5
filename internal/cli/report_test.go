package cli

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob/local"
	"multiattempt/internal/rollout"
	"multiattempt/internal/runs/runstest"
)

const script = `</div><script src="http://evil.example/x.js">alert(1)</script><img src=x onerror=alert(2)>`

// reported makes two evaluated runs in a folder and returns it. Of the second run, every third dialogue is hostile.
func reported(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	store, err := local.Open(dir)
	require.NoError(t, err)
	plant := func(step, at int, e *rollout.Episode) {
		if step < 3 || at%3 != 0 {
			return
		}
		e.Question += script
		e.Attempts[0].Text = "```\n# heading\n" + script + "\x1b[2J\u202e" + strings.Repeat("A", 20_000)
	}
	o := runstest.Options{Run: "a", Steps: 4, Problems: 10, Seed: 1, Evaluate: true}
	require.NoError(t, runstest.Make(t.Context(), store, o))
	o.Run, o.Skill, o.Edit = "b", 0.9, plant
	require.NoError(t, runstest.Make(t.Context(), store, o))
	return dir
}

func write(t *testing.T, store, file string, more ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), file)
	code, said, errs := invoke(t, append([]string{"report", "a", "b", "-o", out, "--store-dir", store}, more...)...)
	require.Zero(t, code, errs)
	require.Equal(t, out+"\n", said)
	b, err := os.ReadFile(out)
	require.NoError(t, err)
	return string(b)
}

// today is when a report was made; nothing else differs between two of the same runs.
var today = regexp.MustCompile(`\d+ \w+ \d{4}, \d\d:\d\d UTC`)

func TestAReportNeedsNothingElse(t *testing.T) {
	store := reported(t)
	page := write(t, store, "r.html")
	require.Equal(t, today.ReplaceAllString(page, ""), today.ReplaceAllString(write(t, store, "r.html"), ""), "the same runs, the same report")
	require.Equal(t, 50, strings.Count(page, `<div class="dialogue">`))
	require.NotZero(t, strings.Count(page, "<svg"))
	for _, want := range []string{"Time per stage", "Memory of the learner", "Accuracy by attempts", "paired by problem", "Resolved settings", "quickstart"} {
		require.True(t, strings.Contains(page, want), want)
	}
	// Nothing is requested, and nothing runs.
	for _, address := range regexp.MustCompile(`https?://[^"<\s]*`).FindAllString(strings.ReplaceAll(page, "http://evil.example", ""), -1) {
		require.Contains(t, []string{"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}, address)
	}
	outside := regexp.MustCompile(`(?i)<(script|img|link|iframe|object|embed|video|audio)\b[^>]*|<[^>]*\s(src|onerror|onload|onclick)=|@import|url\(`)
	require.Empty(t, outside.FindAllString(page, 3))
	require.Contains(t, page, `http-equiv="Content-Security-Policy" content="default-src 'none'; `)
	require.Contains(t, page, "&lt;script src=")
	require.Contains(t, page, "&lt;U&#43;001B&gt;[2J&lt;U&#43;202E&gt;")
	require.Contains(t, page, "bytes more]")
	require.False(t, strings.ContainsAny(page, obeyed))

	// Every element that is opened is closed.
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	open := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		switch token.(type) {
		case xml.StartElement:
			open++
		case xml.EndElement:
			open--
		}
	}
	require.Zero(t, open)
}

func TestAReportAsMarkdown(t *testing.T) {
	store := reported(t)
	text := write(t, store, "r.md", "--dialogues", "7")
	require.Equal(t, 7, strings.Count(text, "\n### "), "dialogues")
	require.Contains(t, text, "# Report on 2 runs")
	for _, want := range []string{"| run | measurement |", "\n## Accuracy by attempts\n", "\n## Learning\n", "\n## Settings\n", "\n## Dialogues of b\n"} {
		require.Contains(t, text, want)
	}
	require.False(t, strings.ContainsAny(text, obeyed))
	require.Contains(t, text, "````text\n```\n# heading", "a fence that the text cannot close")
	require.NotContains(t, write(t, store, "r.md", "--dialogues", "0"), "## Dialogues")
}

func TestReportsAreRefused(t *testing.T) {
	store := reported(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"report", "a", "-o", "r.pdf"}, "a report is an .html or an .md file"},
		{[]string{"report", "nobody", "-o", "r.html"}, "no run is called nobody"},
		{[]string{"report", "a", "--dialogues", "-1"}, "--dialogues is -1"},
	} {
		code, _, errs := invoke(t, append(c.args, "--store-dir", store)...)
		require.Equal(t, exitWrongInput, code, errs)
		require.Contains(t, errs, c.want)
	}
}
