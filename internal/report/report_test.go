package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
	"multiattempt/internal/dataset"
	"multiattempt/internal/evaluate"
	"multiattempt/internal/report"
	"multiattempt/internal/rollout"
)

var update = flag.Bool("update", false, "rewrite testdata")

// evaluation makes a result on 12 smudged problems: at k attempts the first solved[k-1] of them are solved.
func evaluation(t *testing.T, solved ...int) *evaluate.Result {
	t.Helper()
	problems := dataset.SmudgedTest()[:12]
	byAttempts := map[int][]rollout.Episode{}
	for i, n := range solved {
		k := i + 1
		for p, problem := range problems {
			e := rollout.Episode{ProblemID: problem.ID, Question: problem.Question, Gold: problem.Answer, Index: p, MaxTries: k}
			for a := range k {
				attempt := rollout.Attempt{Start: 10 * a, End: 10*a + 8, Outcome: rollout.Wrong, Answer: "7", Text: `\boxed{7}`, Rule: "exact"}
				if a == k-1 && p < n {
					attempt = rollout.Attempt{Start: 10 * a, End: 10*a + 8, Outcome: rollout.Correct, Answer: problem.Answer,
						Text: `\boxed{` + problem.Answer + `}`, TypedCorrect: true, PaperCorrect: true, Rule: "exact"}
				}
				e.Attempts = append(e.Attempts, attempt)
			}
			byAttempts[k] = append(byAttempts[k], e)
		}
	}
	set, err := evaluate.NewSet(dataset.Smudged, problems, byAttempts)
	require.NoError(t, err)
	r := &evaluate.Result{Mode: "typed", Sets: []evaluate.Set{set}}
	r.Finish()
	return r
}

// sample is a report of three arms.
func sample(t *testing.T) *report.Report {
	t.Helper()
	var curve []report.Point
	for step := range 20 {
		curve = append(curve, report.Point{Step: step, Reward: float64(step)/20 - 0.5, Accuracy: float64(step) / 30})
	}
	episode := rollout.Episode{ProblemID: "smudged-test-0", Question: "47+? 2,5,9", Gold: "52", MaxTries: 2, Attempts: []rollout.Attempt{
		{Outcome: rollout.Wrong, Answer: "49", Text: `\boxed{49}`, Rule: "exact"},
		{Outcome: rollout.NoAnswer, Text: "<script>alert(1)</script>"},
	}}
	return &report.Report{
		Title: "A <report>", Lead: "Three policies & their accuracy.", Seconds: 612.34, Backend: "xla:cpu",
		Arms: []report.Arm{
			{Name: "base", Seed: 1, Result: evaluation(t, 4, 4, 5), Checkpoint: blob.Sum([]byte("base"))},
			{Name: "single", Seed: 1, Result: evaluation(t, 4, 5, 5), Checkpoint: blob.Sum([]byte("single")), Curve: curve, Spec: []byte(`{"seed":1}`)},
			{Name: "multi", Seed: 1, Result: evaluation(t, 4, 8, 10), Checkpoint: blob.Sum([]byte("multi")), Curve: curve, Spec: []byte(`{"seed":1}`),
				Examples: []rollout.Episode{episode}},
		},
	}
}

// golden compares with a file of testdata; -update rewrites it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}

func TestTables(t *testing.T) {
	r := sample(t)
	var text, markdown, csv bytes.Buffer
	for _, table := range append(r.Tables(), r.Details()) {
		require.NoError(t, table.WriteText(&text))
		require.NoError(t, table.WriteMarkdown(&markdown))
	}
	require.NoError(t, r.WriteCSV(&csv))
	golden(t, "tables.txt", text.Bytes())
	golden(t, "tables.md", markdown.Bytes())
	golden(t, "scores.csv", csv.Bytes())
}

func TestDifferences(t *testing.T) {
	r := sample(t)
	c, err := evaluate.Compare("single", r.Arms[1].Result, "multi", r.Arms[2].Result)
	require.NoError(t, err)
	var text bytes.Buffer
	for _, table := range report.Differences(c) {
		require.NoError(t, table.WriteText(&text))
	}
	golden(t, "differences.txt", text.Bytes())
}

func TestAverageTableMarksWhatIsMissing(t *testing.T) {
	r := sample(t)
	for i := range r.Arms {
		result := r.Arms[i].Result
		other := result.Sets[0]
		other.Name = "other"
		if i == 0 {
			other.Scores = other.Scores[:1]
		}
		result.Sets = append(result.Sets, other)
		result.Finish()
	}
	tables := r.Tables()
	require.Len(t, tables, 3)
	require.Equal(t, "–", tables[1].Rows[0][2], "base was not scored at k = 2 on the other set")
	require.Equal(t, []string{"–", "–"}, tables[2].Rows[0][2:])
	require.Contains(t, tables[2].Rows[2][2], "66.7 (")
}

