package workflows_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/workflows"
)

func TestTrainInputIsTheUsersSettingsAndWhatIsCarried(t *testing.T) {
	var in workflows.TrainInput
	require.NoError(t, json.Unmarshal([]byte(`{"preset":"quickstart","seed":18446744073709551615}`), &in))
	require.Nil(t, in.Carried)
	require.JSONEq(t, `{"preset":"quickstart","seed":18446744073709551615}`, string(in.Spec))

	in.Carried = &workflows.TrainState{Own: "q", Status: workflows.Status{Step: 3, Paused: true}}
	b, err := json.Marshal(in)
	require.NoError(t, err)
	var back workflows.TrainInput
	require.NoError(t, json.Unmarshal(b, &back))
	require.Equal(t, in, back)
}

func TestInputsMayBeEmptyButNotOtherThanAnObject(t *testing.T) {
	for _, text := range []string{`{}`, `null`} {
		var in workflows.FinetuneInput
		require.NoError(t, json.Unmarshal([]byte(text), &in))
		require.JSONEq(t, `{}`, string(in.Spec))
	}
	var in workflows.TrainInput
	require.ErrorContains(t, json.Unmarshal([]byte(`[1]`), &in), "want a JSON object")
}

func TestEvaluateInputTellsItsOwnFieldsFromSettings(t *testing.T) {
	var in workflows.EvaluateInput
	require.NoError(t, json.Unmarshal([]byte(`{"run":"r","step":4,"grading":{"mode":"paper"}}`), &in))
	require.Equal(t, "r", in.Run)
	require.Equal(t, 4, in.Step)
	require.JSONEq(t, `{"grading":{"mode":"paper"}}`, string(in.Spec))

	in.Task = &activities.EvaluationTask{Run: "r", Attempts: []int{1, 2}, Policy: activities.Policy{Digest: blob.Sum(nil)}}
	b, err := json.Marshal(in)
	require.NoError(t, err)
	var back workflows.EvaluateInput
	require.NoError(t, json.Unmarshal(b, &back))
	require.Equal(t, in, back)
}

func TestEvaluateWorkflowIDHasAnInverse(t *testing.T) {
	for _, want := range []string{"r", "a/evaluate/b", "a/evaluate/000001"} {
		run, step, ok := workflows.ParseEvaluateWorkflowID(workflows.EvaluateWorkflowID(want, 1234567))
		require.True(t, ok)
		require.Equal(t, want, run)
		require.Equal(t, 1234567, step)
	}
	for _, id := range []string{"r", "r/evaluate/", "r/evaluate/12", "r/evaluate/-00012"} {
		_, _, ok := workflows.ParseEvaluateWorkflowID(id)
		require.False(t, ok, id)
	}
}
