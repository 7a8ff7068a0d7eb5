package experience

import (
	"errors"
	"fmt"
	"math"

	"multiattempt/internal/reward"
	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
)

// ErrShape: scores or rewards that do not belong to the episodes they came with.
var ErrShape = errors.New("experience does not fit together")

// ErrNotFinite: a log-probability, value or reward is NaN or infinite. Computing it again does not help.
var ErrNotFinite = errors.New("not a finite number")

// Build turns an iteration's episodes, [P·G], with their rewards and scores in the same order, into a batch. Everything is
// computed in float64 over sampled tokens; prompt, question, feedback and forced tokens take no part. u.KLCoefficient is
// the coefficient that holds for this iteration.
func Build(episodes []rollout.Episode, rewards []reward.Earned, scores []Scores, a spec.Advantage, u spec.Update) (Batch, error) {
	if len(rewards) != len(episodes) || len(scores) != len(episodes) {
		return Batch{}, fmt.Errorf("%w: %d episodes, %d rewards, %d scores", ErrShape, len(episodes), len(rewards), len(scores))
	}
	if len(episodes) == 0 {
		return Batch{}, fmt.Errorf("%w: no episodes", ErrShape)
	}
	b := Batch{Rows: make([]Row, len(episodes))}
	tracks := make([]track, len(episodes))
	for i := range episodes {
		if err := check(&episodes[i], rewards[i], scores[i], a); err != nil {
			return Batch{}, err
		}
		tracks[i] = newTrack(&episodes[i], rewards[i], scores[i], a, u)
	}
	switch a.Estimator {
	case spec.EstimatorGRPO:
		b.AttemptsWithoutPeers = compare(tracks, func(returns []float64) []float64 { return grpo(returns, a.GroupStd) })
	case spec.EstimatorRLOO:
		b.AttemptsWithoutPeers = compare(tracks, rloo)
	default:
		lambda := a.Lambda
		if a.Estimator == spec.EstimatorReinforce {
			lambda = 1
		}
		for i, t := range tracks {
			tracks[i].advantages = GAE(t.rewards, t.values, t.discounts, lambda)
		}
	}
	for i, t := range tracks {
		b.Rows[i] = t.row(&episodes[i], scores[i], a, u)
	}
	b.describe(episodes, float32(u.ImportanceClip))
	if a.Whiten {
		b.whiten()
	}
	return b, nil
}

// check refuses what does not belong together and what is not a number.
func check(e *rollout.Episode, earned reward.Earned, s Scores, a spec.Advantage) error {
	n, critic := len(e.Tokens), a.Estimator.Critic()
	if len(s.Old) != n || len(s.Ref) != n || critic && len(s.Values) != n {
		return fmt.Errorf("%w: episode %s/%d has %d tokens, its scores %d, %d and %d", ErrShape, e.ProblemID, e.Sample,
			n, len(s.Old), len(s.Ref), len(s.Values))
	}
	rewards := earned.Episode
	if a.Credit == spec.CreditAttempt {
		if len(earned.Attempts) != len(e.Attempts) {
			return fmt.Errorf("%w: episode %s/%d has %d attempts and rewards for %d; credit by attempt needs one each", ErrShape,
				e.ProblemID, e.Sample, len(e.Attempts), len(earned.Attempts))
		}
		for i, r := range earned.Attempts {
			rewards += r
			if e.Attempts[i].Start == e.Attempts[i].End {
				return fmt.Errorf("%w: attempt %d of episode %s/%d has no sampled token", ErrShape, i, e.ProblemID, e.Sample)
			}
		}
	}
	at := sampledTokens(e.Mask)
	if len(at) == 0 {
		return fmt.Errorf("%w: episode %s/%d has no sampled token", ErrShape, e.ProblemID, e.Sample)
	}
	for _, t := range at {
		value := float32(0)
		if critic {
			value = s.Values[t]
		}
		// A sum is finite only if all its terms are.
		if sum := rewards + float64(s.Old[t]) + float64(s.Ref[t]) + float64(value) + float64(e.LogProbs[t]); math.IsNaN(sum) || math.IsInf(sum, 0) {
			return fmt.Errorf("%w: episode %s/%d, token %d: reward %g, log-probability %g (sampler %g, reference %g), value %g", ErrNotFinite,
				e.ProblemID, e.Sample, t, rewards, s.Old[t], e.LogProbs[t], s.Ref[t], value)
		}
	}
	return nil
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

// row lays a finished track out over the episode's tokens.
func (t track) row(e *rollout.Episode, s Scores, a spec.Advantage, u spec.Update) Row {
	row := Row{Tokens: e.Tokens, Mask: e.Mask, Old: s.Old, Ref: s.Ref, Advantages: make([]float32, len(e.Tokens))}
	for j, at := range t.at {
		row.Advantages[at] = float32(t.advantages[j])
	}
	if a.Estimator.Critic() {
		row.Values, row.Returns = s.Values, make([]float32, len(e.Tokens))
		for j, at := range t.at {
			row.Returns[at] = float32(t.advantages[j] + t.values[j])
		}
	}
	if u.KL == spec.KLInLoss {
		row.KLCoefficient = u.KLCoefficient
	}
	if u.OldLogProbs == spec.OldSampling {
		row.Weights = importance(t.at, s.Old, e.LogProbs, u.ImportanceClip)
	}
	return row
}
