package workflows_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"multiattempt/activities"
	"multiattempt/internal/telemetry"
	"multiattempt/workflows"
)

func startOptions(id string) client.StartWorkflowOptions {
	return client.StartWorkflowOptions{ID: id, TaskQueue: telemetry.Queue}
}

func status(t *testing.T, env *testsuite.TestWorkflowEnvironment) workflows.Status {
	t.Helper()
	var s workflows.Status
	value, err := env.QueryWorkflow(workflows.QueryStatus)
	require.NoError(t, err)
	require.NoError(t, value.Get(&s))
	return s
}

// during calls f once, while the policy's update number n is under way.
func during(env *testsuite.TestWorkflowEnvironment, n int, f func()) {
	begun := 0
	env.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, _ converter.EncodedValues) {
		if info.ActivityType.Name == "Update" {
			if begun++; begun == n {
				f()
			}
		}
	})
}

// answer is what became of an update.
type answer struct {
	refused error
	failed  error
	status  workflows.Status
	done    bool
}

var updates atomic.Int64

// send sends an update and returns what will have become of it.
func send(t *testing.T, env *testsuite.TestWorkflowEnvironment, name string, args ...any) *answer {
	t.Helper()
	a := &answer{}
	env.UpdateWorkflow(name, fmt.Sprint("update-", updates.Add(1)), &testsuite.TestUpdateCallback{
		OnReject: func(err error) { a.refused = err },
		OnAccept: func() {},
		OnComplete: func(result any, err error) {
			a.done, a.failed = true, err
			if s, ok := result.(workflows.Status); ok {
				a.status = s
			}
		},
	}, args...)
	return a
}

func TestPauseHoldsBetweenIterationsUntilResume(t *testing.T) {
	w := newWorld(t)
	var held workflows.Status
	var again *answer
	out, _ := w.train(t, "r", settings(t, `{"preset":"small"}`), func(_ int, env *testsuite.TestWorkflowEnvironment) {
		during(env, 2, func() {
			send(t, env, workflows.UpdatePause)
			env.RegisterDelayedCallback(func() {
				held = status(t, env)
				again = send(t, env, workflows.UpdatePause)
				send(t, env, workflows.UpdateResume)
			}, hour)
		})
	})
	require.Equal(t, workflows.PhasePaused, held.Phase)
	require.Equal(t, 2, held.Step, "an hour later still")
	require.ErrorContains(t, again.refused, "paused already")
	require.Equal(t, workflows.PhaseCompleted, out.Phase)
	require.Equal(t, 6, out.Step)
}

// TestPauseDuringTheLastIterationHoldsBeforeTheEvaluation, and once that has begun there is nothing left to hold.
func TestPauseDuringTheLastIterationHoldsBeforeTheEvaluation(t *testing.T) {
	w := newWorld(t)
	var held workflows.Status
	var late *answer
	out, _ := w.train(t, "r", settings(t, `{"preset":"small","evaluation":{"final_attempts":[1]}}`), func(_ int, env *testsuite.TestWorkflowEnvironment) {
		during(env, 6, func() {
			send(t, env, workflows.UpdatePause)
			env.RegisterDelayedCallback(func() {
				held = status(t, env)
				send(t, env, workflows.UpdateResume)
			}, hour)
		})
		env.SetOnChildWorkflowStartedListener(func(*workflow.Info, workflow.Context, converter.EncodedValues) {
			late = send(t, env, workflows.UpdatePause)
		})
	})
	require.Equal(t, workflows.PhasePaused, held.Phase)
	require.Equal(t, 6, held.Step)
	require.Nil(t, held.Evaluation)
	require.ErrorContains(t, late.refused, "nothing is left to hold")
	require.Equal(t, workflows.PhaseCompleted, out.Phase)
	require.NotNil(t, out.Evaluation)
}

func TestStopEndsAPausedRunWithACheckpoint(t *testing.T) {
	w := newWorld(t)
	out, _ := w.train(t, "r", settings(t, `{"preset":"small","evaluation":{"final_attempts":[1]}}`), func(_ int, env *testsuite.TestWorkflowEnvironment) {
		during(env, 1, func() {
			send(t, env, workflows.UpdatePause)
			env.RegisterDelayedCallback(func() { send(t, env, workflows.UpdateStop) }, hour)
		})
	})
	require.Equal(t, workflows.PhaseStopped, out.Phase)
	require.Equal(t, 1, out.LatestCheckpoint.Step)
	require.Nil(t, out.Evaluation, "a stopped run is not evaluated")
}

