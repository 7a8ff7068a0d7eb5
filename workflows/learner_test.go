package workflows_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"multiattempt/activities"
	"multiattempt/internal/telemetry"
)

// updateQueues records where each policy update is sent, and lets answer decide what becomes of it.
func updateQueues(env *testsuite.TestWorkflowEnvironment, w *world, queues *[]string, answer func(queue string, n int) error) {
	env.OnActivity("Update", anyArgument, anyArgument).Return(func(ctx context.Context, in activities.UpdateInput) (activities.UpdateOutput, error) {
		queue := activity.GetInfo(ctx).TaskQueue
		*queues = append(*queues, queue)
		if err := answer(queue, len(*queues)); err != nil {
			return activities.UpdateOutput{}, err
		}
		out, err := w.worker.Learner.Update(ctx, in)
		out.Own = "mine"
		return out, err
	})
}

func TestUpdatesGoToTheLearnerThatHoldsTheState(t *testing.T) {
	w := newWorld(t)
	var queues []string
	w.train(t, "r", settings(t, `{"preset":"small","iterations":3,"critic_warmup":0,"checkpoint":{"every":9}}`), func(_ int, env *testsuite.TestWorkflowEnvironment) {
		updateQueues(env, w, &queues, func(string, int) error { return nil })
	})
	require.Equal(t, []string{telemetry.LearnerQueue(telemetry.Queue), "mine", "mine"}, queues)
}

func TestAnyLearnerTakesOverFromOneThatIsAway(t *testing.T) {
	w := newWorld(t)
	var queues []string
	w.train(t, "r", settings(t, `{"preset":"small","iterations":3,"critic_warmup":0,"checkpoint":{"every":9}}`), func(_ int, env *testsuite.TestWorkflowEnvironment) {
		updateQueues(env, w, &queues, func(queue string, n int) error {
			if queue == "mine" && n == 2 {
				return temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START, nil)
			}
			return nil
		})
	})
	shared := telemetry.LearnerQueue(telemetry.Queue)
	require.Equal(t, []string{shared, "mine", shared, "mine"}, queues)
}

func TestAnyLearnerTakesOverFromOneThatKeepsFailing(t *testing.T) {
	w := newWorld(t)
	var queues []string
	w.train(t, "r", settings(t, `{"preset":"small","iterations":2,"critic_warmup":0,"checkpoint":{"every":9}}`), func(_ int, env *testsuite.TestWorkflowEnvironment) {
		updateQueues(env, w, &queues, func(queue string, _ int) error {
			if queue == "mine" {
				return context.DeadlineExceeded
			}
			return nil
		})
	})
	shared := telemetry.LearnerQueue(telemetry.Queue)
	require.Equal(t, []string{shared, "mine", "mine", "mine", shared}, queues)
}
