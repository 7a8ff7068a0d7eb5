package workflows

import (
	"fmt"
	"math"

	"go.temporal.io/sdk/workflow"

	"multiattempt/internal/update"
)

// SetLearningRate are the peak learning rates from the next iteration on; warm-up and decay still scale them. A rate that
// is left out stays.
type SetLearningRate struct {
	PolicyLR *float64 `json:"policy_lr,omitempty"`
	CriticLR *float64 `json:"critic_lr,omitempty"`
}

// maxRate bounds a learning rate: anything above is a slip of the pen.
const maxRate = 1.0

// SetCheckpointEvery is the number of iterations between two checkpoints from now on.
type SetCheckpointEvery struct {
	Every int `json:"every"`
}

// maxReplay bounds the iterations that lie between two checkpoints, whatever the settings say: each of them stands in the
// inputs of the learner's activities, which must stay small, and would have to be repeated after a crash.
const maxReplay = 32

// handle registers the status query and every update. A validator refuses what makes no sense before it enters history.
func (r *trainRun) handle(ctx workflow.Context) error {
	if err := workflow.SetQueryHandler(ctx, QueryStatus, func() (Status, error) { return r.state.Status, nil }); err != nil {
		return err
	}
	for _, u := range []struct {
		name        string
		handler     any
		validator   any
		description string
	}{
		{UpdatePause, r.pause, r.mayPause, "hold after the iteration under way"},
		{UpdateResume, r.resume, r.mayResume, "go on after a pause"},
		{UpdateStop, r.stop, r.mayStop, "finish the iteration under way, keep a checkpoint, complete"},
		{UpdateCheckpointNow, r.checkpointNow, r.maySteer, "keep a checkpoint after the iteration under way"},
		{UpdateEvaluateNow, r.evaluateNow, r.mayEvaluate, "evaluate after the iteration under way"},
		{UpdateSetLearningRate, r.setLearningRate, r.maySetLearningRate, "peak learning rates from the next iteration on"},
		{UpdateSetCheckpointEvery, r.setCheckpointEvery, r.maySetCheckpointEvery, "iterations between two checkpoints from now on"},
	} {
		options := workflow.UpdateHandlerOptions{Validator: u.validator, Description: u.description}
		if err := workflow.SetUpdateHandlerWithOptions(ctx, u.name, u.handler, options); err != nil {
			return err
		}
	}
	return nil
}

// maySteer refuses updates of a run that ends.
func (r *trainRun) maySteer() error {
	if s := r.state.Status; s.Stopping || s.Phase == PhaseStopped || s.Phase == PhaseCompleted {
		return fmt.Errorf("run %s is ending", s.Run)
	}
	return nil
}

func (r *trainRun) mayPause() error {
	if r.state.Status.Paused {
		return fmt.Errorf("run %s is paused already", r.state.Status.Run)
	}
	if s := r.state.Status; s.Phase == PhaseEvaluating && s.Step >= s.Iterations {
		return fmt.Errorf("run %s has made its last iteration and is being evaluated: nothing is left to hold", s.Run)
	}
	return r.maySteer()
}

func (r *trainRun) pause(workflow.Context) (Status, error) {
	r.state.Status.Paused = true
	return r.state.Status, nil
}

func (r *trainRun) mayResume() error {
	if !r.state.Status.Paused {
		return fmt.Errorf("run %s is not paused", r.state.Status.Run)
	}
	return r.maySteer()
}

func (r *trainRun) resume(workflow.Context) (Status, error) {
	r.state.Status.Paused = false
	return r.state.Status, nil
}

func (r *trainRun) mayStop() error { return r.maySteer() }

func (r *trainRun) stop(workflow.Context) (Status, error) {
	r.state.Status.Stopping = true
	return r.state.Status, nil
}

// checkpointNow answers when a checkpoint of the state at the end of the iteration under way is durable.
func (r *trainRun) checkpointNow(ctx workflow.Context) (Status, error) {
	r.requests.made++
	mine := r.requests.made
	err := workflow.Await(ctx, func() bool { return r.requests.answered >= mine })
	return r.state.Status, err
}

func (r *trainRun) mayEvaluate() error {
	s := r.state
	if s.Status.Phase == PhaseStarting {
		return fmt.Errorf("run %s is still starting", s.Status.Run)
	}
	if len(r.attemptsNow()) == 0 {
		return fmt.Errorf("run %s has no evaluation in its settings; `multiattempt eval --run %s` scores any of its checkpoints", s.Status.Run, s.Status.Run)
	}
	if s.Status.Phase == PhaseEvaluating && s.Status.Step >= s.Status.Iterations {
		return fmt.Errorf("run %s is being evaluated for the last time", s.Status.Run)
	}
	return r.maySteer()
}

