package reward_test

import (
	"context"
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/reward"
	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
)

// given returns what it is told to.
type given struct {
	earned []reward.Earned
	err    error
}

func (g given) Reward(context.Context, reward.Batch, []reward.Earned) ([]reward.Earned, error) {
	return g.earned, g.err
}

// generous adds one to what outcomes earn.
type generous struct{}

func (generous) Reward(_ context.Context, _ reward.Batch, outcomes []reward.Earned) ([]reward.Earned, error) {
	for i := range outcomes {
		outcomes[i].Episode++
	}
	return outcomes, nil
}

func TestASourceBuildsOnOutcomes(t *testing.T) {
	b := reward.Batch{Episodes: []rollout.Episode{episode(2, rollout.Wrong, rollout.Correct)}}
	got, err := reward.Ask(t.Context(), generous{}, b, spec.Default().Reward, spec.CreditAttempt)
	require.NoError(t, err)
	require.Equal(t, []reward.Earned{{Episode: 2, Attempts: []float64{-0.5, 1}}}, got)
}

func TestWhatASourceMayNotReturn(t *testing.T) {
	b := reward.Batch{Episodes: []rollout.Episode{episode(2, rollout.Wrong, rollout.Correct)}}
	away := errors.New("away")
	for name, c := range map[string]struct {
		source given
		credit spec.Credit
		want   error
	}{
		"its own error":       {given{nil, away}, spec.CreditEpisode, away},
		"too few":             {given{nil, nil}, spec.CreditEpisode, reward.ErrSource},
		"attempts too few":    {given{[]reward.Earned{{Attempts: []float64{1}}}, nil}, spec.CreditEpisode, reward.ErrSource},
		"no attempts":         {given{[]reward.Earned{{Episode: 1}}, nil}, spec.CreditAttempt, reward.ErrSource},
		"not a number":        {given{[]reward.Earned{{Episode: math.NaN()}}, nil}, spec.CreditEpisode, reward.ErrSource},
		"an infinite attempt": {given{[]reward.Earned{{Attempts: []float64{1, math.Inf(1)}}}, nil}, spec.CreditAttempt, reward.ErrSource},
	} {
		_, err := reward.Ask(t.Context(), c.source, b, spec.Default().Reward, c.credit)
		require.ErrorIs(t, err, c.want, name)
	}
	whole, err := reward.Ask(t.Context(), given{[]reward.Earned{{Episode: 3}}, nil}, b, spec.Default().Reward, spec.CreditEpisode)
	require.NoError(t, err)
	require.Equal(t, 3.0, whole[0].Episode)
}
