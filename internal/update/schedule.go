package update

import (
	"math"

	"multiattempt/internal/spec"
)

// Schedule gives each optimiser step of a run its learning rates: linear warm-up to the peak, then a cosine down to a share
// of it (Loshchilov and Hutter, arXiv 1608.03983). The policy's begins after the critic's warm-up iterations, during which
// its rate is 0.
type Schedule struct {
	peak              Rates
	optimizer         spec.Optimizer
	stepsPerIteration int
	iterations        int
	criticWarmup      int
}

// NewSchedule returns the schedule of a run. peak, when not nil, replaces the spec's learning rates.
func NewSchedule(r spec.Run, peak *Rates) Schedule {
	s := Schedule{
		peak:              Rates{Policy: r.Optimizer.PolicyLR, Critic: r.Optimizer.CriticLR},
		optimizer:         r.Optimizer,
		stepsPerIteration: minibatchesOf(r.Data.ProblemsPerStep*r.Data.GroupSize, r.Update.Minibatch) * r.Update.Epochs,
		iterations:        r.Iterations,
		criticWarmup:      r.CriticWarmup,
	}
	if peak != nil {
		s.peak = *peak
	}
	return s
}

// Steps is the number of optimiser steps of the whole run.
func (s Schedule) Steps() int { return s.iterations * s.stepsPerIteration }

// Rates returns the learning rates of optimiser step minibatch (from 0, epochs included) of an iteration (from 0).
func (s Schedule) Rates(iteration, minibatch int) Rates {
	at := iteration*s.stepsPerIteration + minibatch
	r := Rates{Critic: s.peak.Critic * s.factor(at, s.Steps())}
	if held := s.criticWarmup * s.stepsPerIteration; at >= held {
		r.Policy = s.peak.Policy * s.factor(at-held, s.Steps()-held)
	}
	return r
}

// factor is the share of the peak at step (from 0) of total.
func (s Schedule) factor(step, total int) float64 {
	warmup := int(math.Ceil(s.optimizer.WarmupFraction * float64(total)))
	if step < warmup {
		return float64(step+1) / float64(warmup)
	}
	final := s.optimizer.FinalFraction
	progress := math.Min(1, float64(step-warmup)/math.Max(1, float64(total-warmup)))
	return final + (1-final)*(1+math.Cos(math.Pi*progress))/2
}