// attemptsNow are every k of an evaluation that somebody asks for: those of evaluations during training or, where the
// settings have none, those of the last one.
func (r *trainRun) attemptsNow() []int {
	if plan := r.state.Resolved.Plan; len(plan.EvaluateAttempts) > 0 {
		return plan.EvaluateAttempts
	}
	return r.state.Resolved.Plan.FinalAttempts
}

// evaluateNow answers when the policy at the end of the iteration under way is scored.
func (r *trainRun) evaluateNow(ctx workflow.Context) (Status, error) {
	r.evaluationWanted++
	err := workflow.Await(ctx, func() bool { return r.evaluationWanted == 0 })
	return r.state.Status, err
}

func (r *trainRun) maySetCheckpointEvery(in SetCheckpointEvery) error {
	if in.Every < 1 || in.Every > maxReplay {
		return fmt.Errorf("every = %d: a whole number from 1 to %d", in.Every, maxReplay)
	}
	if r.state.Status.Phase == PhaseStarting {
		return fmt.Errorf("run %s is still starting", r.state.Status.Run)
	}
	return r.maySteer()
}

func (r *trainRun) setCheckpointEvery(_ workflow.Context, in SetCheckpointEvery) (Status, error) {
	r.state.Status.CheckpointEvery = in.Every
	return r.state.Status, nil
}

func (r *trainRun) maySetLearningRate(in SetLearningRate) error {
	if in.PolicyLR == nil && in.CriticLR == nil {
		return fmt.Errorf("name policy_lr, critic_lr or both")
	}
	if err := checkRate("policy_lr", in.PolicyLR); err != nil {
		return err
	}
	if err := checkRate("critic_lr", in.CriticLR); err != nil {
		return err
	}
	if r.state.Status.Phase == PhaseStarting {
		return fmt.Errorf("run %s is still starting", r.state.Status.Run)
	}
	return r.maySteer()
}

func checkRate(name string, rate *float64) error {
	if rate != nil && (math.IsNaN(*rate) || *rate < 0 || *rate > maxRate) {
		return fmt.Errorf("%s = %g: from 0 to %g", name, *rate, maxRate)
	}
	return nil
}

func (r *trainRun) setLearningRate(_ workflow.Context, in SetLearningRate) (Status, error) {
	rates := r.state.Resolved.Plan.Rates
	if now := r.state.Status.Rates; now != nil {
		rates = *now
	}
	if in.PolicyLR != nil {
		rates.Policy = *in.PolicyLR
	}
	if in.CriticLR != nil {
		rates.Critic = *in.CriticLR
	}
	r.state.Status.Rates = &update.Rates{Policy: rates.Policy, Critic: rates.Critic}
	return r.state.Status, nil
}

// pauseIfAsked holds the run between two iterations while it is paused, and does meanwhile what is asked for.
func (r *trainRun) pauseIfAsked(ctx workflow.Context) error {
	s := &r.state.Status
	if err := r.answer(ctx); err != nil {
		return err
	}
	if !s.Paused || s.Stopping {
		return nil
	}
	if err := r.settle(ctx); err != nil {
		return err
	}
	r.enter(ctx, PhasePaused)
	for s.Paused && !s.Stopping {
		if err := workflow.Await(ctx, func() bool { return !s.Paused || s.Stopping || r.asked() }); err != nil {
			return err
		}
		if err := r.answer(ctx); err != nil {
			return err
		}
	}
	r.enter(ctx, PhaseTraining)
	return nil
}

// asked reports whether somebody waits for a checkpoint that is still to be begun, or for an evaluation.
func (r *trainRun) asked() bool { return r.requests.open() || r.evaluationWanted > 0 }

// answer keeps the checkpoint and makes the evaluation that somebody waits for.
func (r *trainRun) answer(ctx workflow.Context) error {
	for r.asked() {
		if r.requests.open() {
			if err := r.checkpoint(ctx); err != nil {
				return err
			}
		}
		if n := r.evaluationWanted; n > 0 {
			if err := r.evaluate(ctx, r.attemptsNow()); err != nil {
				return err
			}
			r.evaluationWanted -= n // whoever asked meanwhile is answered by the same scores, in the next round
		}
	}
	return nil
}
