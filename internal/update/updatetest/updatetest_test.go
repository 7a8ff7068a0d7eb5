package updatetest

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/chat"
	"multiattempt/internal/experience"
	"multiattempt/internal/policy"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
)

const alphabet = `0123456789\boxed{} +=?`

// create returns a model folder.
func create(t *testing.T, seed uint64) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, Create(dir, alphabet, seed))
	return dir
}

// start returns a learner whose policy differs from its reference.
func start(t *testing.T, u spec.Update) *learner {
	t.Helper()
	l, err := New(Options{Model: create(t, 1), Reference: create(t, 2), Update: u, Optimizer: spec.Default().Optimizer})
	require.NoError(t, err)
	return l.(*learner)
}

// rows are a minibatch with ratios inside and outside of the clip range, for advantages of both signs.
func rows(l *learner) []experience.Row {
	row := func(tokens []int32, off, advantage, value float32) experience.Row {
		n := len(tokens)
		r := experience.Row{
			Tokens: tokens, Mask: make([]bool, n), Old: make([]float32, n), Ref: make([]float32, n),
			Advantages: make([]float32, n), Returns: make([]float32, n), Values: make([]float32, n), Weights: make([]float32, n),
			KLCoefficient: l.update.KLCoefficient,
		}
		for t := 2; t < n; t++ {
			r.Mask[t] = t != 4
			r.Old[t] = float32(l.policy.logProbs(tokens[t-1])[tokens[t]]) + off*float32(t-3)
			r.Ref[t] = float32(l.reference.logProbs(tokens[t-1])[tokens[t]])
			r.Advantages[t], r.Returns[t], r.Values[t], r.Weights[t] = advantage*float32(t), 0.7, value*float32(t), 0.5+0.1*float32(t)
		}
		return r
	}
	return []experience.Row{
		row([]int32{2, 4, 7, 9, 8, 11, 1}, -0.13, 0.5, 0.1),
		row([]int32{3, 4, 9, 9, 2, 7, 5, 1}, 0.17, -0.3, -0.2),
	}
}

func TestSlopeIsTheDerivativeOfTheLoss(t *testing.T) {
	plain := spec.Default().Update
	k2, episodes, bonus := plain, plain, plain
	k2.KLEstimator, k2.KLCoefficient = spec.KLK2, 0.3
	episodes.Aggregation, episodes.KL = spec.AggregateEpisodes, spec.KLNone
	bonus.Entropy, bonus.ValueWeight, bonus.KLCoefficient = 0.2, 1.5, 0.7
	constant, higher := plain, plain
	constant.Aggregation, constant.AggregationLength, constant.ValueWeight = spec.AggregateConstant, 5, 0
	higher.Clip, higher.ClipHigh = 0.1, 0.3
	for name, u := range map[string]spec.Update{
		"default": plain, "k2": k2, "episode mean": episodes, "entropy": bonus, "constant length, no critic": constant, "clip higher": higher,
	} {
		t.Run(name, func(t *testing.T) {
			l := start(t, u)
			for v := range l.state.Critic {
				l.state.Critic[v] = 0.1 * float64(v-9)
			}
			batch := rows(l)
			at := l.slope(batch)
			require.Greater(t, at.stats.ClipFraction, 0.0)
			const h = 1e-6
			central := func(x *float64, loss func(slope) float64) float64 {
				was := *x
				defer func() { *x = was }()
				*x = was + h
				up := loss(l.slope(batch))
				*x = was - h
				return (up - loss(l.slope(batch))) / (2 * h)
			}
			for i := range l.policy.Logits {
				want := central(&l.policy.Logits[i], func(s slope) float64 { return s.policyLoss })
				require.InDelta(t, want, at.policy[i], 1e-7, "logit %d", i)
			}
			for v := range l.state.Critic {
				want := central(&l.state.Critic[v], func(s slope) float64 { return s.valueLoss })
				require.InDelta(t, want, at.critic[v], 1e-7, "value %d", v)
			}
		})
	}
}

