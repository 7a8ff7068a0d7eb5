package updatetest

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/experience"
	"multiattempt/internal/spec"
)

// uniform returns a learner whose policy gives every token the same probability, and a minibatch of two episodes: two
// tokens at a ratio of 1.5 with the advantage 1, and one at a ratio of 0.5 with the advantage −1. The reference gives each
// a log-probability lower by ½.
func uniform(t *testing.T, u spec.Update) (*learner, []experience.Row) {
	t.Helper()
	u.ValueWeight = 0
	l := start(t, u)
	clear(l.policy.Logits)
	now := float32(-math.Log(float64(l.policy.Vocabulary)))
	row := func(ratio float64, advantage float32, tokens int) experience.Row {
		r := experience.Row{KLCoefficient: u.KLCoefficient}
		for i := range tokens + 1 {
			r.Tokens, r.Mask = append(r.Tokens, int32(i)), append(r.Mask, i > 0)
			r.Old, r.Ref = append(r.Old, now-float32(math.Log(ratio))), append(r.Ref, now-0.5)
			r.Advantages = append(r.Advantages, advantage)
		}
		return r
	}
	return l, []experience.Row{row(1.5, 1, 2), row(0.5, -1, 1)}
}

// TestLossesByHand: the ratio of 1.5 counts as 1 + ε above, that of 0.5 as 1 − ε below.
func TestLossesByHand(t *testing.T) {
	plain := spec.Default().Update
	plain.KL = spec.KLNone
	higher, episodes, constant := plain, plain, plain
	higher.ClipHigh = 0.4 // DAPO
	episodes.ClipHigh, episodes.Aggregation = 0.4, spec.AggregateEpisodes
	constant.ClipHigh, constant.Aggregation, constant.AggregationLength = 0.4, spec.AggregateConstant, 4
	for name, c := range map[string]struct {
		u    spec.Update
		want float64
	}{
		"clip":            {plain, (-1.2 - 1.2 + 0.8) / 3},
		"clip higher":     {higher, (-1.4 - 1.4 + 0.8) / 3},
		"episode mean":    {episodes, (-1.4 + 0.8) / 2},
		"constant length": {constant, (-1.4 - 1.4 + 0.8) / (2 * 4)},
	} {
		l, rows := uniform(t, c.u)
		s := l.slope(rows)
		require.InDelta(t, c.want, s.stats.PolicyLoss, 1e-6, name)
		require.InDelta(t, c.want, s.policyLoss, 1e-6, name)
		require.Equal(t, 1.0, s.stats.ClipFraction, name)
		require.InDelta(t, 0, norm(s.policy), 1e-12, "%s: what is clipped has no gradient", name)
		require.InDelta(t, 1.5, s.stats.RatioMax, 1e-6)
	}
}

// TestDivergenceAndEntropyByHand: Δ = −½, so k2 = ⅛ and k3 = e^−½ − ½; the entropy of V equal probabilities is ln V.
func TestDivergenceAndEntropyByHand(t *testing.T) {
	u := spec.Default().Update
	u.KLCoefficient, u.Entropy = 0.1, 0.01
	for estimator, kl := range map[spec.KLEstimator]float64{spec.KLK2: 0.125, spec.KLK3: 0.10653065971} {
		u.KLEstimator = estimator
		l, rows := uniform(t, u)
		s := l.slope(rows)
		entropy := math.Log(float64(l.policy.Vocabulary))
		require.InDelta(t, kl, s.stats.KLMeanPerToken, 1e-6)
		require.InDelta(t, entropy, s.stats.Entropy, 1e-9)
		require.InDelta(t, (-1.2-1.2+0.8)/3+0.1*kl-0.01*entropy, s.policyLoss, 1e-6)
		require.InDelta(t, (-1.2-1.2+0.8)/3, s.stats.PolicyLoss, 1e-6, "the surrogate alone")
	}
}

func TestNoCriticNothingOfIt(t *testing.T) {
	l, rows := uniform(t, spec.Default().Update)
	require.Empty(t, l.state.Critic)
	require.Empty(t, l.state.CriticMoment.First)
	require.Nil(t, rows[0].Values)
	scores, err := l.Score(t.Context(), nil, nil)
	require.NoError(t, err)
	require.Empty(t, scores)
}
