package runs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/internal/reward"
	"multiattempt/internal/rollout"
	"multiattempt/internal/runs"
	"multiattempt/internal/runs/runstest"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
	"multiattempt/presets"
)

// made is a store with one run of 6 steps of 64 dialogues, and a reader of it.
func made(t *testing.T, o runstest.Options) (blob.Store, *runs.Reader, *runs.Run) {
	t.Helper()
	store := blob.NewMemory()
	if o.Steps == 0 {
		o.Steps = 6
	}
	o.Run, o.Problems, o.Group, o.Shard, o.Scores, o.Evaluate = "run", 16, 4, 20, true, true
	require.NoError(t, runstest.Make(t.Context(), store, o))
	reader := runs.NewReader(store, t.TempDir())
	run, err := reader.Run(t.Context(), "run")
	require.NoError(t, err)
	return store, reader, run
}

func TestRecordsComeInOrderAndSurviveTheProcess(t *testing.T) {
	store := blob.NewMemory()
	require.NoError(t, runstest.Make(t.Context(), store, runstest.Options{Run: "run", Steps: 70, Problems: 1, Group: 1}))
	dir := t.TempDir()
	run, err := runs.NewReader(store, dir).Run(t.Context(), "run")
	require.NoError(t, err)
	records := run.Records()
	require.Len(t, records, 70)
	for i, r := range records {
		require.Equal(t, i+1, r.Step)
	}
	require.Equal(t, 70, run.Last())

	counted := &counting{Store: store}
	again, err := runs.NewReader(counted, dir).Run(t.Context(), "run")
	require.NoError(t, err)
	require.Equal(t, records, again.Records())
	require.Zero(t, counted.gets, "what is on disk is not read again")
}

// counting counts reads.
type counting struct {
	blob.Store
	gets int
}

func (c *counting) Get(ctx context.Context, key string) (body io.ReadCloser, info blob.Info, err error) {
	c.gets++
	return c.Store.Get(ctx, key)
}

func TestMissingDamagedAndNewerRecords(t *testing.T) {
	store, reader, _ := made(t, runstest.Options{})
	put := func(key, text string) {
		_, err := store.Put(t.Context(), key, strings.NewReader(text), int64(len(text)), blob.PutOptions{})
		require.NoError(t, err)
	}
	put(activities.RecordKey("run", 2), `{"run":"run","st`)
	put(activities.RecordKey("run", 3), `{"version":2,"run":"run","step":3}`)
	put(activities.RecordKey("run", 4), `{"run":"other","step":4}`)
	fresh := runs.NewReader(reader.Store(), t.TempDir())
	run, err := fresh.Run(t.Context(), "run")
	require.NoError(t, err)
	require.Len(t, run.Records(), 3, "the others can be read")
	var faults []string
	for _, f := range run.Faults() {
		faults = append(faults, f.String())
	}
	all := strings.Join(faults, "\n")
	require.Contains(t, all, "half-written or damaged")
	require.Contains(t, all, "format version 2, this program reads 1")
	require.Contains(t, all, `it is of run "other", step 4`)

	for _, name := range []string{"nobody", "", "../run", "run/steps"} {
		_, err := fresh.Run(t.Context(), name)
		require.ErrorIs(t, err, runs.ErrNone, name)
	}
}

// everything reads every dialogue, the newest step first, without the index.
func everything(t *testing.T, store blob.Store, run *runs.Run) (all []runs.Dialogue) {
	t.Helper()
	records := run.Records()
	for i := len(records) - 1; i >= 0; i-- {
		b, err := blob.Load(t.Context(), store, records[i].Experience)
		require.NoError(t, err)
		var x activities.Experience
		require.NoError(t, json.Unmarshal(b, &x))
		episodes, err := activities.LoadEpisodes(t.Context(), store, x.Episodes)
		require.NoError(t, err)
		for at, e := range episodes {
			all = append(all, runs.Dialogue{Step: records[i].Step, Position: at, Reward: x.Rewards[at], Episode: e})
		}
	}
	return all
}

// brute is what a search must find: every dialogue that matches, tested one by one.
func brute(all []runs.Dialogue, matches func(runs.Dialogue) bool) (places []string) {
	for _, d := range all {
		if matches(d) {
			places = append(places, fmt.Sprintf("%d/%d", d.Step, d.Position))
		}
	}
	return places
}

// searched is what a search finds, page by page.
func searched(t *testing.T, run *runs.Run, q runs.Query) (places []string) {
	t.Helper()
	q.Limit = 7
	for range 200 {
		found, err := run.Search(t.Context(), q)
		require.NoError(t, err)
		require.Empty(t, found.Faults)
		for _, d := range found.Dialogues {
			places = append(places, fmt.Sprintf("%d/%d", d.Step, d.Position))
		}
		if found.Next == nil {
			return places
		}
		q.After = found.Next
	}
	t.Fatal("the search does not end")
	return nil
}

