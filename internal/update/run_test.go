package update_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/chat"
	"multiattempt/internal/dataset"
	"multiattempt/internal/experience"
	"multiattempt/internal/policy"
	"multiattempt/internal/reward"
	"multiattempt/internal/rollout"
	"multiattempt/internal/seed"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
	"multiattempt/internal/update/updatetest"
	"multiattempt/internal/verify"
)

// recorder is a learner that keeps what it is asked to do. Episodes are known by their first token.
type recorder struct {
	batches [][]int32
	rates   []update.Rates
	stats   []update.StepStats // of its steps
	scored  int
	ref     float32 // log-probability that the reference gives every token
	fail    error
}

func (r *recorder) Score(_ context.Context, episodes []rollout.Episode, progress func(int)) ([]experience.Scores, error) {
	r.scored++
	scores := make([]experience.Scores, len(episodes))
	for i, e := range episodes {
		n := len(e.Tokens)
		scores[i] = experience.Scores{Old: make([]float32, n), Ref: make([]float32, n), Values: make([]float32, n)}
		for t := range n {
			scores[i].Ref[t] = r.ref
		}
		progress(i + 1)
	}
	return scores, nil
}

func (r *recorder) Step(_ context.Context, minibatch []experience.Row, rates update.Rates) (update.StepStats, error) {
	var ids []int32
	for _, row := range minibatch {
		ids = append(ids, row.Tokens[0])
	}
	r.batches, r.rates = append(r.batches, ids), append(r.rates, rates)
	if r.fail != nil && len(r.batches) == 3 {
		return update.StepStats{}, r.fail
	}
	if len(r.stats) > 0 {
		return r.stats[len(r.batches)-1], nil
	}
	return update.StepStats{Tokens: len(minibatch)}, nil
}

func (r *recorder) WritePolicy(context.Context, string) error { return nil }
func (r *recorder) WriteState(context.Context, string) error  { return nil }
func (r *recorder) Close() error                              { return nil }

// numbered returns n episodes of one sampled token, whose first token is their number, with rewards.
func numbered(n int) ([]rollout.Episode, []reward.Earned) {
	episodes, rewards := make([]rollout.Episode, n), make([]reward.Earned, n)
	for i := range episodes {
		episodes[i] = rollout.Episode{
			ProblemID: fmt.Sprint(i), Attempts: []rollout.Attempt{{Start: 1, End: 2}},
			Tokens: []int32{int32(i), 1}, Mask: []bool{false, true}, LogProbs: []float32{0, -1},
		}
		rewards[i].Episode = float64(i)
	}
	return episodes, rewards
}

func input(step int) update.Input {
	r := hundredSteps()
	r.Update.Epochs = 2
	episodes, rewards := numbered(8)
	return update.Input{Spec: r, Step: step, Episodes: episodes, Rewards: rewards}
}

func TestRunVisitsEveryEpisodeOncePerEpochInASeededOrder(t *testing.T) {
	visit := func(in update.Input) [][]int32 {
		l := &recorder{}
		_, err := update.Run(t.Context(), l, in, nil)
		require.NoError(t, err)
		require.Equal(t, 1, l.scored, "old log-probabilities and values are those before the first step")
		return l.batches
	}
	first := visit(input(3))
	require.Len(t, first, 4, "two epochs of two minibatches")
	for epoch := range 2 {
		order := slices.Concat(first[2*epoch], first[2*epoch+1])
		var want []int32
		for _, i := range seed.Rand("update/order", 1, 3, uint64(epoch)).Perm(8) {
			want = append(want, int32(i))
		}
		require.Equal(t, want, order, "run seed, step, epoch: a change here changes training")
	}
	require.Equal(t, first, visit(input(3)))
	require.NotEqual(t, first, visit(input(4)))
	other := input(3)
	other.Spec.Seed++
	require.NotEqual(t, first, visit(other))
}

