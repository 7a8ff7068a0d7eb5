// Package reward turns an episode's outcomes into numbers, and a batch's outcomes into the facts people watch.
package reward

import (
	"math"

	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
)

// Earned is what an episode earned.
type Earned struct {
	// Episode is for all of its attempts together, to be placed on the last sampled token.
	Episode float64
	// Attempts are for each attempt by itself, [A]; nil when the source of rewards does not say.
	Attempts []float64
}

// Of returns what an episode earned by its outcomes. As a whole (Chung, Du and Fu, arXiv 2503.04808, §3):
// Correct·Discount^a when attempt a (from 0) was right; else Wrong when some attempt had an answer, one that the grader
// could not decide within its bounds included; else NoAnswer. Each attempt by itself earns the same by its own outcome
// alone. RepeatPenalty is taken off for each attempt that repeats an earlier answer.
func Of(e *rollout.Episode, r spec.Reward) Earned {
	earned := Earned{Episode: r.NoAnswer, Attempts: make([]float64, len(e.Attempts))}
	penalty := 0.0
	for a, attempt := range e.Attempts {
		own := r.NoAnswer
		switch attempt.Outcome {
		case rollout.Correct:
			own = r.Correct * math.Pow(r.Discount, float64(a))
			earned.Episode = own
		case rollout.Wrong, rollout.Bounded:
			own = r.Wrong
			earned.Episode = own
		}
		if r.RepeatPenalty > 0 && e.Repeated(a) {
			own -= r.RepeatPenalty
			penalty += r.RepeatPenalty
		}
		earned.Attempts[a] = own
	}
	earned.Episode -= penalty
	return earned
}

// All returns what episodes earned, in their order.
func All(episodes []rollout.Episode, r spec.Reward) []Earned {
	all := make([]Earned, len(episodes))
	for i := range episodes {
		all[i] = Of(&episodes[i], r)
	}
	return all
}

// Whole returns the rewards of whole episodes.
func Whole(all []Earned) []float64 {
	rewards := make([]float64, len(all))
	for i, e := range all {
		rewards[i] = e.Episode
	}
	return rewards
}
