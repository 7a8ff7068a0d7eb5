package workflows

import (
	"errors"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// Checkpoints are kept while the next iteration is rolled out: a rollout needs the policy that the update published, and
// nothing else of the learner's state. The state must hold still meanwhile, so settle comes before every update, and before
// the run ends, pauses or continues as new. The learner's answer names a candidate; the run itself makes it a checkpoint.

// requests count the checkpoints that people asked for: all of them, those that a checkpoint under way or kept answers, and
// those that are answered.
type requests struct{ made, taken, answered int }

// open reports whether somebody's checkpoint is still to be begun.
func (q requests) open() bool { return q.made > q.taken }

// beginCheckpoint has the learner keep the full state of the current step, unless it is kept already, and lets the run go
// on meanwhile.
func (r *trainRun) beginCheckpoint(ctx workflow.Context) error {
	if err := r.settle(ctx); err != nil {
		return err
	}
	r.requests.taken = r.requests.made
	if len(r.state.At.Since) == 0 { // the position is a checkpoint, or the base model
		r.requests.answered = r.requests.taken
		return nil
	}
	at, taken := r.state.At, r.requests.taken
	future, done := workflow.NewFuture(ctx)
	r.keeping = future
	workflow.Go(ctx, func(ctx workflow.Context) {
		// A cancelled run leaves a checkpoint: this one, if it is under way.
		ctx, cancel := workflow.NewDisconnectedContext(ctx)
		defer cancel()
		out, err := r.keep(ctx, at)
		if err == nil { // whoever asked need not wait for the iteration under way
			r.state.Status.LatestCheckpoint, r.requests.answered = out.checkpoint, taken
			workflow.SetCurrentDetails(ctx, r.state.Status.markdown())
		}
		done.Set(out, err)
	})
	return nil
}

// settle waits for the checkpoint that is being kept, if any: from then on the learner's position is that checkpoint.
func (r *trainRun) settle(ctx workflow.Context) error {
	if r.keeping == nil {
		return nil
	}
	var out kept
	err := r.keeping.Get(ctx, &out)
	r.keeping = nil
	if err != nil {
		return err
	}
	s := &r.state
	s.Own = out.own
	s.At = s.At.At(out.checkpoint, out.policy)
	s.Status.Policy = out.policy
	return nil
}

// checkpoint keeps the full state of the current step, unless it is kept already, and waits until it is durable.
func (r *trainRun) checkpoint(ctx workflow.Context) error {
	if err := r.beginCheckpoint(ctx); err != nil {
		return err
	}
	return r.settle(ctx)
}

// checkpointIsDue reports whether the step that was just made is one to keep.
func (r *trainRun) checkpointIsDue() bool {
	s := &r.state
	every := s.Resolved.Plan.CheckpointEvery
	if s.Status.CheckpointEvery > 0 {
		every = s.Status.CheckpointEvery
	}
	return s.Status.Step%every == 0 || len(s.At.Since) >= maxReplay
}

// lastCheckpoint keeps the state that the run ends in, and deletes what the checkpoint makes superfluous.
func (r *trainRun) lastCheckpoint(ctx workflow.Context) error {
	if err := r.checkpoint(ctx); err != nil {
		return err
	}
	return r.unpublish(ctx)
}

// leaveCheckpoint keeps what a cancelled run has, so that the same run can go on later. Other failures keep what the last
// checkpoint has: the state of a learner that failed is not worth keeping.
func (r *trainRun) leaveCheckpoint(ctx workflow.Context, cause error) error {
	if err := r.settle(ctx); err != nil {
		return errors.Join(cause, err)
	}
	if !temporal.IsCanceledError(cause) {
		return cause
	}
	disconnected, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	return errors.Join(cause, r.lastCheckpoint(disconnected))
}