func TestStepTeaches(t *testing.T) {
	l := start(t, spec.Default().Update)
	batch := rows(l)[:1] // all advantages positive
	before := l.policy.logProbs(batch[0].Tokens[4])[batch[0].Tokens[5]]
	stats, err := l.Step(t.Context(), batch, update.Rates{Policy: 0.01, Critic: 0.01})
	require.NoError(t, err)
	require.Equal(t, 4, stats.Tokens)
	require.Greater(t, l.policy.logProbs(batch[0].Tokens[4])[batch[0].Tokens[5]], before)
	require.Greater(t, l.state.Critic[batch[0].Tokens[4]], 0.0, "towards the return of 0.7")
}

func TestRateOfZeroLeavesTheNetworkUntouched(t *testing.T) {
	l := start(t, spec.Default().Update)
	logits, moment := append([]float64(nil), l.policy.Logits...), l.state.PolicyMoment.Steps
	_, err := l.Step(t.Context(), rows(l), update.Rates{Policy: 0, Critic: 0.01})
	require.NoError(t, err)
	require.Equal(t, logits, l.policy.Logits)
	require.Equal(t, moment, l.state.PolicyMoment.Steps)
	require.Zero(t, norm(l.state.PolicyMoment.First))
	require.Equal(t, 1, l.state.CriticMoment.Steps)
}

func TestNotFiniteChangesNothing(t *testing.T) {
	l := start(t, spec.Default().Update)
	batch := rows(l)
	batch[1].Advantages[3] = float32(math.NaN())
	logits := append([]float64(nil), l.policy.Logits...)
	_, err := l.Step(t.Context(), batch, update.Rates{Policy: 0.01, Critic: 0.01})
	require.ErrorIs(t, err, update.ErrNotFinite)
	require.Equal(t, logits, l.policy.Logits)
	require.Zero(t, l.state.CriticMoment.Steps)
}

func TestRestoredLearnerGoesOnAlike(t *testing.T) {
	rates := update.Rates{Policy: 0.01, Critic: 0.02}
	one := start(t, spec.Default().Update)
	batch := rows(one)
	_, err := one.Step(t.Context(), batch, rates)
	require.NoError(t, err)
	model, state := t.TempDir(), t.TempDir()
	require.NoError(t, one.WritePolicy(t.Context(), model))
	require.NoError(t, one.WriteState(t.Context(), state))
	_, err = chat.Load(model)
	require.NoError(t, err, "the tokenizer travels with the weights")

	two, err := New(Options{Model: model, State: state, Reference: create(t, 2), Update: one.update, Optimizer: one.optimizer})
	require.NoError(t, err)
	var wrote [2]map[string][]byte
	for i, l := range []update.Learner{one, two} {
		_, err := l.Step(t.Context(), batch, rates)
		require.NoError(t, err)
		dir := t.TempDir()
		require.NoError(t, l.WritePolicy(t.Context(), dir))
		require.NoError(t, l.WriteState(t.Context(), dir))
		wrote[i], err = otherFiles(dir)
		require.NoError(t, err)
		wrote[i][TableFile], err = os.ReadFile(filepath.Join(dir, TableFile))
		require.NoError(t, err)
	}
	require.Equal(t, wrote[0], wrote[1])
}

func TestUnusableFolders(t *testing.T) {
	good, u, o := create(t, 1), spec.Default().Update, spec.Default().Optimizer
	small := t.TempDir()
	require.NoError(t, Create(small, "01", 1))
	state := t.TempDir()
	l, err := New(Options{Model: small, Reference: small, Update: u, Optimizer: o})
	require.NoError(t, err)
	require.NoError(t, l.WriteState(t.Context(), state))
	for name, options := range map[string]Options{
		"no model":        {Model: t.TempDir(), Reference: good},
		"other reference": {Model: good, Reference: small},
		"other state":     {Model: good, Reference: good, State: state},
		"no state":        {Model: good, Reference: good, State: t.TempDir()},
	} {
		_, err := New(options)
		require.ErrorIs(t, err, ErrModel, name)
	}
}

