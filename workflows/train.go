package workflows

import (
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"multiattempt/activities"
	"multiattempt/internal/telemetry"
)

// Train is a training run: per iteration sample problems, roll out episodes, reward them, update the policy; now and then
// keep a checkpoint and evaluate. Its workflow id is the run's name in the store. A run whose id has checkpoints goes on
// from the newest one.
func Train(ctx workflow.Context, in TrainInput) (TrainOutput, error) {
	r := &trainRun{}
	if err := r.setup(ctx, in); err != nil {
		return TrainOutput{}, err
	}
	return r.run(ctx)
}

// trainRun is a run in progress.
type trainRun struct {
	in    TrainInput
	state TrainState
	// begun is the step at which this part of the history began.
	begun int
	// ahead is the next iteration's batch, which is drawn while the learner is at work; nil: it is not. giveUp ends that.
	ahead  workflow.Future
	giveUp workflow.CancelFunc
	// keeping becomes ready when the checkpoint that is being kept is durable; nil: none is.
	keeping workflow.Future
	// requests are of checkpoint_now; evaluationWanted is the number of evaluate_now requests that wait.
	requests         requests
	evaluationWanted int
}

// setup makes the run answer queries and updates, and takes over what an earlier part carried.
func (r *trainRun) setup(ctx workflow.Context, in TrainInput) error {
	r.in = in
	r.state.Status = Status{Run: workflow.GetInfo(ctx).WorkflowExecution.ID, Phase: PhaseStarting}
	if in.Carried != nil {
		r.state = *in.Carried
	}
	r.begun = r.state.Status.Step
	return r.handle(ctx)
}

// run goes through the iterations that are left and completes, or continues as new.
func (r *trainRun) run(ctx workflow.Context) (TrainOutput, error) {
	if r.in.Carried == nil {
		if err := r.resolve(ctx); err != nil {
			return TrainOutput{}, err
		}
	}
	for r.state.Status.Step < r.state.Resolved.Plan.Iterations {
		if err := r.pauseIfAsked(ctx); err != nil {
			return TrainOutput{}, r.leaveCheckpoint(ctx, err)
		}
		if r.state.Status.Stopping {
			break
		}
		if r.historyIsLong(ctx) {
			return TrainOutput{}, r.continueAsNew(ctx)
		}
		if err := r.iterate(ctx); err != nil {
			return TrainOutput{}, r.leaveCheckpoint(ctx, err)
		}
	}
	// A pause that was asked for during the last iteration holds before the evaluation.
	if err := r.pauseIfAsked(ctx); err != nil {
		return TrainOutput{}, r.leaveCheckpoint(ctx, err)
	}
	return r.finish(ctx)
}

// resolve checks settings, model and data, and finds out where the run stands.
func (r *trainRun) resolve(ctx workflow.Context) error {
	s := &r.state
	out, err := r.resolveSpec(ctx)
	if err != nil {
		return err
	}
	if b := out.Branch; !b.Candidate.IsZero() {
		in := activities.CommitCheckpointInput{Run: s.Status.Run, Step: b.Step, Candidate: b.Candidate, Retain: out.Plan.Retain, Before: b.Step}
		if out.Checkpoint, err = commitCheckpoint(ctx, in); err != nil {
			return err
		}
	}
	s.Resolved = out
	s.At = activities.Position{Run: s.Status.Run, Spec: out.Spec, Base: out.Base, Policy: out.Base}
	if !out.Checkpoint.IsZero() {
		s.At = s.At.At(out.Checkpoint, out.Restored)
	}
	s.Status.Name, s.Status.Model, s.Status.Digest = out.Name, out.Model, out.Digest
	s.Status.Data, s.Status.Warnings = out.Data, out.Warnings
	s.Status.Step, s.Status.Iterations = s.At.Step(), out.Plan.Iterations
	s.Status.LatestCheckpoint, s.Status.Policy = out.Checkpoint, s.At.Policy
	if out.Best != nil {
		s.Status.Best = &Best{Metric: out.Metric, Score: out.Best.Score, Checkpoint: out.Best.Checkpoint}
	}
	r.begun = s.Status.Step
	r.enter(ctx, PhaseTraining)
	return nil
}

// iterate makes one iteration, and what falls due after it.
func (r *trainRun) iterate(ctx workflow.Context) error {
	s := &r.state
	problems, err := r.problems(ctx)
	if err != nil {
		return err
	}
	began := workflow.Now(ctx)
	episodes, err := r.rollouts(ctx, problems)
	if err != nil {
		return err
	}
	sampled := workflow.Now(ctx)
	rewarded, err := r.reward(ctx, episodes)
	if err != nil {
		return err
	}
	earned := workflow.Now(ctx)
	if err := r.settle(ctx); err != nil {
		return err
	}
	spent := activities.Spent{
		Rollout: sampled.Sub(began).Seconds(), Reward: earned.Sub(sampled).Seconds(), Checkpoint: workflow.Now(ctx).Sub(earned).Seconds(),
	}
	rates := s.Status.Rates // an update may set others while the learner is at work
	r.drawAhead(ctx)
	updated, err := r.update(ctx, rewarded.Experience, rates, spent)
	if err != nil {
		return err
	}
	done := activities.StepDone{Experience: rewarded.Experience, Rates: rates, Policy: updated.Policy.Digest}
	s.At = s.At.After(done, updated.Policy)
	s.Status.Policy = updated.Policy
	if err := r.commit(ctx, updated.Record); err != nil {
		return err
	}
	s.Status.add(Iteration{
		Step: s.At.Step(), RewardMean: rewarded.RewardMean, Solved: rewarded.Solved,
		KL: updated.KL, PolicyLR: updated.PolicyLR, Record: updated.Record,
	})
	r.publish(ctx)

	plan := s.Resolved.Plan
	if r.checkpointIsDue() || r.requests.open() {
		if err := r.beginCheckpoint(ctx); err != nil {
			return err
		}
	}
	if plan.EvaluateEvery > 0 && s.Status.Step%plan.EvaluateEvery == 0 && s.Status.Step < plan.Iterations {
		return r.evaluate(ctx, plan.EvaluateAttempts)
	}
	return nil
}

