package experience

import (
	"math"

	"multiattempt/internal/spec"
)

// KL estimates KL(π‖π_ref) at one sampled token from its two log-probabilities (Schulman, "Approximating KL Divergence",
// 2020), with Δ = ref − logProb.
func KL(estimator spec.KLEstimator, logProb, ref float64) float64 {
	delta := ref - logProb
	switch estimator {
	case spec.KLK1:
		return -delta
	case spec.KLK2:
		return delta * delta / 2
	default:
		return math.Expm1(delta) - delta
	}
}

// importance returns min(π_trainer/π_sampler, limit) for each sampled token: what a token's loss is weighted with when the
// sampler's arithmetic differs from the trainer's (truncated importance sampling: Ionides 2008; Yao et al., "Your Efficient
// RL Framework Secretly Brings You Off-Policy RL Training", 2025).
func importance(at []int, trainer, sampler []float32, limit float64) []float32 {
	w := make([]float32, len(trainer))
	for _, t := range at {
		w[t] = float32(math.Min(math.Exp(float64(trainer[t])-float64(sampler[t])), limit))
	}
	return w
}