func TestRunTakesRatesFromTheSchedule(t *testing.T) {
	in := input(1)
	in.Spec.CriticWarmup = 1
	in.Peak = &update.Rates{Policy: 8, Critic: 9}
	l := &recorder{}
	var progress []string
	stats, err := update.Run(t.Context(), l, in, func(stage string, done, total int) {
		progress = append(progress, fmt.Sprintf("%s %d/%d", stage, done, total))
	})
	require.NoError(t, err)
	schedule := update.NewSchedule(in.Spec, in.Peak)
	for m, r := range l.rates {
		require.Equal(t, schedule.Rates(1, m), r)
	}
	require.Equal(t, l.rates[3], update.Rates{Policy: stats.PolicyLR, Critic: stats.CriticLR}, "of the last step")
	require.Equal(t, 4, stats.OptimizerSteps)
	require.Equal(t, []string{
		"score 1/8", "score 2/8", "score 3/8", "score 4/8", "score 5/8", "score 6/8", "score 7/8", "score 8/8",
		"update 1/4", "update 2/4", "update 3/4", "update 4/4",
	}, progress)
}

func TestRunTrainsARemainderInASmallerMinibatch(t *testing.T) {
	in := input(0)
	in.Spec.Update.Minibatch = 3
	l := &recorder{}
	_, err := update.Run(t.Context(), l, in, nil)
	require.NoError(t, err)
	var sizes []int
	for _, b := range l.batches {
		sizes = append(sizes, len(b))
	}
	require.Equal(t, []int{3, 3, 2, 3, 3, 2}, sizes)
}

func TestStatsAreMeansOverTokens(t *testing.T) {
	in := input(0)
	in.Spec.Update.Epochs = 1
	in.Spec.Advantage = spec.Advantage{Estimator: spec.EstimatorGAE, Gamma: 1, Lambda: 1, Whiten: true, Credit: spec.CreditEpisode, AttemptGamma: 1}
	l := &recorder{stats: []update.StepStats{
		{
			PolicyLoss: 1, ValueLoss: 2, Entropy: 3, ClipFraction: 0.5, RatioMax: 1.5, ApproxKL: 0.1, PolicyGradNorm: 4, CriticGradNorm: 8,
			Tokens: 30,
		},
		{
			PolicyLoss: 5, ValueLoss: 6, Entropy: 1, ClipFraction: 0.1, RatioMax: 1.25, ApproxKL: 0.3, PolicyGradNorm: 2, CriticGradNorm: 4,
			Tokens: 10,
		},
	}}
	stats, err := update.Run(t.Context(), l, in, nil)
	require.NoError(t, err)
	for name, c := range map[string][2]float64{
		"policy loss":      {2, stats.PolicyLoss}, // (30·1 + 10·5)/40
		"value loss":       {3, stats.ValueLoss},
		"entropy":          {2.5, stats.Entropy},
		"clip fraction":    {0.4, stats.ClipFraction},
		"largest ratio":    {1.5, stats.RatioMax},
		"approximate kl":   {0.15, stats.ApproxKL},
		"policy gradient":  {3.5, stats.PolicyGradNorm},
		"critic gradient":  {7, stats.CriticGradNorm},
		"advantage mean":   {3.5, stats.AdvantageMean}, // rewards 0…7, values 0
		"advantage square": {5.25, stats.AdvantageStd * stats.AdvantageStd},
		"return mean":      {3.5, stats.ReturnMean},
		"value mean":       {0, stats.ValueMean},
		"mismatch":         {1, stats.MismatchMeanAbs}, // 0 recomputed, −1 sampled
		"largest mismatch": {1, stats.MismatchMax},
		"tokens":           {8, float64(stats.TokensTrained)},
	} {
		require.InDelta(t, c[0], c[1], 1e-12, name)
	}
}

