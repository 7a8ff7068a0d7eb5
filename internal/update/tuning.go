package update

import "multiattempt/internal/spec"

// NewTuningSchedule returns the schedule of a fine-tuning, in which an iteration is one optimiser step.
func NewTuningSchedule(f spec.Finetune) Schedule {
	return Schedule{
		peak:              Rates{Policy: f.Optimizer.PolicyLR},
		optimizer:         f.Optimizer,
		stepsPerIteration: 1,
		iterations:        f.Steps,
	}
}