func TestSummaryHasTheDocumentedShape(t *testing.T) {
	b, err := sample(t).Summary()
	require.NoError(t, err)
	golden(t, "summary.json", b)
	var parsed map[string]any
	require.NoError(t, json.Unmarshal(b, &parsed))
	multi := parsed["arms"].([]any)[2].(map[string]any)
	require.Equal(t, "multi", multi["name"])
	require.InDelta(t, 8.0/12, multi["accuracy"].(map[string]any)["2"], 1e-12)
	require.Len(t, multi["ci"].(map[string]any)["2"], 2)
	require.NotContains(t, multi["repeat_share"], "1")
}

// wellFormed fails unless b is one XML document.
func wellFormed(t *testing.T, b []byte) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(b))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
	}
}

func TestFigures(t *testing.T) {
	r := sample(t)
	r.Arms[0].Name = "a < b & c"
	figure, err := r.Figure("")
	require.NoError(t, err)
	wellFormed(t, figure)
	for _, word := range []string{"single", "multi", "optimum", "a &lt; b &amp; c", "stroke-dasharray", "smudged"} {
		require.Contains(t, string(figure), word)
	}
	again, err := r.Figure(dataset.Smudged)
	require.NoError(t, err)
	require.Equal(t, figure, again)

	for _, curve := range []report.Curve{report.RewardCurve, report.AccuracyCurve} {
		svg, err := r.LearningCurve(curve)
		require.NoError(t, err)
		wellFormed(t, svg)
		require.Contains(t, string(svg), "iteration")
	}
	untrained := &report.Report{Arms: r.Arms[:1]}
	svg, err := untrained.LearningCurve(report.RewardCurve)
	require.NoError(t, err)
	require.Nil(t, svg)
}

func TestPageIsSelfContainedAndEscaped(t *testing.T) {
	r := sample(t)
	r.Arms[0].Name = "<b>base</b>"
	var b bytes.Buffer
	require.NoError(t, r.WriteHTML(&b))
	html := b.String()
	for _, want := range []string{
		"A &lt;report&gt;", "Three policies &amp; their accuracy.", "10.2 minutes", "backend xla:cpu", "47&#43;? 2,5,9",
		"&lt;script&gt;alert(1)&lt;/script&gt;", "&lt;b&gt;base&lt;/b&gt;", "Dialogues of multi", `class="outcome wrong"`,
		"resolved spec of single", r.Arms[2].Checkpoint.String(), "83.3 (55.2–95.3)",
	} {
		require.Contains(t, html, want)
	}
	require.Equal(t, 3, strings.Count(html, `<svg role="img"`), "figure and two learning curves")
	for _, forbidden := range []string{"<script", "<b>base", "http://", "https://", "src=", "href=", "<link", "<?xml"} {
		require.NotContains(t, strings.ReplaceAll(strings.ReplaceAll(html, `xmlns="http://www.w3.org/2000/svg"`, ""), `xmlns:xlink="http://www.w3.org/1999/xlink"`, ""), forbidden)
	}
}

func TestPageWithoutTraining(t *testing.T) {
	r := sample(t)
	r.Arms = r.Arms[:1]
	var b bytes.Buffer
	require.NoError(t, r.WriteHTML(&b))
	require.NotContains(t, b.String(), "Learning")
	require.NotContains(t, b.String(), "Settings")
}

func TestPageRefusesABrokenSpec(t *testing.T) {
	r := sample(t)
	r.Arms[1].Spec = []byte("{")
	require.ErrorContains(t, r.WriteHTML(io.Discard), "spec of single")
}

func TestPickExamples(t *testing.T) {
	ended := func(id string, outcomes ...rollout.Outcome) rollout.Episode {
		e := rollout.Episode{ProblemID: id}
		for _, o := range outcomes {
			e.Attempts = append(e.Attempts, rollout.Attempt{Outcome: o})
		}
		return e
	}
	var episodes []rollout.Episode
	for _, id := range []string{"a", "b", "c", "d"} {
		episodes = append(episodes, ended(id+"-once", rollout.Correct), ended(id+"-failed", rollout.Wrong),
			ended(id+"-recovered", rollout.Wrong, rollout.Correct))
	}
	ids := func(n int) (got []string) {
		for _, e := range report.PickExamples(episodes, n) {
			got = append(got, e.ProblemID)
		}
		return got
	}
	require.Equal(t, []string{"a-once", "a-failed", "a-recovered", "b-recovered"}, ids(4))
	require.Len(t, ids(12), 12)
	require.Len(t, ids(50), 12)
	require.Empty(t, report.PickExamples(nil, 3))
}

func TestWriteFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out", "quickstart")
	r := sample(t)
	require.NoError(t, r.WriteFolder(dir))
	require.NoError(t, r.WriteFolder(dir), "again")
	summary, err := r.Summary()
	require.NoError(t, err)
	got, err := os.ReadFile(filepath.Join(dir, report.SummaryFile))
	require.NoError(t, err)
	require.Equal(t, summary, got)
	for _, name := range []string{report.PageFile, report.FigureFile, report.TableFile, report.ScoresFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.NotZero(t, info.Size())
	}
}
