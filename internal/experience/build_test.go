package experience_test

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/experience"
	"multiattempt/internal/reward"
	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
)

// episode has the mask, which starts and ends attempts, and a log-probability of −1 on each sampled token.
func episode(mask ...bool) rollout.Episode {
	e := rollout.Episode{ProblemID: "p", MaxTries: 5, Mask: mask, Tokens: make([]int32, len(mask)), LogProbs: make([]float32, len(mask))}
	for t, m := range mask {
		if m {
			e.LogProbs[t] = -1
		}
	}
	return e
}

// scores are the same numbers at every token, sampled or not.
func scores(n int, old, ref, value float32) experience.Scores {
	s := experience.Scores{}
	for range n {
		s.Old, s.Ref, s.Values = append(s.Old, old), append(s.Ref, ref), append(s.Values, value)
	}
	return s
}

// earned are the rewards of whole episodes.
func earned(rewards ...float64) []reward.Earned {
	all := make([]reward.Earned, len(rewards))
	for i, r := range rewards {
		all[i].Episode = r
	}
	return all
}

func plain() (spec.Advantage, spec.Update) {
	u := spec.Default().Update
	u.KL = spec.KLNone
	return spec.Advantage{Estimator: spec.EstimatorGAE, Gamma: 1, Lambda: 1, Credit: spec.CreditEpisode, AttemptGamma: 1}, u
}

func TestGAE(t *testing.T) {
	rewards, values := []float64{0.1, 0, -0.2, 1}, []float64{0.5, -0.5, 0.25, 0.75}
	for name, c := range map[string]struct {
		gamma, lambda float64
		want          []float64
	}{
		// λ = 0: δ itself. 0.1 − 0.5 − 0.5, 0.25 + 0.5, −0.2 + 0.75 − 0.25, 1 − 0.75.
		"one step": {1, 0, []float64{-0.9, 0.75, 0.3, 0.25}},
		// λ = 1: what is still to come, less the value. 0.9 − 0.5, 0.8 + 0.5, 0.8 − 0.25, 1 − 0.75.
		"to the end": {1, 1, []float64{0.4, 1.3, 0.55, 0.25}},
		// γ = ½, λ = 1: 0.1 + 0/2 − 0.2/4 + 1/8 − 0.5, −0.2/2 + 1/4 + 0.5, −0.2 + 1/2 − 0.25, 0.25.
		"discounted": {0.5, 1, []float64{-0.325, 0.65, 0.05, 0.25}},
		// γ = λ = ½: δ = −0.65, 0.625, −0.075, 0.25, and to each a quarter of the next result.
		"both": {0.5, 0.5, []float64{-0.49453125, 0.621875, -0.0125, 0.25}},
	} {
		require.InDeltaSlice(t, c.want, experience.GAE(rewards, values, slices.Repeat([]float64{c.gamma}, len(rewards)), c.lambda), 1e-12, name)
	}
	require.Empty(t, experience.GAE(nil, nil, nil, 1))
}

func TestKLEstimators(t *testing.T) {
	for _, c := range []struct{ logProb, ref, k1, k2, k3 float64 }{
		{-1, -1, 0, 0, 0},
		{-1, -1.5, 0.5, 0.125, 0.10653065971263342},                          // e^−½ − ½
		{-2, -1, -1, 0.5, 0.7182818284590452},                                // e − 2: never negative, though the sample is
		{-1, -1 - 1e-9, 1e-9, 5e-19, 5e-19},                                  // no cancellation
		{-0.5, -0.5 - math.Log(2), math.Ln2, 0.240226506959, 0.193147180560}, // ½ − 1 + ln 2
	} {
		require.InDelta(t, c.k1, experience.KL(spec.KLK1, c.logProb, c.ref), 1e-12)
		require.InDelta(t, c.k2, experience.KL(spec.KLK2, c.logProb, c.ref), 1e-6*c.k2+1e-24)
		require.InDelta(t, c.k3, experience.KL(spec.KLK3, c.logProb, c.ref), 1e-6*c.k3+1e-24)
	}
}

func TestWhiteningEqualAdvantagesStaysFinite(t *testing.T) {
	a, u := plain()
	a.Whiten = true
	b, err := experience.Build([]rollout.Episode{episode(false, true), episode(false, true)}, earned(1, 1),
		[]experience.Scores{scores(2, -1, -1, 0), scores(2, -1, -1, 0)}, a, u)
	require.NoError(t, err)
	require.Equal(t, []float32{0, 0}, b.Rows[0].Advantages)
	require.Equal(t, []float32{0, 1}, b.Rows[0].Returns, "returns are not whitened")
	require.Equal(t, 1.0, b.AdvantageMean)
	require.Zero(t, b.AdvantageStd)
	require.Zero(t, b.ExplainedVariance, "nothing varies: nothing to explain")
}

func TestWhitenedAdvantagesHaveMeanZeroAndVarianceOne(t *testing.T) {
	a, u := plain()
	a.Whiten, a.Lambda = true, 0.9
	b, err := experience.Build([]rollout.Episode{episode(false, true, true, false, true), episode(false, false, true)}, earned(1, -0.5),
		[]experience.Scores{scores(5, -1, -1, 0.3), scores(3, -1, -1, -0.2)}, a, u)
	require.NoError(t, err)
	var n, sum, squares float64
	for _, r := range b.Rows {
		for t, m := range r.Mask {
			if m {
				n++
				sum += float64(r.Advantages[t])
				squares += float64(r.Advantages[t]) * float64(r.Advantages[t])
			}
		}
	}
	require.Equal(t, 4.0, n)
	require.InDelta(t, 0, sum, 1e-6)
	require.InDelta(t, 1, squares/n, 1e-6)
}