func TestSearchFindsExactlyWhatMatches(t *testing.T) {
	store, _, run := made(t, runstest.Options{Edit: func(step, at int, e *rollout.Episode) {
		if step == 3 && at == 41 {
			e.Attempts[0].Text = "a NEEDLE in the Straße"
		}
	}})
	all, low := everything(t, store, run), 0.5
	has := func(d runs.Dialogue, text string) bool {
		said := d.Question + "\n" + d.Gold + "\n" + d.ProblemID
		for _, a := range d.Attempts {
			said += "\n" + a.Text
		}
		return strings.Contains(strings.ToLower(said), text)
	}
	ends := func(d runs.Dialogue) rollout.Outcome { return d.Attempts[len(d.Attempts)-1].Outcome }
	for name, c := range map[string]struct {
		q       runs.Query
		matches func(runs.Dialogue) bool
	}{
		"everything": {runs.Query{}, func(runs.Dialogue) bool { return true }},
		"steps":      {runs.Query{From: 2, To: 4}, func(d runs.Dialogue) bool { return d.Step >= 2 && d.Step <= 4 }},
		"text":       {runs.Query{Text: "Marbles"}, func(d runs.Dialogue) bool { return has(d, "marbles") }},
		"needle":     {runs.Query{Text: "needle in the sTRAẞE"}, func(d runs.Dialogue) bool { return has(d, "needle in the straße") }},
		"short":      {runs.Query{Text: "ad"}, func(d runs.Dialogue) bool { return has(d, "ad") }},
		"absent":     {runs.Query{Text: "this is nowhere"}, func(runs.Dialogue) bool { return false }},
		"outcome":    {runs.Query{Outcome: rollout.Wrong}, func(d runs.Dialogue) bool { return ends(d) == rollout.Wrong }},
		"used":       {runs.Query{Used: 2, Allowed: 3}, func(d runs.Dialogue) bool { return len(d.Attempts) == 2 && d.MaxTries == 3 }},
		"reward":     {runs.Query{Low: &low}, func(d runs.Dialogue) bool { return d.Reward >= low }},
		"recovered":  {runs.Query{Trait: runs.Recovered}, func(d runs.Dialogue) bool { return d.Solved() > 0 }},
		"problem":    {runs.Query{Problem: "arithmetic-003"}, func(d runs.Dialogue) bool { return d.ProblemID == "arithmetic-003" }},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, brute(all, c.matches), searched(t, run, c.q)) })
	}
	found, err := run.Search(t.Context(), runs.Query{Outcome: rollout.Correct, Limit: 1})
	require.NoError(t, err)
	require.True(t, found.Counted)
	require.Equal(t, 6*64, found.Total)
	require.Greater(t, found.Matches, 1, "counted beyond the page")
}

func TestAPageThatEndsWithAStepGoesOnInStepsWithoutAnIndex(t *testing.T) {
	store := blob.NewMemory()
	require.NoError(t, runstest.Make(t.Context(), store, runstest.Options{Run: "run", Steps: 3}))
	run, err := runs.NewReader(store, t.TempDir()).Run(t.Context(), "run")
	require.NoError(t, err)
	found, err := run.Search(t.Context(), runs.Query{Limit: 32}) // all of the newest step
	require.NoError(t, err)
	require.Len(t, found.Dialogues, 32)
	require.False(t, found.Counted)
	require.Equal(t, &runs.Place{Step: 2, Position: -1}, found.Next)
}

func TestTheIndexIsMadeAgainWhenItIsDamaged(t *testing.T) {
	store := blob.NewMemory()
	require.NoError(t, runstest.Make(t.Context(), store, runstest.Options{Run: "run", Steps: 3}))
	dir := t.TempDir()
	run, err := runs.NewReader(store, dir).Run(t.Context(), "run")
	require.NoError(t, err)
	run.Index(t.Context())
	require.NoError(t, run.Wait(t.Context()))
	require.Equal(t, runs.Indexed{Steps: 3, Of: 3}, run.Indexed())
	files, err := filepath.Glob(filepath.Join(dir, "runs", "run", "index", "*.seg"))
	require.NoError(t, err)
	require.Len(t, files, 3)
	require.NoError(t, os.WriteFile(files[0], []byte("rubbish, and more than a header"), 0o644))
	require.NoError(t, os.Truncate(files[1], 100))
	found, err := run.Search(t.Context(), runs.Query{Limit: 1000})
	require.NoError(t, err)
	require.Empty(t, found.Faults)
	require.Len(t, found.Dialogues, 3*32)
}