// TestAStopWaitsForNoBatch that is drawn ahead, and cannot be.
func TestAStopWaitsForNoBatch(t *testing.T) {
	w := newWorld(t)
	var failed atomic.Int64
	out, _ := w.train(t, "r", settings(t, `{"preset":"small"}`), func(_ int, env *testsuite.TestWorkflowEnvironment) {
		env.OnActivity("SampleBatch", anyArgument, anyArgument).Return(func(ctx context.Context, in activities.SampleBatchInput) (activities.SampleBatchOutput, error) {
			if in.Step > 0 {
				failed.Add(1)
				return activities.SampleBatchOutput{}, errors.New("the store is away")
			}
			return w.worker.Data.SampleBatch(ctx, in)
		})
		during(env, 1, func() { send(t, env, workflows.UpdateStop) })
	})
	require.Equal(t, workflows.PhaseStopped, out.Phase)
	require.Equal(t, 1, out.LatestCheckpoint.Step)
	require.Less(t, failed.Load(), int64(10), "the test environment, unlike the server, gives up after so many")
}

func TestCheckpointNowAnswersWhenTheCheckpointIsKept(t *testing.T) {
	w := newWorld(t)
	var now *answer
	out, _ := w.train(t, "r", settings(t, `{"preset":"small","checkpoint":{"keep":9}}`), func(_ int, env *testsuite.TestWorkflowEnvironment) {
		during(env, 1, func() { now = send(t, env, workflows.UpdateCheckpointNow) })
	})
	require.True(t, now.done)
	require.NoError(t, now.failed)
	require.Equal(t, 1, now.status.LatestCheckpoint.Step)
	w.final(t, "r", now.status.LatestCheckpoint.Step)
	require.Equal(t, 6, out.Step)
}

func TestUpdatesThatWaitAreAnsweredBeforeContinuingAsNew(t *testing.T) {
	w := newWorld(t)
	var now *answer
	_, parts := w.train(t, "r", settings(t, `{"preset":"small","continue_after":2,"checkpoint":{"every":6}}`), func(part int, env *testsuite.TestWorkflowEnvironment) {
		if part == 0 {
			during(env, 2, func() { now = send(t, env, workflows.UpdateCheckpointNow) })
		}
	})
	require.Equal(t, 3, parts)
	require.True(t, now.done)
	require.Equal(t, 2, now.status.LatestCheckpoint.Step)
}

func TestLearningRateSetByHandHoldsFromTheNextIteration(t *testing.T) {
	w := newWorld(t)
	rate := func(x float64) *float64 { return &x }
	var set, silly *answer
	out, _ := w.train(t, "r", settings(t, `{"preset":"small","optimizer":{"final_fraction":1,"warmup_fraction":0}}`), func(_ int, env *testsuite.TestWorkflowEnvironment) {
		during(env, 3, func() {
			set = send(t, env, workflows.UpdateSetLearningRate, workflows.SetLearningRate{PolicyLR: rate(0.25)})
			silly = send(t, env, workflows.UpdateSetLearningRate, workflows.SetLearningRate{PolicyLR: rate(-1)})
		})
	})
	require.NoError(t, set.failed)
	require.Equal(t, 0.25, set.status.Rates.Policy)
	require.Equal(t, 0.02, set.status.Rates.Critic, "what is not named stays")
	require.ErrorContains(t, silly.refused, "policy_lr")
	require.Equal(t, 6, out.Step)
	require.Equal(t, []float64{0, 0.01, 0.01, 0.25, 0.25, 0.25}, policyRates(t, w, "r"))
}

func TestCancelLeavesACheckpoint(t *testing.T) {
	w := newWorld(t)
	env := w.env(t, "r")
	during(env, 3, env.CancelWorkflow)
	env.ExecuteWorkflow(workflows.TrainName, settings(t, `{"preset":"small"}`))
	require.Error(t, env.GetWorkflowError())
	w.final(t, "r", 2)
}
