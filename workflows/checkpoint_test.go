package workflows_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/internal/checkpoint"
	"multiattempt/workflows"
)

// slow holds every checkpoint open until the next iteration's rollout has begun, and keeps a log of what begins and ends.
type slow struct {
	mu    sync.Mutex
	log   []string
	begun map[int]chan struct{} // closed when the rollout after so many iterations begins
	// held is called while a checkpoint is open and the next rollout has begun.
	held func(step int)
}

func (s *slow) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, what)
}

// rollout is closed when the rollout after step iterations begins.
func (s *slow) rollout(step int) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun[step] == nil {
		s.begun[step] = make(chan struct{})
	}
	return s.begun[step]
}

// slowly makes the checkpoints of env slow up to the run's last step.
func (w *world) slowly(env *testsuite.TestWorkflowEnvironment, last int) *slow {
	s := &slow{begun: map[int]chan struct{}{}}
	env.OnActivity("Checkpoint", anyArgument, anyArgument).Return(func(ctx context.Context, in activities.CheckpointInput) (activities.CheckpointOutput, error) {
		s.note("keep")
		if step := in.At.Step(); step < last {
			select {
			case <-s.rollout(step):
			case <-ctx.Done():
				return activities.CheckpointOutput{}, ctx.Err()
			}
			s.note("rollout")
			if s.held != nil {
				s.held(step)
			}
		}
		out, err := w.worker.Learner.Checkpoint(ctx, in)
		s.note("kept")
		return out, err
	})
	env.OnActivity("Rollout", anyArgument, anyArgument).Return(func(ctx context.Context, in activities.RolloutInput) (activities.RolloutOutput, error) {
		if in.Shard == 0 {
			close(s.rollout(in.Step))
		}
		return w.worker.Rollouts.Rollout(ctx, in)
	})
	env.OnActivity("Update", anyArgument, anyArgument).Return(func(ctx context.Context, in activities.UpdateInput) (activities.UpdateOutput, error) {
		s.note("update")
		return w.worker.Learner.Update(ctx, in)
	})
	return s
}

// TestACheckpointIsKeptWhileTheNextIterationIsRolledOut: the next rollout begins before the checkpoint is kept, the next
// update only after, and the bytes are those of a run without checkpoints on the way.
func TestACheckpointIsKeptWhileTheNextIterationIsRolledOut(t *testing.T) {
	calm := newWorld(t)
	calm.train(t, "r", settings(t, `{"preset":"small","iterations":4,"checkpoint":{"every":9}}`), nil)
	w := newWorld(t)
	var s *slow
	w.train(t, "r", settings(t, `{"preset":"small","iterations":4,"checkpoint":{"every":1}}`), func(_ int, env *testsuite.TestWorkflowEnvironment) {
		s = w.slowly(env, 4)
	})
	once := " update keep rollout kept"
	require.Equal(t, strings.TrimSpace(strings.Repeat(once, 3)+" update keep kept"), strings.Join(s.log, " "))
	requireSameWeights(t, calm, w, 4)
	require.Equal(t, 1, w.worker.Engine.Learners(), "nothing was rebuilt")
	require.Empty(t, w.weights(t), "checkpoints hold them all")
}

// requireSameWeights compares the files of two runs' checkpoints.
func requireSameWeights(t *testing.T, a, b *world, step int) {
	t.Helper()
	files := func(w *world) map[string]blob.Digest {
		ref, err := checkpoint.Find(t.Context(), w.store, "r", step)
		require.NoError(t, err)
		m, err := checkpoint.LoadManifest(t.Context(), w.store, ref)
		require.NoError(t, err)
		all := map[string]blob.Digest{}
		for _, f := range m.Files {
			all[f.Name] = f.Ref.SHA256
		}
		return all
	}
	require.Equal(t, files(a), files(b))
}

// weights lists the published weights of the run's steps.
func (w *world) weights(t *testing.T) (keys []string) {
	t.Helper()
	require.NoError(t, w.store.List(t.Context(), "runs/r/steps/", func(o blob.Info) error {
		if strings.Contains(o.Key, "/policy/") {
			keys = append(keys, o.Key)
		}
		return nil
	}))
	return keys
}

func TestCheckpointNowIsAnsweredWhenItIsDurableAndNotLater(t *testing.T) {
	w := newWorld(t)
	var now *answer
	early, kept := true, false
	w.train(t, "r", settings(t, `{"preset":"small","iterations":4,"checkpoint":{"every":9}}`), func(_ int, env *testsuite.TestWorkflowEnvironment) {
		s := w.slowly(env, 4)
		s.held = func(int) { early = now.done }
		updates := 0
		env.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, _ encodedValues) {
			if info.ActivityType.Name != "Update" {
				return
			}
			if updates++; updates == 2 {
				now = send(t, env, workflows.UpdateCheckpointNow)
			}
			if updates == 3 {
				kept = now.done
			}
		})
	})
	require.False(t, early, "the manifest was not written yet")
	require.True(t, kept, "the iteration under way is of no concern")
	require.NoError(t, now.failed)
	require.Equal(t, 2, now.status.LatestCheckpoint.Step)
}

