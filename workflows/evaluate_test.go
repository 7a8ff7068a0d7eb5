package workflows_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/internal/evaluate"
	"multiattempt/workflows"
)

// evaluate runs Evaluate by itself.
func (w *world) evaluate(t *testing.T, fields string) (workflows.EvaluateOutput, error) {
	t.Helper()
	var in workflows.EvaluateInput
	require.NoError(t, json.Unmarshal([]byte(fields), &in))
	env := w.env(t, "e")
	env.ExecuteWorkflow(workflows.EvaluateName, in)
	require.True(t, env.IsWorkflowCompleted())
	if err := env.GetWorkflowError(); err != nil {
		return workflows.EvaluateOutput{}, err
	}
	var out workflows.EvaluateOutput
	require.NoError(t, env.GetWorkflowResult(&out))
	return out, nil
}

func (w *world) result(t *testing.T, ref blob.Ref) *evaluate.Result {
	t.Helper()
	b, err := blob.Load(t.Context(), w.store, ref)
	require.NoError(t, err)
	r, err := evaluate.Decode(b)
	require.NoError(t, err)
	return r
}

func TestEvaluateScoresAModelByItself(t *testing.T) {
	w := newWorld(t)
	out, err := w.evaluate(t, `{"preset":"small","evaluation":{"limit":10,"final_attempts":[1,3]}}`)
	require.NoError(t, err)
	require.Equal(t, "e", out.Run)
	require.Len(t, out.Scores, 2)

	r := w.result(t, out.Result)
	require.Equal(t, out.Policy.String(), r.Policy)
	require.Len(t, r.Sets, 1)
	require.Equal(t, 10, r.Sets[0].Problems)
	three, ok := r.Sets[0].Score(3)
	require.True(t, ok)
	require.Equal(t, out.Scores[1].Accuracy, three.Accuracy)
	require.Positive(t, three.Retries)

	again, err := w.evaluate(t, `{"preset":"small","evaluation":{"limit":10,"final_attempts":[1,3]}}`)
	require.NoError(t, err)
	require.NotNil(t, again.Timing, "an evaluation by itself is made each time it is asked for")
	require.Positive(t, again.Timing.Sampling)
	require.GreaterOrEqual(t, again.Timing.Rollouts, again.Timing.Sampling)
	out.Timing, again.Timing = nil, nil
	require.Equal(t, out, again)
}

func TestEvaluateSamplesAndSetsParallelSamplingBeside(t *testing.T) {
	w := newWorld(t)
	out, err := w.evaluate(t, `{"preset":"small","evaluation":{"limit":5,"final_attempts":[1,2],"temperature":1,"samples":3,
		"parallel":4,"parallel_temperature":0.7},"checkpoint":{"best":"pass@2"}}`)
	require.NoError(t, err)
	r := w.result(t, out.Result)
	require.Equal(t, 0.7, r.ParallelTemperature)
	set := r.Sets[0]
	require.Equal(t, 5, set.Problems)
	require.Len(t, set.Parallel.Scores, 2)
	require.Equal(t, set.Parallel.Scores[1].Pass, *out.Metric)
	for _, score := range set.Scores {
		require.Equal(t, 3, score.Samples)
		episodes, err := activities.LoadEpisodes(t.Context(), w.store, score.Episodes)
		require.NoError(t, err)
		require.Len(t, episodes, 15, "every dialogue is kept")
	}
	episodes, err := activities.LoadEpisodes(t.Context(), w.store, set.Parallel.Episodes)
	require.NoError(t, err)
	require.Len(t, episodes, 20)
}

func TestEvaluateScoresARunsCheckpointWithTheRunsSettings(t *testing.T) {
	w := newWorld(t)
	trained, _ := w.train(t, "r", settings(t, `{"preset":"small","seed":7,"grading":{"unboxed":true}}`), nil)

	out, err := w.evaluate(t, `{"run":"r","step":3,"evaluation":{"final_attempts":[2]}}`)
	require.NoError(t, err)
	require.Equal(t, 3, out.Step)
	require.NotEqual(t, trained.Policy.Digest, out.Policy)
	r := w.result(t, out.Result)
	require.Equal(t, uint64(7), r.Seed)
	require.True(t, r.Unboxed)

	latest, err := w.evaluate(t, `{"run":"r","evaluation":{"final_attempts":[2]}}`)
	require.NoError(t, err)
	require.Equal(t, trained.Policy.Digest, latest.Policy)

	_, err = w.evaluate(t, `{"run":"r","step":2,"evaluation":{"final_attempts":[2]}}`)
	requireFailure(t, err, activities.FailureNoCheckpoint)
	_, err = w.evaluate(t, `{"run":"r","evaluation":{"final_attempts":[2],"limt":3}}`)
	requireFailure(t, err, activities.FailureInvalidSpec)
}

func TestEvaluateRefusesWhatIsNoEvaluation(t *testing.T) {
	w := newWorld(t)
	_, err := w.evaluate(t, `{"preset":"small"}`)
	requireFailure(t, err, activities.FailureInvalidSpec)
	_, err = w.evaluate(t, `{"preset":"small","model":{"source":"nowhere"},"evaluation":{"final_attempts":[1]}}`)
	requireFailure(t, err, activities.FailureInvalidModel)
	_, err = w.evaluate(t, `{"preset":"small","evaluation":{"sets":["nowhere.jsonl"],"final_attempts":[1]}}`)
	requireFailure(t, err, activities.FailureBadData)
}
