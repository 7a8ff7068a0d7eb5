package reward_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/reward"
	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
)

// episode has attempts with the outcomes, two sampled tokens each.
func episode(allowed int, outcomes ...rollout.Outcome) rollout.Episode {
	e := rollout.Episode{MaxTries: allowed}
	for a, o := range outcomes {
		attempt := rollout.Attempt{Start: 3 * a, End: 3*a + 2, Outcome: o}
		attempt.TypedCorrect, attempt.PaperCorrect = o == rollout.Correct, o == rollout.Correct
		e.Attempts = append(e.Attempts, attempt)
	}
	return e
}

func TestRewardOfOutcomes(t *testing.T) {
	paper := spec.Default().Reward
	halved := paper
	halved.Discount = 0.5
	own := spec.Reward{Correct: 2, Wrong: -1, NoAnswer: -3, Discount: 0.9}
	const (
		correct, wrong, none = rollout.Correct, rollout.Wrong, rollout.NoAnswer
		truncated, bounded   = rollout.Truncated, rollout.Bounded
	)
	for name, c := range map[string]struct {
		outcomes           []rollout.Outcome
		paper, halved, own float64
	}{
		"correct at once":           {[]rollout.Outcome{correct}, 1, 1, 2},
		"correct at the second":     {[]rollout.Outcome{wrong, correct}, 1, 0.5, 1.8},
		"correct at the fourth":     {[]rollout.Outcome{none, wrong, truncated, correct}, 1, 0.125, 1.458},
		"wrong":                     {[]rollout.Outcome{wrong}, -0.5, -0.5, -1},
		"wrong, then truncated":     {[]rollout.Outcome{wrong, truncated}, -0.5, -0.5, -1},
		"no answer, then wrong":     {[]rollout.Outcome{none, wrong}, -0.5, -0.5, -1},
		"bounded earns what wrong":  {[]rollout.Outcome{none, bounded}, -0.5, -0.5, -1},
		"no answer":                 {[]rollout.Outcome{none, none}, -1, -1, -3},
		"truncated":                 {[]rollout.Outcome{truncated}, -1, -1, -3},
		"no answer, then truncated": {[]rollout.Outcome{none, truncated}, -1, -1, -3},
	} {
		t.Run(name, func(t *testing.T) {
			e := episode(5, c.outcomes...)
			require.Equal(t, c.paper, reward.Of(&e, paper).Episode)
			require.Equal(t, c.halved, reward.Of(&e, halved).Episode)
			require.InDelta(t, c.own, reward.Of(&e, own).Episode, 1e-12)
		})
	}
}

func TestEachAttemptEarnsByItsOwnOutcome(t *testing.T) {
	r := spec.Reward{Correct: 1, Wrong: -0.5, NoAnswer: -1, Discount: 0.5}
	e := episode(5, rollout.Wrong, rollout.NoAnswer, rollout.Bounded, rollout.Truncated, rollout.Correct)
	require.Equal(t, reward.Earned{Episode: 0.0625, Attempts: []float64{-0.5, -1, -0.5, -1, 0.0625}}, reward.Of(&e, r))
}

// TestRepeatingAnAnswerCosts: ½ is 0.5 again, and then once more; 3 is new, and no answer repeats nothing.
func TestRepeatingAnAnswerCosts(t *testing.T) {
	r := spec.Default().Reward
	r.RepeatPenalty = 0.25
	e := episode(6, rollout.Wrong, rollout.Wrong, rollout.Wrong, rollout.NoAnswer, rollout.NoAnswer, rollout.Wrong)
	for a, answer := range []string{"0.5", `\frac{1}{2}`, "3", "", "", "1/2"} {
		e.Attempts[a].Answer = answer
	}
	require.Equal(t, reward.Earned{Episode: -1, Attempts: []float64{-0.5, -0.75, -0.5, -1, -1, -0.75}}, reward.Of(&e, r))
	r.RepeatPenalty = 0
	require.Equal(t, -0.5, reward.Of(&e, r).Episode)
}

func TestAllKeepsTheOrder(t *testing.T) {
	episodes := []rollout.Episode{episode(1, rollout.NoAnswer), episode(1, rollout.Correct), episode(1, rollout.Wrong)}
	require.Equal(t, []float64{-1, 1, -0.5}, reward.Whole(reward.All(episodes, spec.Default().Reward)))
}

func TestSummary(t *testing.T) {
	answered := func(e rollout.Episode, answers ...string) rollout.Episode {
		for a, text := range answers {
			e.Attempts[a].Answer = text
		}
		return e
	}
	episodes := []rollout.Episode{
		answered(episode(1, rollout.Correct), "2"),
		answered(episode(3, rollout.Wrong, rollout.Wrong, rollout.Correct), "0.5", `\frac{1}{2}`, "2"), // one of two retries repeats, in other words
		episode(3, rollout.NoAnswer, rollout.NoAnswer, rollout.NoAnswer),                               // no answer repeats nothing
		answered(episode(2, rollout.Bounded, rollout.Wrong), "9^9", "4"),
		answered(episode(1, rollout.Wrong), "5"), // no leave to retry
		answered(episode(4, rollout.Correct), "2"),
		answered(episode(5, rollout.Truncated)),
		answered(episode(2, rollout.Wrong, rollout.Wrong), "7", "7"),
	}
	episodes[3].Attempts[0].Opaque = true
	episodes[4].Attempts[0].PaperCorrect = true
	rewards := reward.All(episodes, spec.Default().Reward)
	got := reward.Summarise(episodes, rewards)
	require.Equal(t, reward.Summary{
		Episodes: 8, Attempts: 14, SampledTokens: 28, Retries: 6,
		RewardMean:   (1 + 1 - 1 - 0.5 - 0.5 + 1 - 1 - 0.5) / 8,
		AttemptsMean: 14. / 8,
		SolvedAt:     []float64{2. / 8, 0, 1. / 8, 0, 0}, // as many as the largest number of attempts allowed
		Solved:       3. / 8,
		Outcomes: map[rollout.Outcome]float64{
			rollout.Correct: 3. / 14, rollout.Wrong: 6. / 14, rollout.NoAnswer: 3. / 14, rollout.Bounded: 1. / 14, rollout.Truncated: 1. / 14,
		},
		Repeats:   2. / 6,
		Recovered: 1. / 5, // of the second, third, fourth, seventh and eighth
		Bounded:   1, Opaque: 1, Disagreed: 1,
	}, got)
}

func TestSummaryOfNothingHoldsNoNaN(t *testing.T) {
	b, err := json.Marshal(reward.Summarise(nil, nil))
	require.NoError(t, err)
	require.JSONEq(t, `{"episodes":0,"attempts":0,"reward_mean_per_episode":0,"attempts_mean_per_episode":0,"sampled_tokens":0,
		"solved_at_attempt_share_of_episodes":[],"solved_share_of_episodes":0,"outcomes_share_of_attempts":{},
		"repeats_share_of_retries":0,"retries":0,"recovered_share_of_failed_first":0,"bounded_attempts":0,"opaque_attempts":0,
		"grading_disagreements":0}`, string(b))
}
