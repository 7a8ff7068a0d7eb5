package update_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/experience"
	"multiattempt/internal/reward"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
)

func TestRunStopsWhenThePolicyHasMovedFarEnough(t *testing.T) {
	in := input(0) // two epochs of two minibatches
	in.Spec.Update.StopKL = 0.02
	l := &recorder{stats: []update.StepStats{{Tokens: 4}, {ApproxKL: 0.02, Tokens: 4}, {ApproxKL: 0.021, Tokens: 4}, {Tokens: 4}}}
	stats, err := update.Run(t.Context(), l, in, nil)
	require.NoError(t, err)
	require.Len(t, l.batches, 3, "the third shows a divergence above 0.02 and is the last")
	require.Equal(t, 3, stats.OptimizerSteps)
	require.Equal(t, 1, stats.OptimizerStepsSkipped)
}

// TestRunLeavesOutGroupsThatTeachNothing: of four groups of two, rewards (1, 1), (1, −1), (0, 0), (−1, 1).
func TestRunLeavesOutGroupsThatTeachNothing(t *testing.T) {
	in := input(0)
	in.Spec.Advantage.DropEqualGroups, in.Spec.Update.Epochs = true, 1
	for i, r := range []float64{1, 1, 1, -1, 0, 0, -1, 1} {
		in.Episodes[i].ProblemID, in.Episodes[i].Index, in.Episodes[i].Sample = string(rune('a'+i/2)), i/2, i%2
		in.Rewards[i].Episode = r
	}
	l := &recorder{}
	stats, err := update.Run(t.Context(), l, in, nil)
	require.NoError(t, err)
	require.Len(t, l.batches, 1)
	require.ElementsMatch(t, []int32{2, 3, 6, 7}, l.batches[0])
	require.Equal(t, []int{4, 2, 4}, []int{stats.Groups, stats.GroupsDropped, stats.EpisodesDropped})
	require.Equal(t, 4, stats.TokensTrained)

	for i := range in.Rewards {
		in.Rewards[i].Episode = 1
	}
	l = &recorder{}
	stats, err = update.Run(t.Context(), l, in, nil)
	require.NoError(t, err)
	require.Empty(t, l.batches)
	require.Equal(t, update.Stats{
		Groups: 4, GroupsDropped: 4, EpisodesDropped: 8,
		KLCoefficient: in.Spec.Update.KLCoefficient, NextKLCoefficient: in.Spec.Update.KLCoefficient,
		MismatchLimit: update.MismatchLimit(in.Spec),
	}, stats, "nothing was learnt, and the record says why")
}

func TestEqualAttemptByAttempt(t *testing.T) {
	episodes, rewards := numbered(2)
	episodes[1].ProblemID = episodes[0].ProblemID
	rewards[0], rewards[1] = reward.Earned{Episode: 1, Attempts: []float64{-0.5, 1}}, reward.Earned{Episode: 1, Attempts: []float64{1}}
	_, _, dropped := experience.DropEqual(episodes, rewards, spec.CreditEpisode)
	require.Equal(t, experience.Selection{Groups: 1, GroupsDropped: 1, EpisodesDropped: 2}, dropped)
	kept, _, dropped := experience.DropEqual(episodes, rewards, spec.CreditAttempt)
	require.Equal(t, experience.Selection{Groups: 1}, dropped)
	require.Len(t, kept, 2)
}

// TestCoefficientFollowsTheTarget: episodes of one token with Δ = ref − old = ln 2, hence k3 = 2 − 1 − ln 2 = 0.3069; the
// recorder's scores have Δ = 0. β·(1 + clip(KL/target − 1, ±0.2)·8/80).
func TestCoefficientFollowsTheTarget(t *testing.T) {
	in := input(0)
	in.Spec.Update.KLCoefficient, in.Spec.Update.KLTarget, in.Spec.Update.KLHorizon = 0.5, 0.1, 80
	stats, err := update.Run(t.Context(), &recorder{}, in, nil)
	require.NoError(t, err)
	require.Equal(t, 0.5, stats.KLCoefficient, "the first iteration begins with the spec's")
	require.InDelta(t, 0.49, stats.NextKLCoefficient, 1e-12, "KL 0: 1 − 0.2·8/80")
	in.State = update.After(stats)
	for target, want := range map[float64]float64{
		0.1:    0.49 * 1.02,                            // above twice the target: clipped at 0.2
		0.3:    0.49 * (1 + (0.3068528194/0.3-1)*8/80), // 0.0228 above
		0.3069: 0.49 * (1 + (0.3068528194/0.3069-1)*8/80),
		10:     0.49 * 0.98,
	} {
		in.Spec.Update.KLTarget = target
		stats, err = update.Run(t.Context(), &recorder{ref: 0.6931471805599453}, in, nil)
		require.NoError(t, err)
		require.InDelta(t, 0.49, stats.KLCoefficient, 1e-12)
		require.InDelta(t, want, stats.NextKLCoefficient, 1e-8, "target %g", target)
	}
}

func TestStateIsKeptBesideTheLearners(t *testing.T) {
	dir, u := t.TempDir(), spec.Default().Update
	require.NoError(t, update.State{KLCoefficient: 0.1}.Write(dir, u))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries, "nothing to keep without a target")
	u.KLTarget = 0.1
	_, err = update.ReadState(dir, u)
	require.ErrorIs(t, err, update.ErrState)
	require.ErrorContains(t, err, "update.json")
	want := update.State{KLCoefficient: 0.1 + 1e-17/3}
	require.NoError(t, want.Write(dir, u))
	got, err := update.ReadState(dir, u)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "update.json"), []byte("{"), 0o644))
	_, err = update.ReadState(dir, u)
	require.ErrorIs(t, err, update.ErrState)
}
