// Package reward turns an episode's outcomes into one number, and a batch's outcomes into the facts people watch.
package reward

import (
	"math"

	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
)

// Of returns the episode's reward, to be placed on its last sampled token (Chung, Du and Fu, arXiv 2503.04808, §3):
// Correct·Discount^a when attempt a (from 0) was right; else Wrong when some attempt had an answer, one that the grader
// could not decide within its bounds included; else NoAnswer.
func Of(e *rollout.Episode, r spec.Reward) float64 {
	answered := false
	for a, attempt := range e.Attempts {
		switch attempt.Outcome {
		case rollout.Correct:
			return r.Correct * math.Pow(r.Discount, float64(a))
		case rollout.Wrong, rollout.Bounded:
			answered = true
		}
	}
	if answered {
		return r.Wrong
	}
	return r.NoAnswer
}

// All returns the rewards of episodes, in their order.
func All(episodes []rollout.Episode, r spec.Reward) []float64 {
	rewards := make([]float64, len(episodes))
	for i := range episodes {
		rewards[i] = Of(&episodes[i], r)
	}
	return rewards
}
