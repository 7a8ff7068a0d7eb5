package workflows

import (
	"fmt"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/workflow"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/internal/update"
)

// resolveSpec turns the user's settings into a complete spec and checks that the run can begin.
func (r *trainRun) resolveSpec(ctx workflow.Context) (activities.ResolveSpecOutput, error) {
	var a *activities.Data // nil: only names the method
	var out activities.ResolveSpecOutput
	in := activities.ResolveSpecInput{Run: r.state.Status.Run, Spec: r.in.Spec, Fork: r.in.Fork}
	err := workflow.ExecuteActivity(patient(ctx, "settings, model, data"), a.ResolveSpec, in).Get(ctx, &out)
	return out, err
}

// sampleBatch begins to draw the problems of the iteration after a step, with their numbers of attempts.
func (r *trainRun) sampleBatch(ctx workflow.Context, step int) workflow.Future {
	var a *activities.Data
	in := activities.SampleBatchInput{Run: r.state.Status.Run, Spec: r.state.At.Spec, Data: r.state.Resolved.Data, Step: step}
	return workflow.ExecuteActivity(quick(ctx, iterationAfter(step)), a.SampleBatch, in)
}

// problems are those of the iteration under way, drawn ahead or now.
func (r *trainRun) problems(ctx workflow.Context) (blob.Ref, error) {
	drawn := r.ahead
	r.ahead = nil
	if drawn == nil {
		drawn = r.sampleBatch(ctx, r.state.Status.Step)
	} else {
		defer r.giveUp() // nothing is left to end, but its context
	}
	var out activities.SampleBatchOutput
	err := drawn.Get(ctx, &out)
	return out.Problems, err
}

// leaveAhead lets a batch that was drawn ahead go, and waits until its activity has ended, which might otherwise be repeated
// for ever: a history ends with nothing under way. What kept it from being drawn is met again by whoever needs it.
func (r *trainRun) leaveAhead(ctx workflow.Context) {
	if r.ahead != nil {
		r.giveUp()
		_ = r.ahead.Get(ctx, nil)
		r.ahead = nil
	}
}

// drawAhead draws the next iteration's problems beside the update, on which they do not depend, if this part of the
// history is known to go on.
func (r *trainRun) drawAhead(ctx workflow.Context) {
	plan, next := r.state.Resolved.Plan, r.state.Status.Step+1
	if next < plan.Iterations && !r.state.Status.Stopping && (plan.ContinueAfter == 0 || next-r.begun < plan.ContinueAfter) {
		ctx, r.giveUp = workflow.WithCancel(ctx)
		r.ahead = r.sampleBatch(ctx, next)
	}
}

// rollouts samples all shards at once and returns their episodes in the order of shards.
func (r *trainRun) rollouts(ctx workflow.Context, problems blob.Ref) ([]blob.Ref, error) {
	var a *activities.Rollouts
	s := &r.state
	ctx, cancel := workflow.WithCancel(ctx)
	defer cancel() // a shard that cannot succeed ends the others
	shards := make([]workflow.Future, s.Resolved.Plan.Shards)
	for i := range shards {
		in := activities.RolloutInput{
			Run: s.Status.Run, Spec: s.At.Spec, Policy: s.At.Policy, Problems: problems,
			Step: s.Status.Step, Shard: i, Shards: len(shards),
		}
		summary := fmt.Sprintf("%s · shard %d/%d", r.iteration(), i+1, len(shards))
		shards[i] = workflow.ExecuteActivity(sampling(ctx, summary), a.Rollout, in)
	}
	return gather(ctx, shards)
}

// gather waits for rollouts and returns their episodes in the order given.
func gather(ctx workflow.Context, shards []workflow.Future) ([]blob.Ref, error) {
	episodes := make([]blob.Ref, len(shards))
	for i, shard := range shards {
		var out activities.RolloutOutput
		if err := shard.Get(ctx, &out); err != nil {
			return nil, err
		}
		episodes[i] = out.Episodes
	}
	return episodes, nil
}

// reward turns outcomes into one number an episode.
func (r *trainRun) reward(ctx workflow.Context, episodes []blob.Ref) (activities.RewardOutput, error) {
	var a *activities.Data
	var out activities.RewardOutput
	in := activities.RewardInput{Run: r.state.Status.Run, Spec: r.state.At.Spec, Step: r.state.Status.Step, Episodes: episodes}
	err := workflow.ExecuteActivity(patient(ctx, r.iteration()), a.Reward, in).Get(ctx, &out)
	return out, err
}

