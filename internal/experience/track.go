package experience

import (
	"multiattempt/internal/reward"
	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
)

// track is what advantages of one episode are worked out from: its sampled tokens alone, as if nothing stood between them.
// Arrays are [S] but for ends.
type track struct {
	group      group
	at         []int     // positions in the episode
	ends       []int     // last token of each part that is rewarded by itself: the attempts, or the whole episode
	rewards    []float64 // of the episode or its attempts, each on its part's last token, with penalties for leaving the reference
	values     []float64 // 0 without a critic
	discounts  []float64 // of what follows a token
	advantages []float64
}

// group is what the episodes of one presentation share.
type group struct {
	problem string
	index   int
}

func newTrack(e *rollout.Episode, earned reward.Earned, s Scores, a spec.Advantage, u spec.Update) track {
	at := sampledTokens(e.Mask)
	n := len(at)
	t := track{
		group: group{e.ProblemID, e.Index}, at: at, ends: []int{n - 1},
		rewards: make([]float64, n), values: make([]float64, n), discounts: make([]float64, n), advantages: make([]float64, n),
	}
	parts := []float64{earned.Episode}
	if a.Credit == spec.CreditAttempt {
		t.ends, parts = t.ends[:0], earned.Attempts
		end := -1
		for _, attempt := range e.Attempts {
			end += attempt.End - attempt.Start
			t.ends = append(t.ends, end)
		}
	}
	for j, position := range at {
		t.discounts[j] = a.Gamma
		if a.Estimator.Critic() {
			t.values[j] = float64(s.Values[position])
		}
		if u.KL == spec.KLInReward {
			t.rewards[j] = -u.KLCoefficient * KL(u.KLEstimator, float64(s.Old[position]), float64(s.Ref[position]))
		}
	}
	for part, end := range t.ends {
		t.rewards[end] += parts[part]
		t.discounts[end] *= a.AttemptGamma // after an episode's last token nothing follows
	}
	return t
}

// returns is what each part earns and what follows it, discounted from part to part only.
func (t track) returns() []float64 {
	returns := make([]float64, len(t.ends))
	following, j := 0.0, len(t.at)-1
	for part := len(t.ends) - 1; part >= 0; part-- {
		following *= t.discounts[t.ends[part]]
		begin := 0
		if part > 0 {
			begin = t.ends[part-1] + 1
		}
		for ; j >= begin; j-- {
			following += t.rewards[j]
		}
		returns[part] = following
	}
	return returns
}

// spread gives all tokens of a part one advantage.
func (t track) spread(part int, advantage float64) {
	begin := 0
	if part > 0 {
		begin = t.ends[part-1] + 1
	}
	for j := begin; j <= t.ends[part]; j++ {
		t.advantages[j] = advantage
	}
}
