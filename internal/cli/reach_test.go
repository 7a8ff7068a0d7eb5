package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/internal/evaluate"
	"multiattempt/internal/report"
	"multiattempt/internal/reward"
)

// putEvaluation keeps what a run scored after a step at two attempts: so many of four problems.
func putEvaluation(t *testing.T, store blob.Store, run string, step, solved int, change func(*evaluate.Result)) *evaluate.Result {
	t.Helper()
	at := []int{-1, -1, -1, -1}
	for i := range solved {
		at[i] = 1
	}
	r := &evaluate.Result{Run: run, Step: step, Mode: "typed", Sets: []evaluate.Set{{Name: "sums", Problems: 4, Scores: []evaluate.Score{{
		Attempts: 2, Samples: 1, Correct: solved, N: 4, Accuracy: float64(solved) / 4, Interval: evaluate.Wilson(solved, 4), Optimum: 1, SolvedAt: at,
	}}}}}
	if change != nil {
		change(r)
	}
	r.Finish()
	b, err := r.Encode()
	require.NoError(t, err)
	put(t, store, fmt.Sprintf("%s%06d/result-%s.json", activities.EvaluationPrefix(run), step, blob.Sum(b).Short()), b)
	return r
}

func put(t *testing.T, store blob.Store, key string, b []byte) {
	t.Helper()
	_, err := store.Put(t.Context(), key, bytes.NewReader(b), int64(len(b)), blob.PutOptions{})
	require.NoError(t, err)
}

// putRecords keeps the records of a run's steps, so many episodes each.
func putRecords(t *testing.T, store blob.Store, run string, steps, episodes int) {
	t.Helper()
	for step := 1; step <= steps; step++ {
		b, err := json.Marshal(activities.StepRecord{Run: run, Step: step, Reward: reward.Summary{Episodes: episodes}})
		require.NoError(t, err)
		put(t, store, fmt.Sprintf("%s%06d.json", activities.RecordPrefix(run), step), b)
	}
}

// TestReachAgainstAStore: the first arm ends at 50 % and 100 %, 75 % on average. Evaluations of another kind do not count.
func TestReachAgainstAStore(t *testing.T) {
	store := blob.NewMemory()
	last := map[string]*evaluate.Result{}
	for run, solved := range map[string][]int{"a1": {1, 4, 2}, "a2": {0, 3, 4}, "b1": {3, 3, 3}, "b2": {0, 1, 2}} {
		for i, n := range solved {
			last[run] = putEvaluation(t, store, run, 5*(i+1), n, nil)
		}
		putRecords(t, store, run, 15, map[byte]int{'a': 8, 'b': 4}[run[0]])
	}
	putEvaluation(t, store, "b2", 5, 4, func(r *evaluate.Result) { r.Temperature = 1 })
	putEvaluation(t, store, "b2", 5, 4, func(r *evaluate.Result) { r.Sets[0].Digest = blob.Sum([]byte("others")) })
	arms := []report.Arm{
		newArm("paper", []*evaluate.Result{last["a1"], last["a2"]}), newArm("variant", []*evaluate.Result{last["b1"], last["b2"]}),
	}
	got, err := whenReached(t.Context(), store, "accuracy@2", 0, arms)
	require.NoError(t, err)
	require.Equal(t, reaches{Metric: "accuracy@2", Target: 0.75, Runs: []reached{
		{Arm: "paper", Run: "a1", Step: 10, Episodes: 80, Final: 0.5}, {Arm: "paper", Run: "a2", Step: 10, Episodes: 80, Final: 1},
		{Arm: "variant", Run: "b1", Step: 5, Episodes: 20, Final: 0.75}, {Arm: "variant", Run: "b2", Final: 0.5},
	}}, got)
	require.Equal(t, []string{"variant", "b2", "0", "never", "never", "0.5"}, got.rows(func(x float64) string { return fmt.Sprint(x) }, "never")[3])

	got, err = whenReached(t.Context(), store, "accuracy@2", 0.25, arms)
	require.NoError(t, err)
	require.Equal(t, 15, got.Runs[3].Step, "50 % are enough")
}

func TestReachRefuses(t *testing.T) {
	store := blob.NewMemory()
	a, b := putEvaluation(t, store, "a", 5, 1, nil), putEvaluation(t, store, "b", 5, 1, func(r *evaluate.Result) { r.Mode = "paper" })
	for metric, saying := range map[string]string{"speed": "speed", "accuracy@3": "run a has no evaluation with accuracy@3", "accuracy@2": "grading modes typed and paper"} {
		_, err := whenReached(t.Context(), store, metric, 0, []report.Arm{newArm("a", []*evaluate.Result{a}), newArm("b", []*evaluate.Result{b})})
		require.ErrorContains(t, err, saying)
		require.Equal(t, exitWrongInput, exitCode(err), metric)
	}
}
