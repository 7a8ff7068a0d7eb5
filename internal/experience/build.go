package experience

import (
	"errors"
	"fmt"
	"math"

	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
)

// ErrShape: scores or rewards that do not belong to the episodes they came with.
var ErrShape = errors.New("experience does not fit together")

// ErrNotFinite: a log-probability, value or reward is NaN or infinite. Computing it again does not help.
var ErrNotFinite = errors.New("not a finite number")

// varianceFloor keeps whitening finite when all advantages are equal.
const varianceFloor = 1e-8

// Build turns an iteration's episodes, [P·G], with their rewards and scores in the same order, into a batch. Everything is
// computed in float64 over sampled tokens; prompt, question, feedback and forced tokens take no part.
func Build(episodes []rollout.Episode, rewards []float64, scores []Scores, a spec.Advantage, u spec.Update) (Batch, error) {
	if len(rewards) != len(episodes) || len(scores) != len(episodes) {
		return Batch{}, fmt.Errorf("%w: %d episodes, %d rewards, %d scores", ErrShape, len(episodes), len(rewards), len(scores))
	}
	if len(episodes) == 0 {
		return Batch{}, fmt.Errorf("%w: no episodes", ErrShape)
	}
	b := Batch{Rows: make([]Row, len(episodes))}
	for i := range episodes {
		row, err := buildRow(&episodes[i], rewards[i], scores[i], a, u)
		if err != nil {
			return Batch{}, err
		}
		b.Rows[i] = row
	}
	b.describe(episodes)
	if a.Whiten {
		b.whiten()
	}
	return b, nil
}

// sampledTokens lists the positions of an episode's sampled tokens, in order.
func sampledTokens(mask []bool) []int {
	at := make([]int, 0, len(mask))
	for t, m := range mask {
		if m {
			at = append(at, t)
		}
	}
	return at
}

func buildRow(e *rollout.Episode, reward float64, s Scores, a spec.Advantage, u spec.Update) (Row, error) {
	n := len(e.Tokens)
	if len(s.Old) != n || len(s.Ref) != n || len(s.Values) != n {
		return Row{}, fmt.Errorf("%w: episode %s/%d has %d tokens, its scores %d, %d and %d", ErrShape, e.ProblemID, e.Sample,
			n, len(s.Old), len(s.Ref), len(s.Values))
	}
	at := sampledTokens(e.Mask)
	if len(at) == 0 {
		return Row{}, fmt.Errorf("%w: episode %s/%d has no sampled token", ErrShape, e.ProblemID, e.Sample)
	}
	for _, t := range at {
		// A sum is finite only if all its terms are.
		if sum := reward + float64(s.Old[t]) + float64(s.Ref[t]) + float64(s.Values[t]) + float64(e.LogProbs[t]); math.IsNaN(sum) || math.IsInf(sum, 0) {
			return Row{}, fmt.Errorf("%w: episode %s/%d, token %d: reward %g, log-probability %g (sampler %g, reference %g), value %g", ErrNotFinite,
				e.ProblemID, e.Sample, t, reward, s.Old[t], e.LogProbs[t], s.Ref[t], s.Values[t])
		}
	}
	perToken := tokenRewards(at, reward, s, u)
	values := make([]float64, len(at))
	for j, t := range at {
		values[j] = float64(s.Values[t])
	}
	advantages := GAE(perToken, values, a.Gamma, a.Lambda)
	row := Row{
		Tokens: e.Tokens, Mask: e.Mask, Old: s.Old, Ref: s.Ref, Values: s.Values,
		Advantages: make([]float32, n), Returns: make([]float32, n),
	}
	for j, t := range at {
		row.Advantages[t] = float32(advantages[j])
		row.Returns[t] = float32(advantages[j] + values[j])
	}
	if u.OldLogProbs == spec.OldSampling {
		row.Weights = importance(at, s.Old, e.LogProbs, u.ImportanceClip)
	}
	return row, nil
}

// tokenRewards places the episode's reward on its last sampled token and, where the spec asks for it, the penalty for
// leaving the reference on each.
func tokenRewards(at []int, reward float64, s Scores, u spec.Update) []float64 {
	r := make([]float64, len(at))
	if u.KL == spec.KLInReward {
		for j, t := range at {
			r[j] = -u.KLCoefficient * KL(u.KLEstimator, float64(s.Old[t]), float64(s.Ref[t]))
		}
	}
	r[len(r)-1] += reward
	return r
}

// GAE is generalised advantage estimation (Schulman et al., arXiv 1506.02438, eq. 16) over the sampled tokens of one
// episode, [S] each: A_j = δ_j + γλ·A_{j+1} with δ_j = r_j + γ·V_{j+1} − V_j. What is not sampled is stepped over as if it
// were not there, so the last token of an attempt looks at the value of the next attempt's first one. The value after the
// last sampled token is 0, in truncated episodes too.
func GAE(rewards, values []float64, gamma, lambda float64) []float64 {
	advantages := make([]float64, len(rewards))
	next, following := 0.0, 0.0 // V_{j+1} and A_{j+1}
	for j := len(rewards) - 1; j >= 0; j-- {
		delta := rewards[j] + gamma*next - values[j]
		following = delta + gamma*lambda*following
		advantages[j], next = following, values[j]
	}
	return advantages
}

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
// sampler's arithmetic differs from the trainer's (truncated importance sampling, Ionides 2008; Yao et al. 2025).
func importance(at []int, trainer, sampler []float32, limit float64) []float32 {
	w := make([]float32, len(trainer))
	for _, t := range at {
		w[t] = float32(math.Min(math.Exp(float64(trainer[t])-float64(sampler[t])), limit))
	}
	return w
}

// whiten replaces advantages by (A − mean)/sqrt(max(var, 1e-8)), over all sampled tokens, population variance.
func (b *Batch) whiten() {
	scale := 1 / math.Sqrt(math.Max(b.AdvantageStd*b.AdvantageStd, varianceFloor))
	for _, row := range b.Rows {
		for t, m := range row.Mask {
			if m {
				row.Advantages[t] = float32((float64(row.Advantages[t]) - b.AdvantageMean) * scale)
			}
		}
	}
}