func TestRunReportsErrors(t *testing.T) {
	in := input(5)
	_, err := update.Run(t.Context(), &recorder{fail: update.ErrNotFinite}, in, nil)
	require.ErrorIs(t, err, update.ErrNotFinite)
	require.ErrorContains(t, err, "step 5, minibatch 3 of 4")

	in.Rewards = in.Rewards[1:]
	l := &recorder{}
	_, err = update.Run(t.Context(), l, in, nil)
	require.ErrorIs(t, err, experience.ErrShape)
	require.Empty(t, l.batches, "nothing was trained")

	in.Episodes, in.Rewards = nil, nil
	_, err = update.Run(t.Context(), l, in, nil)
	require.ErrorIs(t, err, experience.ErrShape)

	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("worker stops"))
	model := t.TempDir()
	require.NoError(t, updatetest.Create(model, "01", 1))
	exact, err := updatetest.New(updatetest.Options{Model: model, Reference: model, Update: in.Spec.Update, Optimizer: in.Spec.Optimizer})
	require.NoError(t, err)
	_, err = update.Run(ctx, exact, input(0), nil)
	require.ErrorIs(t, err, context.Canceled)
}

// play is six iterations of the whole loop with exact weights: sample, reward, update. When the learner dies, one that is
// restored from its last state makes the iteration again with the stored episodes.
func play(t *testing.T, dies bool) (folder map[string]string, solved []float64) {
	t.Helper()
	run := hundredSteps()
	run.Data.ProblemsPerStep, run.Data.GroupSize, run.Update.Minibatch = 16, 4, 16
	run.Attempts.MaxNewTokens, run.Optimizer.PolicyLR, run.Optimizer.CriticLR = 40, 0.05, 0.05
	base, model, state := t.TempDir(), "", ""
	require.NoError(t, updatetest.Create(base, `0123456789\boxed{} +?`, 5))
	model = base
	template, err := chat.Load(base)
	require.NoError(t, err)
	learner := func() update.Learner {
		l, err := updatetest.New(updatetest.Options{Model: model, State: state, Reference: base, Update: run.Update, Optimizer: run.Optimizer})
		require.NoError(t, err)
		return l
	}
	l := learner()
	prompt := run.Prompt
	prompt.System, prompt.Feedback = "{N}", "{n}"
	for step := range 6 {
		sampler, err := updatetest.NewSampler(model)
		require.NoError(t, err)
		var shown []dataset.Presentation
		for p := range run.Data.ProblemsPerStep {
			problem := dataset.Problem{ID: fmt.Sprint(step, p), Question: "1 + 1?", Answer: "2"}
			shown = append(shown, dataset.Presentation{Problem: problem, Index: p, Attempts: 1 + p%3})
		}
		episodes, err := rollout.Run(t.Context(), sampler, template, verify.Grade, shown, rollout.Settings{
			Prompt: prompt, Attempts: run.Attempts, Grading: run.Grading, GroupSize: run.Data.GroupSize, Seed: run.Seed, Step: step,
			Sampling: policy.Params{Temperature: 1, TopP: 1, MaxLength: 200},
		}, nil)
		require.NoError(t, err)
		rewards := reward.All(episodes, run.Reward)
		solved = append(solved, reward.Summarise(episodes, rewards).Solved)
		in := update.Input{Spec: run, Step: step, Episodes: episodes, Rewards: rewards}
		_, err = update.Run(t.Context(), l, in, nil)
		require.NoError(t, err)
		if dies {
			stored, err := rollout.Encode(episodes)
			require.NoError(t, err)
			in.Episodes, err = rollout.Decode(stored)
			require.NoError(t, err)
			l = learner()
			_, err = update.Run(t.Context(), l, in, nil)
			require.NoError(t, err)
		}
		model, state = t.TempDir(), t.TempDir()
		require.NoError(t, l.WritePolicy(t.Context(), model))
		require.NoError(t, l.WriteState(t.Context(), state))
	}
	return read(t, model, state), solved
}

func read(t *testing.T, dirs ...string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for i, dir := range dirs {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range entries {
			b, err := os.ReadFile(filepath.Join(dir, e.Name()))
			require.NoError(t, err)
			files[fmt.Sprint(i, "/", e.Name())] = string(b)
		}
	}
	return files
}

func TestReplayedUpdatesGiveTheSameBytes(t *testing.T) {
	undisturbed, solved := play(t, false)
	require.Greater(t, solved[len(solved)-1], solved[0]+0.2, "and the loop learns: %v", solved)
	killed, _ := play(t, true)
	require.Equal(t, undisturbed, killed)
}
