package workflows_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"multiattempt/activities"
	"multiattempt/internal/checkpoint"
	"multiattempt/workflows"
)

// commits lets the commits of checkpoints end as commit says, which is told how manieth one it is.
func (w *world) commits(env *testsuite.TestWorkflowEnvironment, commit func(n int, do func() (activities.CheckpointRef, error)) (activities.CheckpointRef, error)) {
	n := 0
	env.OnActivity("CommitCheckpoint", anyArgument, anyArgument).Return(func(ctx context.Context, in activities.CommitCheckpointInput) (activities.CheckpointRef, error) {
		n++
		return commit(n, func() (activities.CheckpointRef, error) { return w.worker.Data.CommitCheckpoint(ctx, in) })
	})
}

// TestACommitIsRepeatedUntilItIsDone: one fails before it has done anything, the answer of another is lost.
func TestACommitIsRepeatedUntilItIsDone(t *testing.T) {
	calm, w := newWorld(t), newWorld(t)
	fields := `{"preset":"small","iterations":4,"checkpoint":{"every":1}}`
	calm.train(t, "r", settings(t, fields), nil)
	lost := errors.New("the store is away")
	made := 0
	w.train(t, "r", settings(t, fields), func(_ int, env *testsuite.TestWorkflowEnvironment) {
		w.commits(env, func(n int, do func() (activities.CheckpointRef, error)) (activities.CheckpointRef, error) {
			made = n
			switch n {
			case 1:
				return activities.CheckpointRef{}, lost
			case 3:
				_, err := do()
				return activities.CheckpointRef{}, errors.Join(lost, err)
			default:
				return do()
			}
		})
	})
	require.Equal(t, 4+2, made)
	requireSameWeights(t, calm, w, 4)
	require.Equal(t, 1, w.worker.Engine.Learners(), "no step was repeated")
}

// TestACommitThatIsRefusedEndsTheRun: the step has another checkpoint, of a run that was terminated and went on otherwise.
func TestACommitThatIsRefusedEndsTheRun(t *testing.T) {
	w := newWorld(t)
	env := w.env(t, "r")
	updates := 0
	during(env, 2, func() { updates++ })
	w.commits(env, func(int, func() (activities.CheckpointRef, error)) (activities.CheckpointRef, error) {
		return activities.CheckpointRef{}, temporal.NewNonRetryableApplicationError("another", activities.FailureReplayMismatch, nil)
	})
	env.ExecuteWorkflow(workflows.TrainName, settings(t, `{"preset":"small","checkpoint":{"every":1}}`))
	requireFailure(t, env.GetWorkflowError(), activities.FailureReplayMismatch)
	require.Zero(t, updates)
}

// TestACancellationDuringTheCommitLeavesTheCheckpoint: of a run, and of a fine-tuning's part.
func TestACancellationDuringTheCommitLeavesTheCheckpoint(t *testing.T) {
	for name, c := range map[string]struct {
		workflow, fields string
		step             int
	}{
		"train":    {workflows.TrainName, `{"preset":"small","checkpoint":{"every":2}}`, 2},
		"finetune": {workflows.FinetuneName, `{"preset":"small","steps":4,"steps_per_part":2}`, 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			env := w.env(t, "r")
			w.commits(env, func(n int, do func() (activities.CheckpointRef, error)) (activities.CheckpointRef, error) {
				if n == 1 {
					env.CancelWorkflow()
				}
				return do()
			})
			env.ExecuteWorkflow(c.workflow, settings(t, c.fields))
			require.True(t, temporal.IsCanceledError(env.GetWorkflowError()), "%v", env.GetWorkflowError())
			latest, err := checkpoint.Resolve(t.Context(), w.store, "r", checkpoint.Latest)
			require.NoError(t, err)
			require.GreaterOrEqual(t, latest.Checkpoint.Step, c.step)
			require.NoError(t, checkpoint.Verify(t.Context(), w.store, latest.Checkpoint))
		})
	}
}