func TestImitatorLearnsTheSequence(t *testing.T) {
	m, err := NewImitator(ImitatorOptions{Model: create(t, 1), Optimizer: spec.Default().Optimizer})
	require.NoError(t, err)
	batch := []update.Example{{Tokens: []int32{4, 7, 9, 1}, Mask: []bool{false, true, true, true}}}
	first, err := m.Step(t.Context(), batch, 0.1)
	require.NoError(t, err)
	require.Equal(t, 3, first.Tokens)
	last := first
	for range 100 {
		last, err = m.Step(t.Context(), batch, 0.1)
		require.NoError(t, err)
	}
	require.Less(t, last.Loss, 0.1)
	require.Less(t, last.Loss, first.Loss)
}

// line is a row that forces a prompt and ends after count draws.
type line struct {
	prompt []int32
	count  int
	u      float64
	drawn  []policy.Draw
	began  bool
}

func (l *line) Next() policy.Action {
	if !l.began {
		l.began = true
		return policy.Action{Force: l.prompt}
	}
	return policy.Action{Done: len(l.drawn) == l.count}
}
func (l *line) Uniform() float64      { return l.u }
func (l *line) Sampled(d policy.Draw) { l.drawn = append(l.drawn, d) }

func TestSamplerDrawsByTheTable(t *testing.T) {
	s := &Sampler{policy: &table{Vocabulary: 3, Logits: []float64{
		math.Log(0.2), math.Log(0.5), math.Log(0.3),
		0, 0, 0,
		0, 0, 0,
	}}}
	full := policy.Params{Temperature: 1, TopP: 1, MaxLength: 9}
	for name, c := range map[string]struct {
		params  policy.Params
		u       float64
		token   int32
		sampled float64
	}{
		"first":   {full, 0.19, 0, 0.2},
		"second":  {full, 0.21, 1, 0.5},
		"third":   {full, 0.71, 2, 0.3},
		"greedy":  {policy.Params{MaxLength: 9}, 0.9, 1, 1},
		"top k":   {policy.Params{Temperature: 1, TopP: 1, TopK: 2, MaxLength: 9}, 0.6, 1, 0.625},
		"top p":   {policy.Params{Temperature: 1, TopP: 0.5, MaxLength: 9}, 0.99, 1, 1},
		"cooler":  {policy.Params{Temperature: 0.5, TopP: 1, MaxLength: 9}, 0.1, 0, 0.04 / 0.38},
		"highest": {full, math.Nextafter(1, 0), 2, 0.3},
	} {
		t.Run(name, func(t *testing.T) {
			l := &line{prompt: []int32{0}, count: 1, u: c.u}
			require.NoError(t, s.Sample(t.Context(), []policy.Row{l}, c.params, nil))
			d := l.drawn[0]
			require.Equal(t, c.token, d.Token)
			require.InDelta(t, []float64{0.2, 0.5, 0.3}[c.token], math.Exp(float64(d.LogProb)), 1e-6)
			require.InDelta(t, c.sampled, math.Exp(float64(d.Sampled)), 1e-6)
		})
	}
	err := s.Sample(t.Context(), []policy.Row{&line{prompt: []int32{0}, count: 9}}, full, nil)
	require.ErrorContains(t, err, "beyond the 9 tokens")
}

func TestCreatedModelAnswersInABox(t *testing.T) {
	dir := create(t, 3)
	s, err := NewSampler(dir)
	require.NoError(t, err)
	defer s.Close()
	template, err := chat.Load(dir)
	require.NoError(t, err)
	l := &line{prompt: []int32{assistantID}, count: 10}
	require.NoError(t, s.Sample(t.Context(), []policy.Row{l}, policy.Params{MaxLength: 20}, nil))
	var ids []int32
	for _, d := range l.drawn {
		ids = append(ids, d.Token)
	}
	require.Regexp(t, `^\\boxed{[0-9]}`, template.Decode(ids))
	require.Contains(t, ids, int32(endID))
}
