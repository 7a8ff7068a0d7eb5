package workflows_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"multiattempt/activities"
	"multiattempt/internal/checkpoint"
	"multiattempt/workflows"
)

func (w *world) finetune(t *testing.T, fields string) (out workflows.FinetuneOutput, parts int) {
	t.Helper()
	var in workflows.FinetuneInput
	require.NoError(t, json.Unmarshal([]byte(fields), &in))
	for {
		env := w.env(t, "f")
		env.ExecuteWorkflow(workflows.FinetuneName, in)
		require.True(t, env.IsWorkflowCompleted())
		parts++
		again, isNew := errors.AsType[*workflow.ContinueAsNewError](env.GetWorkflowError())
		if !isNew {
			require.NoError(t, env.GetWorkflowError())
			require.NoError(t, env.GetWorkflowResult(&out))
			return out, parts
		}
		in = workflows.FinetuneInput{}
		require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(again.Input, &in))
	}
}

func TestFinetuneMakesAModelInParts(t *testing.T) {
	w := newWorld(t)
	out, _ := w.finetune(t, `{"preset":"small"}`)
	require.Equal(t, workflows.PhaseCompleted, out.Phase)
	require.Equal(t, 6, out.Step)
	require.Equal(t, 6, out.Checkpoint.Step)
	require.Positive(t, out.Loss)
	latest, err := checkpoint.Resolve(t.Context(), w.store, "f", checkpoint.Latest)
	require.NoError(t, err)
	require.Equal(t, out.Checkpoint, latest.Checkpoint)

	other := newWorld(t)
	cut, parts := other.finetune(t, `{"preset":"small","continue_after":1}`)
	require.Equal(t, 3, parts)
	require.Equal(t, out.Policy.Digest, cut.Policy.Digest, "wherever the history was cut")
}

func TestTrainStartsFromAFinetunedModel(t *testing.T) {
	w := newWorld(t)
	tuned, _ := w.finetune(t, `{"preset":"small"}`)
	f := tuned.Policy.Folder
	source := fmt.Sprintf(`ref:%s@%s:%d`, f.Key, f.SHA256, f.Size)
	out, _ := w.train(t, "r", settings(t, fmt.Sprintf(`{"preset":"small","iterations":1,"model":{"source":%q}}`, source)), nil)
	require.Equal(t, 1, out.Step)
}

func TestFinetuneRefusesMissingDialogues(t *testing.T) {
	w := newWorld(t)
	env := w.env(t, "f")
	env.ExecuteWorkflow(workflows.FinetuneName, workflows.FinetuneInput{Spec: json.RawMessage(`{"preset":"small","data":{"source":"nowhere.jsonl"}}`)})
	requireFailure(t, env.GetWorkflowError(), activities.FailureBadData)
}