// TestARequestDuringACheckpointIsForTheNextOne: whoever asks while the iteration after a checkpoint is under way wants that
// iteration kept.
func TestARequestDuringACheckpointIsForTheNextOne(t *testing.T) {
	w := newWorld(t)
	var now *answer
	w.train(t, "r", settings(t, `{"preset":"small","iterations":4,"checkpoint":{"every":2,"keep":9}}`), func(_ int, env *testsuite.TestWorkflowEnvironment) {
		w.slowly(env, 4)
		rollouts := 0
		env.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, _ encodedValues) {
			if info.ActivityType.Name != "Rollout" {
				return
			}
			if rollouts++; rollouts == 2*2+1 { // the checkpoint of step 2 is being kept
				now = send(t, env, workflows.UpdateCheckpointNow)
			}
		})
	})
	require.Equal(t, 3, now.status.LatestCheckpoint.Step)
}

func TestCancelDuringACheckpointLeavesIt(t *testing.T) {
	w := newWorld(t)
	env := w.env(t, "r")
	s := w.slowly(env, 6)
	s.held = func(step int) {
		if step == 2 {
			env.CancelWorkflow()
		}
	}
	env.ExecuteWorkflow(workflows.TrainName, settings(t, `{"preset":"small","checkpoint":{"every":2}}`))
	require.True(t, temporal.IsCanceledError(env.GetWorkflowError()), "%v", env.GetWorkflowError())
	w.final(t, "r", 2)
	require.Empty(t, w.weights(t))

	whole := newWorld(t)
	whole.train(t, "r", settings(t, `{"preset":"small","checkpoint":{"every":2}}`), nil)
	w.train(t, "r", settings(t, `{"preset":"small","checkpoint":{"every":2}}`), nil)
	require.Equal(t, whole.final(t, "r", 6), w.final(t, "r", 6))
}

func TestStopDuringACheckpointEndsThere(t *testing.T) {
	w := newWorld(t)
	out, _ := w.train(t, "r", settings(t, `{"preset":"small","checkpoint":{"every":2}}`), func(_ int, env *testsuite.TestWorkflowEnvironment) {
		s := w.slowly(env, 3)
		s.held = func(int) { send(t, env, workflows.UpdateStop) }
	})
	require.Equal(t, 3, out.Step, "the iteration under way is finished")
	require.Equal(t, 3, out.LatestCheckpoint.Step)
	require.Empty(t, w.weights(t))
}

// TestAFailureDuringACheckpointKeepsIt: what fails after the step is no reason to lose the step.
func TestAFailureDuringACheckpointKeepsIt(t *testing.T) {
	w := newWorld(t)
	env := w.env(t, "r")
	rolledOut := make(chan struct{})
	env.OnActivity("Rollout", anyArgument, anyArgument).Return(func(ctx context.Context, in activities.RolloutInput) (activities.RolloutOutput, error) {
		if in.Step == 1 {
			if in.Shard == 0 {
				defer close(rolledOut)
			}
			return activities.RolloutOutput{}, temporal.NewNonRetryableApplicationError("gone", activities.FailureMissing, nil)
		}
		return w.worker.Rollouts.Rollout(ctx, in)
	})
	env.OnActivity("Checkpoint", anyArgument, anyArgument).Return(func(ctx context.Context, in activities.CheckpointInput) (activities.CheckpointOutput, error) {
		<-rolledOut
		return w.worker.Learner.Checkpoint(ctx, in)
	})
	env.ExecuteWorkflow(workflows.TrainName, settings(t, `{"preset":"small","checkpoint":{"every":1}}`))
	requireFailure(t, env.GetWorkflowError(), activities.FailureMissing)
	w.final(t, "r", 1)
}

// TestACheckpointThatCannotBeKeptEndsTheRun: the failure is found before the state changes.
func TestACheckpointThatCannotBeKeptEndsTheRun(t *testing.T) {
	w := newWorld(t)
	env := w.env(t, "r")
	updates := 0
	during(env, 2, func() { updates++ })
	env.OnActivity("Checkpoint", anyArgument, anyArgument).Return(func(context.Context, activities.CheckpointInput) (activities.CheckpointOutput, error) {
		return activities.CheckpointOutput{}, temporal.NewNonRetryableApplicationError("another", activities.FailureReplayMismatch, errors.New("x"))
	})
	env.ExecuteWorkflow(workflows.TrainName, settings(t, `{"preset":"small","checkpoint":{"every":1}}`))
	requireFailure(t, env.GetWorkflowError(), activities.FailureReplayMismatch)
	require.Zero(t, updates)
}

// TestAContinuationWaitsForTheCheckpoint: no checkpoint is under way from one part of a history to the next.
func TestAContinuationWaitsForTheCheckpoint(t *testing.T) {
	w := newWorld(t)
	var carried []int
	_, parts := w.train(t, "r", settings(t, `{"preset":"small","continue_after":2,"checkpoint":{"every":2}}`), func(_ int, env *testsuite.TestWorkflowEnvironment) {
		during(env, 1, func() { carried = append(carried, status(t, env).LatestCheckpoint.Step) })
	})
	require.Equal(t, 3, parts)
	require.Equal(t, []int{0, 2, 4}, carried)
}
