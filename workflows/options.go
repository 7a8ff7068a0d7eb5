package workflows

import (
	"errors"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"multiattempt/internal/telemetry"
)

// ownAttempts is how often the learner that holds the state may fail before any learner may try.
const ownAttempts = 3

// retry goes on for ever: a store, a server or a worker that is away comes back. Errors that do not go away are marked
// non-retryable by the activities.
func retry() *temporal.RetryPolicy {
	return &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: 30 * time.Second}
}

// quick are the options of activities on the workflow's own queue: seconds of work on references. They have a heartbeat,
// too, lest a worker that dies during one holds the run up for the whole timeout.
func quick(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 10 * time.Minute,
		HeartbeatTimeout:    heartbeat,
		RetryPolicy:         retry(),
		WaitForCancellation: true,
		Summary:             summary,
	})
}

// instant are the options of a local activity: it runs in the worker that decides, as part of its decision, and costs one
// event in place of six.
func instant(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
		StartToCloseTimeout: time.Minute,
		RetryPolicy:         retry(),
		Summary:             summary,
	})
}

// patient are the options of activities on the workflow's own queue that may wait for others: the first one, which may
// download a model or a data set, and rewards that come from a user's endpoint.
func patient(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 2 * time.Hour,
		HeartbeatTimeout:    heartbeat,
		RetryPolicy:         retry(),
		WaitForCancellation: true,
		Summary:             summary,
	})
}

// sampling are the options of a rollout on the samplers' queue.
func sampling(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           telemetry.RolloutQueue(workflow.GetInfo(ctx).TaskQueueName),
		StartToCloseTimeout: 6 * time.Hour,
		HeartbeatTimeout:    heartbeat,
		RetryPolicy:         retry(),
		WaitForCancellation: true,
		Summary:             summary,
	})
}

// silent names, to the server's retry policies, the failure of a worker that sends no heartbeats any more.
const silent = "TemporalTimeout:Heartbeat"

// learn runs an activity where the learner's state is: on the queue of the learner that holds it, or, when that one does
// not take it in time, falls silent or keeps failing, on the queue of any learner, which rebuilds the state. So two learners
// never alternate and rebuild for ever.
func learn(ctx workflow.Context, own, summary string, activity, in, out any) error {
	options := workflow.ActivityOptions{
		TaskQueue:           telemetry.LearnerQueue(workflow.GetInfo(ctx).TaskQueueName),
		StartToCloseTimeout: 24 * time.Hour,
		HeartbeatTimeout:    heartbeat,
		RetryPolicy:         retry(),
		WaitForCancellation: true,
		Summary:             summary,
	}
	if own != "" {
		mine := options
		mine.TaskQueue = own
		mine.ScheduleToStartTimeout = ownWait
		mine.RetryPolicy = retry()
		mine.RetryPolicy.MaximumAttempts = ownAttempts
		mine.RetryPolicy.NonRetryableErrorTypes = []string{silent} // its state is lost with it: to wait for it gains nothing
		err := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, mine), activity, in).Get(ctx, out)
		if err == nil || !anotherMayTry(err) {
			return err
		}
		workflow.GetLogger(ctx).Warn("the learner that holds the state is away; any learner takes over", "queue", own, "error", err)
	}
	return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, options), activity, in).Get(ctx, out)
}

// anotherMayTry reports whether an activity failed for a reason that may lie with its worker.
func anotherMayTry(err error) bool {
	if temporal.IsCanceledError(err) {
		return false
	}
	failure, ok := errors.AsType[*temporal.ApplicationError](err)
	return !ok || !failure.NonRetryable()
}
