package update_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/spec"
	"multiattempt/internal/update"
)

// hundredSteps are 10 iterations of 8 episodes in minibatches of 4, 5 epochs: 10 optimiser steps an iteration.
func hundredSteps() spec.Run {
	r := spec.Default()
	r.Iterations = 10
	r.Data.ProblemsPerStep, r.Data.GroupSize = 4, 2
	r.Update.Minibatch, r.Update.Epochs = 4, 5
	r.Optimizer.PolicyLR, r.Optimizer.CriticLR = 2, 3
	r.Optimizer.WarmupFraction, r.Optimizer.FinalFraction = 0.1, 0.1
	return r
}

func TestScheduleWarmsUpAndDecays(t *testing.T) {
	s := update.NewSchedule(hundredSteps(), nil)
	require.Equal(t, 100, s.Steps())
	for _, c := range []struct {
		iteration, minibatch int
		share                float64 // of the peak
	}{
		{0, 0, 0.1}, // the first step moves already
		{0, 4, 0.5},
		{0, 9, 1},
		{1, 0, 1}, // the cosine begins
		{4, 0, 0.1 + 0.9*(1+math.Cos(math.Pi/3))/2}, // a third of the remaining 90 steps
		{5, 5, 0.55}, // half of them
		{9, 9, 0.1 + 0.9*(1-math.Cos(math.Pi/90))/2}, // all but one
		{10, 0, 0.1},
		{99, 0, 0.1}, // a run that was prolonged stays at the end
	} {
		r := s.Rates(c.iteration, c.minibatch)
		require.InDelta(t, 2*c.share, r.Policy, 1e-12, "%d.%d", c.iteration, c.minibatch)
		require.InDelta(t, 3*c.share, r.Critic, 1e-12, "%d.%d", c.iteration, c.minibatch)
	}
}

func TestScheduleHoldsThePolicyWhileTheCriticWarmsUp(t *testing.T) {
	r := hundredSteps()
	r.CriticWarmup = 2
	s := update.NewSchedule(r, nil)
	require.Equal(t, update.Rates{Policy: 0, Critic: 0.3}, round(s.Rates(0, 0)))
	require.Zero(t, s.Rates(1, 9).Policy)
	require.Equal(t, update.Rates{Policy: 2. / 8, Critic: round(s.Rates(2, 0)).Critic}, round(s.Rates(2, 0)), "8 of 80 steps warm up")
	require.InDelta(t, 2, s.Rates(2, 7).Policy, 1e-12)
	require.InDelta(t, 2*0.55, s.Rates(6, 4).Policy, 1e-12, "half of 72 steps after 28")

	r.CriticWarmup = r.Iterations
	require.Zero(t, update.NewSchedule(r, nil).Rates(9, 9).Policy)
}

func round(r update.Rates) update.Rates {
	return update.Rates{Policy: math.Round(r.Policy*1e9) / 1e9, Critic: math.Round(r.Critic*1e9) / 1e9}
}

func TestScheduleWithoutWarmupOrDecayIsConstant(t *testing.T) {
	r := hundredSteps()
	r.Optimizer.WarmupFraction, r.Optimizer.FinalFraction = 0, 1
	s := update.NewSchedule(r, nil)
	for i := range 10 {
		require.Equal(t, update.Rates{Policy: 2, Critic: 3}, s.Rates(i, i))
	}
}

func TestScheduleTakesSteeredPeaks(t *testing.T) {
	s := update.NewSchedule(hundredSteps(), &update.Rates{Policy: 20, Critic: 30})
	require.Equal(t, update.Rates{Policy: 10, Critic: 15}, round(s.Rates(0, 4)))
}
