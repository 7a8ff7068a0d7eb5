package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/internal/rollout"
	"multiattempt/internal/runs/runstest"
	"multiattempt/workflows"
)

// hostile moves the cursor, hides and reorders what stands beside it, and is very long.
var hostile = "\x1b[2J\x1b]0;title\x07\u202egnp.\u2066" + "\x9b31m\r" + strings.Repeat("A", 1<<20)

// obeyed is what no output may contain.
const obeyed = "\x1b\x07\r\u202e\u2066\u009b"

// told is a status whose newest iterations are those of a made-up run.
func told(t *testing.T, store blob.Store, run string, from, to int) workflows.Status {
	t.Helper()
	st := workflows.Status{Run: run, Step: to, Iterations: 12}
	for step := from; step <= to; step++ {
		info, err := store.Stat(t.Context(), activities.RecordKey(run, step))
		require.NoError(t, err)
		st.Recent = append(st.Recent, workflows.Iteration{
			Step: step, RewardMean: 0.5, Solved: 0.25, KL: 0.001, Record: blob.Ref{Key: info.Key, SHA256: info.SHA256, Size: info.Size},
		})
	}
	return st
}

func TestAnIterationIsToldOnceWithItsFigures(t *testing.T) {
	store := blob.NewMemory()
	require.NoError(t, runstest.Make(t.Context(), store, runstest.Options{Run: "a", Seed: 1}))
	var out bytes.Buffer
	d := &lines{w: &out, pace: pace{clock: time.Now, stage: stage{title: "a"}}}
	j := newJournal(&app{stderr: &out}, store, "a", 0)
	j.tell(t.Context(), told(t, store, "a", 1, 2), d)
	j.tell(t.Context(), told(t, store, "a", 1, 3), d)
	text := out.String()
	require.Equal(t, 3, strings.Count(text, "\n"), text)
	require.Regexp(t, `(?m)^a  step  1/12  reward \+0\.500  solved 25\.0 %  KL 0\.0010  \d+\.\ds  [0-9,]+ tokens/s  rollout \d\.\d update \d\.\d  entropy \d\.\d+  clipped \d+\.\d %$`, text)

	j.width = func() int { return 60 }
	j.told = 0
	out.Reset()
	j.tell(t.Context(), told(t, store, "a", 1, 1), d)
	require.LessOrEqual(t, len(strings.TrimPrefix(strings.TrimSpace(out.String()), "a  ")), 60, "what does not fit is left out, whole facts")

	// Without its record, an iteration is told with what the workflow itself knows.
	st := told(t, store, "a", 1, 1)
	st.Recent[0].Record.Key = "gone"
	j = newJournal(&app{stderr: &out}, blob.NewMemory(), "a", 1)
	out.Reset()
	j.tell(t.Context(), st, d)
	require.Equal(t, "a  step  1/12  reward +0.500  solved 25.0 %  KL 0.0010\n", out.String())
}

func TestADialogueIsShownNowAndThen(t *testing.T) {
	store := blob.NewMemory()
	o := runstest.Options{Run: "a", Seed: 1, Problems: 1, Group: 1, Edit: func(step, _ int, e *rollout.Episode) {
		if step%4 != 0 {
			return
		}
		e.ProblemID, e.Question, e.Gold = hostile, hostile, hostile
		e.Attempts[0].Text = "first line\nsecond " + hostile
	}}
	require.NoError(t, runstest.Make(t.Context(), store, o))
	tell := func(every int) string {
		var out bytes.Buffer
		d := &lines{w: &out, pace: pace{clock: time.Now, stage: stage{title: "a"}}}
		newJournal(&app{stderr: &out}, store, "a", every).tell(t.Context(), told(t, store, "a", 5, 12), d)
		return out.String()
	}
	text := tell(4)
	require.Equal(t, text, tell(4), "which one is shown is a function of run and step")
	require.Contains(t, text, "a dialogue of step 8, ")
	require.Contains(t, text, "a dialogue of step 12, ")
	require.Equal(t, 2, strings.Count(text, "a dialogue of step"))
	require.Contains(t, text, "first line\n             second <U+001B>[2J")
	require.False(t, strings.ContainsAny(text, obeyed))
	require.Less(t, len(text), 10_000)
	require.NotContains(t, tell(0), "dialogue")
}

func TestFollowingGivesUpOnASlowStore(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	j := newJournal(&app{stderr: &bytes.Buffer{}}, blob.NewMemory(), "a", 1)
	require.Nil(t, j.record(ctx, workflows.Iteration{}))
	require.Nil(t, j.timing(ctx, 1))
}