// update improves the policy with the iteration's experience.
func (r *trainRun) update(ctx workflow.Context, experience blob.Ref, rates *update.Rates, spent activities.Spent) (activities.UpdateOutput, error) {
	var a *activities.Learner
	var out activities.UpdateOutput
	s := &r.state
	in := activities.UpdateInput{At: s.At, Experience: experience, Rates: rates, Spent: spent}
	err := learn(ctx, s.Own, r.iteration(), a.Update, in, &out)
	s.Own = out.Own
	return out, err
}

// commit gives the record of the step that was just made its name. A cancellation does not keep it from that: the step is
// part of the checkpoint that a cancelled run leaves.
func (r *trainRun) commit(ctx workflow.Context, record blob.Ref) error {
	disconnected, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	var a *activities.Data
	in := activities.CommitInput{Run: r.state.Status.Run, Step: r.state.At.Step(), Record: record}
	return workflow.ExecuteLocalActivity(instant(disconnected, r.iteration()), a.Commit, in).Get(disconnected, nil)
}

// kept is a checkpoint that is durable, and the learner that holds its state.
type kept struct {
	checkpoint activities.CheckpointRef
	policy     activities.Policy
	own        string
}

// keep makes the learner's full state a checkpoint.
func (r *trainRun) keep(ctx workflow.Context, at activities.Position) (kept, error) {
	var a *activities.Learner
	var out activities.CheckpointOutput
	err := learn(ctx, r.state.Own, fmt.Sprintf("after step %d", at.Step()), a.Checkpoint, activities.CheckpointInput{At: at}, &out)
	if err != nil {
		return kept{}, err
	}
	ref, err := commitCheckpoint(ctx, activities.CommitCheckpointInput{
		Run: at.Run, Step: at.Step(), Candidate: out.Candidate, Retain: r.state.Resolved.Plan.Retain, Before: at.Checkpoint.Step,
	})
	return kept{checkpoint: ref, policy: out.Policy, own: out.Own}, err
}

// commitCheckpoint makes a candidate a checkpoint. A cancellation does not keep it from that: its state is what the run is
// to go on from.
func commitCheckpoint(ctx workflow.Context, in activities.CommitCheckpointInput) (ref activities.CheckpointRef, err error) {
	disconnected, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	var a *activities.Data
	summary := fmt.Sprintf("after step %d", in.Step)
	err = workflow.ExecuteLocalActivity(instant(disconnected, summary), a.CommitCheckpoint, in).Get(disconnected, &ref)
	return ref, err
}

// unpublish deletes the weights that were published for rollouts after the current step, which is kept as a checkpoint.
func (r *trainRun) unpublish(ctx workflow.Context) error {
	var a *activities.Data
	in := activities.UnpublishInput{Run: r.state.Status.Run, Step: r.state.Status.Step}
	return workflow.ExecuteLocalActivity(instant(ctx, fmt.Sprintf("after step %d", in.Step)), a.Unpublish, in).Get(ctx, nil)
}

// evaluateChild scores the current policy in a workflow of its own.
func (r *trainRun) evaluateChild(ctx workflow.Context, attempts []int) (EvaluateOutput, error) {
	s := &r.state
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID: EvaluateWorkflowID(s.Status.Run, s.Status.Step),
		// A run that is started again asks once more for the evaluation of its last step.
		WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		ParentClosePolicy:     enumspb.PARENT_CLOSE_POLICY_REQUEST_CANCEL,
		WaitForCancellation:   true,
		StaticSummary:         fmt.Sprintf("%s after step %d", s.Status.Name, s.Status.Step),
	})
	task := activities.EvaluationTask{
		Run: s.Status.Run, Step: s.Status.Step, Spec: s.At.Spec, Data: s.Resolved.Data, Policy: s.At.Policy,
		Attempts: attempts, Reuse: true,
	}
	if s.Status.Step >= s.Resolved.Plan.Iterations {
		task.Parallel = s.Resolved.Plan.Parallel
	}
	var out EvaluateOutput
	err := workflow.ExecuteChildWorkflow(ctx, EvaluateName, EvaluateInput{Task: &task}).Get(ctx, &out)
	return out, err
}

// markBest makes the newest checkpoint the run's best.
func (r *trainRun) markBest(ctx workflow.Context, score float64) error {
	var a *activities.Data
	in := activities.MarkBestInput{Run: r.state.Status.Run, Checkpoint: r.state.At.Checkpoint, Score: score}
	return workflow.ExecuteActivity(quick(ctx, fmt.Sprintf("score %.4f", score)), a.MarkBest, in).Get(ctx, nil)
}

// iteration names the iteration under way, counted from 1.
func (r *trainRun) iteration() string { return iterationAfter(r.state.Status.Step) }

func iterationAfter(step int) string { return fmt.Sprintf("iteration %d", step+1) }