func TestMissingEpisodesLeaveTheRest(t *testing.T) {
	store, _, run := made(t, runstest.Options{})
	require.NoError(t, store.List(t.Context(), "runs/run/steps/000004/episodes-0001", func(o blob.Info) error {
		return store.Delete(t.Context(), o.Key)
	}))
	found, err := run.Search(t.Context(), runs.Query{Limit: 1000})
	require.NoError(t, err)
	require.Len(t, found.Dialogues, 5*64)
	require.Len(t, found.Faults, 1)
	require.ErrorIs(t, found.Faults[0].Err, blob.ErrNotFound)
	_, err = run.Dialogue(t.Context(), 4, 3)
	require.NoError(t, err, "its shard is there")
	_, err = run.Dialogue(t.Context(), 4, 30)
	require.ErrorIs(t, err, blob.ErrNotFound)
}

func TestHistoryFollowsAProblem(t *testing.T) {
	store, _, run := made(t, runstest.Options{})
	run.Index(t.Context())
	require.NoError(t, run.Wait(t.Context()))
	question, _ := runstest.Question(5)
	cells, steps, err := run.History(t.Context(), "other id", question)
	require.NoError(t, err)
	require.Equal(t, 6, steps)
	want := brute(everything(t, store, run), func(d runs.Dialogue) bool { return d.Question == question })
	require.Len(t, cells, len(want))
}

func TestAboutARun(t *testing.T) {
	_, _, run := made(t, runstest.Options{})
	s, err := run.Spec(t.Context())
	require.NoError(t, err)
	settings, err := runs.Settings(s, presets.Train())
	require.NoError(t, err)
	changed := map[string]runs.Setting{}
	for _, x := range settings {
		if x.Changed {
			changed[x.Path] = x
		}
	}
	require.Equal(t, runs.Setting{Path: "data.problems_per_step", Value: "16", Usual: "1024", Changed: true}, changed["data.problems_per_step"])
	require.NotContains(t, changed, "update.clip")

	evaluations, faults, err := run.Evaluations(t.Context())
	require.NoError(t, err)
	require.Empty(t, faults)
	require.Len(t, evaluations, 1)
	episodes, err := run.EvaluationEpisodes(t.Context(), 6, "arithmetic", 2)
	require.NoError(t, err)
	require.Len(t, episodes, 60)

	kept, err := run.TokenScores(t.Context(), 2, 5)
	require.NoError(t, err)
	d, err := run.Dialogue(t.Context(), 2, 5)
	require.NoError(t, err)
	sampled := 0
	for _, m := range d.Mask {
		if m {
			sampled++
		}
	}
	require.Len(t, kept.Advantages, sampled)
}

func TestSettingsOfAForeignPreset(t *testing.T) {
	s := spec.Default()
	s.Preset = "of another program"
	settings, err := runs.Settings(s, presets.Train())
	require.NoError(t, err)
	for _, x := range settings {
		require.False(t, x.Changed, x.Path)
	}
}

func TestLongLines(t *testing.T) {
	_, _, run := made(t, runstest.Options{Steps: 1, Edit: func(_, at int, e *rollout.Episode) {
		if at == 3 {
			e.Attempts[0].Text = string(bytes.Repeat([]byte("x"), 1<<20)) + "end of it"
		}
	}})
	require.Equal(t, []string{"1/3"}, searched(t, run, runs.Query{Text: "xxxend of it"}))
}

// TestMismatchIsMeasuredByItsLimit: what bfloat16 explains is no reason to warn, more than a record's limit is.
func TestMismatchIsMeasuredByItsLimit(t *testing.T) {
	record := func(mean, limit float64) activities.StepRecord {
		return activities.StepRecord{Step: 1, Reward: reward.Summary{Solved: 1}, Update: update.Stats{MismatchMeanAbs: mean, MismatchLimit: limit, Entropy: 1}}
	}
	for _, c := range []struct {
		mean, limit float64
		warned      int
	}{{0.03, 0.05, 0}, {0.06, 0.05, 1}, {0.03, 0.01, 1}, {0.03, 0, 1}, {0.005, 0, 0}} {
		require.Len(t, runs.Warnings([]activities.StepRecord{record(c.mean, c.limit)}), c.warned, "%+v", c)
	}
	for _, chart := range runs.Charts([]activities.StepRecord{record(0.03, 0.05)}, []time.Time{{}}, nil) {
		if chart.ID == "mismatch" {
			require.Equal(t, 0.05, *chart.Warn)
		}
	}
}