func TestFactsAreOverSampledTokens(t *testing.T) {
	a, u := plain()
	one, two := episode(false, true, true), episode(false, true, false)
	s1 := experience.Scores{Old: []float32{9, -1, -1.5}, Ref: []float32{9, -1, -2.5}, Values: []float32{9, 0.5, 0.25}}
	s2 := experience.Scores{Old: []float32{9, -0.75, 9}, Ref: []float32{9, -0.75, 9}, Values: []float32{9, -0.5, 9}}
	b, err := experience.Build([]rollout.Episode{one, two}, earned(1, -1), []experience.Scores{s1, s2}, a, u)
	require.NoError(t, err)
	require.Equal(t, 3, b.TokensTrained)
	// Advantages: 1 − 0.5, 1 − 0.25, −1 + 0.5. Returns: 1, 1, −1.
	require.InDelta(t, 0.25, b.AdvantageMean, 1e-7)
	require.InDelta(t, math.Sqrt(0.875/3), b.AdvantageStd, 1e-7) // 0.0625 + 0.25 + 0.5625
	require.InDelta(t, 1./3, b.ReturnMean, 1e-7)
	require.InDelta(t, 0.25/3, b.ValueMean, 1e-7)
	// The residuals R − V are the advantages, as GAE at γ = λ = 1 has it; the returns' variance is 1 − 1/9.
	require.InDelta(t, 1-(0.875/3)/(8./9), b.ExplainedVariance, 1e-7)
	require.InDelta(t, math.Exp(-1)/3, b.KLMeanPerToken, 1e-7) // k3 of Δ = −1 on one of three tokens
	require.InDelta(t, 0.75/3, b.MismatchMeanAbs, 1e-7)        // |−1.5 + 1| and |−0.75 + 1|
	require.InDelta(t, 0.5, b.MismatchMax, 1e-7)
}

func TestRowsHoldTheEpisodesArrays(t *testing.T) {
	a, u := plain()
	e := episode(false, true, false)
	e.Tokens = []int32{5, 6, 7}
	s := scores(3, -1.25, -1, 0.5)
	b, err := experience.Build([]rollout.Episode{e}, earned(1), []experience.Scores{s}, a, u)
	require.NoError(t, err)
	require.Equal(t, experience.Row{
		Tokens: e.Tokens, Mask: e.Mask, Old: s.Old, Ref: s.Ref, Values: s.Values,
		Advantages: []float32{0, 0.5, 0}, Returns: []float32{0, 1, 0},
	}, b.Rows[0], "no weights when old log-probabilities are recomputed")
}

func TestBuildRefusesWhatDoesNotFit(t *testing.T) {
	a, u := plain()
	good, fits := episode(false, true), scores(2, -1, -1, 0)
	short := func(change func(s *experience.Scores)) experience.Scores {
		s := scores(2, -1, -1, 0)
		change(&s)
		return s
	}
	for name, c := range map[string]struct {
		episodes []rollout.Episode
		rewards  []reward.Earned
		scores   []experience.Scores
	}{
		"no episodes":       {nil, nil, nil},
		"a reward too few":  {[]rollout.Episode{good}, nil, []experience.Scores{fits}},
		"a score too many":  {[]rollout.Episode{good}, earned(1), []experience.Scores{fits, fits}},
		"short old":         {[]rollout.Episode{good}, earned(1), []experience.Scores{short(func(s *experience.Scores) { s.Old = s.Old[:1] })}},
		"short reference":   {[]rollout.Episode{good}, earned(1), []experience.Scores{short(func(s *experience.Scores) { s.Ref = nil })}},
		"long values":       {[]rollout.Episode{good}, earned(1), []experience.Scores{short(func(s *experience.Scores) { s.Values = make([]float32, 3) })}},
		"nothing to reward": {[]rollout.Episode{episode(false, false)}, earned(1), []experience.Scores{fits}},
	} {
		_, err := experience.Build(c.episodes, c.rewards, c.scores, a, u)
		require.ErrorIs(t, err, experience.ErrShape, name)
	}
}

func TestBuildRefusesWhatIsNotFinite(t *testing.T) {
	a, u := plain()
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	for name, c := range map[string]struct {
		reward float64
		scores experience.Scores
		drawn  float32
	}{
		"reward":    {math.NaN(), scores(2, -1, -1, 0), -1},
		"old":       {1, scores(2, inf, -1, 0), -1},
		"reference": {1, scores(2, -1, nan, 0), -1},
		"value":     {1, scores(2, -1, -1, nan), -1},
		"sampler":   {1, scores(2, -1, -1, 0), inf},
	} {
		e := episode(false, true)
		e.LogProbs[1] = c.drawn
		_, err := experience.Build([]rollout.Episode{e}, earned(c.reward), []experience.Scores{c.scores}, a, u)
		require.ErrorIs(t, err, experience.ErrNotFinite, name)
		require.ErrorContains(t, err, "episode p/0, token 1", name)
	}
	ignored := experience.Scores{Old: []float32{nan, -1}, Ref: []float32{inf, -1}, Values: []float32{nan, 0}}
	_, err := experience.Build([]rollout.Episode{episode(false, true)}, earned(1), []experience.Scores{ignored}, a, u)
	require.NoError(t, err, "what is not sampled is never read")
}