// finish keeps a checkpoint of the last step and, unless the run was stopped early, evaluates it.
func (r *trainRun) finish(ctx workflow.Context) (TrainOutput, error) {
	s := &r.state
	r.leaveAhead(ctx)
	if err := r.lastCheckpoint(ctx); err != nil {
		return TrainOutput{}, err
	}
	last := PhaseStopped
	if s.Status.Step >= s.Resolved.Plan.Iterations {
		last = PhaseCompleted
		if len(s.Resolved.Plan.FinalAttempts) > 0 {
			if err := r.evaluate(ctx, s.Resolved.Plan.FinalAttempts); err != nil {
				return TrainOutput{}, err
			}
		}
	}
	if err := r.drain(ctx); err != nil {
		return TrainOutput{}, err
	}
	r.enter(ctx, last)
	return TrainOutput{
		Run: s.Status.Run, Phase: last, Step: s.Status.Step, RewardMean: s.Status.RewardMean,
		LatestCheckpoint: s.Status.LatestCheckpoint, Policy: s.Status.Policy, Best: s.Status.Best, Evaluation: s.Status.Evaluation,
	}, nil
}

// evaluate scores the current policy at every k of attempts, unless it has these scores, and remembers its checkpoint when
// it is the best so far.
func (r *trainRun) evaluate(ctx workflow.Context, attempts []int) error {
	s := &r.state
	if e := s.Status.Evaluation; e != nil && e.Step == s.Status.Step && e.covers(attempts) {
		return nil
	}
	before := s.Status.Phase
	r.enter(ctx, PhaseEvaluating)
	out, err := r.evaluateChild(ctx, attempts)
	if err != nil {
		return fmt.Errorf("evaluation after step %d: %w", s.Status.Step, err)
	}
	s.Status.Evaluation = &out
	if score := out.Metric; score != nil && (s.Status.Best == nil || *score > s.Status.Best.Score) {
		if err := r.checkpoint(ctx); err != nil {
			return err
		}
		if !s.At.Checkpoint.IsZero() {
			if err := r.markBest(ctx, *score); err != nil {
				return err
			}
			s.Status.Best = &Best{Metric: s.Resolved.Metric, Score: *score, Checkpoint: s.At.Checkpoint}
		}
	}
	r.enter(ctx, before)
	return nil
}

// historyIsLong reports whether it is time to continue as new.
func (r *trainRun) historyIsLong(ctx workflow.Context) bool {
	done := r.state.Status.Step - r.begun
	after := r.state.Resolved.Plan.ContinueAfter
	return done > 0 && (after > 0 && done >= after || workflow.GetInfo(ctx).GetContinueAsNewSuggested())
}

// continueAsNew ends this part of the history once no handler is in flight.
func (r *trainRun) continueAsNew(ctx workflow.Context) error {
	r.leaveAhead(ctx)
	err := r.settle(ctx)
	if err == nil {
		err = r.drain(ctx)
	}
	if err != nil {
		return r.leaveCheckpoint(ctx, err)
	}
	return workflow.NewContinueAsNewError(ctx, TrainName, TrainInput{Spec: r.in.Spec, Fork: r.in.Fork, Carried: &r.state})
}

// drain waits until every update is answered; those that wait for a checkpoint or an evaluation get it.
func (r *trainRun) drain(ctx workflow.Context) error {
	for {
		err := workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) || r.asked() })
		if err != nil {
			return err
		}
		if !r.asked() {
			return nil
		}
		if err := r.answer(ctx); err != nil {
			return err
		}
	}
}

// enter changes the phase for everybody to see.
func (r *trainRun) enter(ctx workflow.Context, p Phase) {
	r.state.Status.Phase = p
	r.publish(ctx)
}

// publish shows where the run stands: search attributes and the details that the Temporal UI renders.
func (r *trainRun) publish(ctx workflow.Context) {
	s := r.state.Status
	attributes := []temporal.SearchAttributeUpdate{
		telemetry.RunName.ValueSet(s.Name), telemetry.Phase.ValueSet(string(s.Phase)),
		telemetry.Step.ValueSet(int64(s.Step)), telemetry.Model.ValueSet(s.Model),
	}
	if s.Best != nil {
		attributes = append(attributes, telemetry.BestScore.ValueSet(s.Best.Score))
	}
	if err := workflow.UpsertTypedSearchAttributes(ctx, attributes...); err != nil {
		workflow.GetLogger(ctx).Error("search attributes not set", telemetry.AttrError, err)
	}
	workflow.SetCurrentDetails(ctx, s.markdown())
}
