package engine_test

import (
	"context"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/engine"
	"multiattempt/internal/experience"
	"multiattempt/internal/nn"
	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
)

// modelFolder writes a model with the least tokenizer that a folder may have.
func modelFolder(t *testing.T, m *engine.Model) string {
	t.Helper()
	dir := t.TempDir()
	m.Files["tokenizer.json"] = []byte(`{"model":{"vocab":{"a":0}}}`)
	require.NoError(t, m.WriteFolder(dir))
	return dir
}

// trainerOptions are a learner's options with larger rates and tighter clips than in earnest.
func trainerOptions(b *engine.Backend, model string) engine.TrainerOptions {
	u := spec.Default().Update
	u.Microbatch, u.Entropy = 2, 0.01
	return engine.TrainerOptions{Backend: b, Model: model, Update: u, Optimizer: spec.Default().Optimizer, Seed: 5}
}

func newTrainer(t *testing.T, o engine.TrainerOptions) update.Learner {
	t.Helper()
	learner, err := engine.NewTrainer(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, learner.Close()) })
	return learner
}

var rates = update.Rates{Policy: 1e-3, Critic: 2e-3}

// drawEpisodes makes episodes of 4 to 22 random tokens, of which some train.
func drawEpisodes(n int, seed uint64) []rollout.Episode {
	random := rand.New(rand.NewPCG(seed, 0))
	episodes := make([]rollout.Episode, n)
	for i := range episodes {
		length := 4 + random.IntN(19)
		e := rollout.Episode{Tokens: make([]int32, length), Mask: make([]bool, length), LogProbs: make([]float32, length)}
		for t := range e.Tokens {
			e.Tokens[t] = int32(random.IntN(tinyLlama.VocabSize))
			e.Mask[t] = t > 1 && (t == length-1 || random.IntN(2) == 0)
		}
		episodes[i] = e
	}
	return episodes
}

// drawRows makes experience of random episodes: what a learner says of them, with random advantages.
func drawRows(t *testing.T, learner update.Learner, n int, seed uint64) []experience.Row {
	t.Helper()
	episodes := drawEpisodes(n, seed)
	scores, err := learner.Score(t.Context(), episodes, nil)
	require.NoError(t, err)
	random := rand.New(rand.NewPCG(seed, 1))
	rows := make([]experience.Row, n)
	for i, e := range episodes {
		r := experience.Row{
			Tokens: e.Tokens, Mask: e.Mask, Old: slices.Clone(scores[i].Old), Ref: scores[i].Ref, Values: scores[i].Values,
			Advantages: make([]float32, len(e.Tokens)), Returns: make([]float32, len(e.Tokens)), Weights: make([]float32, len(e.Tokens)),
			KLCoefficient: 0.01,
		}
		for t, in := range e.Mask {
			if in {
				r.Old[t] += float32(0.2 * random.NormFloat64()) // as if the policy had moved since
				r.Advantages[t], r.Weights[t] = float32(random.NormFloat64()), float32(0.5+random.Float64())
				r.Returns[t] = r.Values[t] + r.Advantages[t]
			}
		}
		rows[i] = r
	}
	return rows
}

// saved is everything a learner writes, by file name.
func saved(t *testing.T, learner interface {
	WritePolicy(ctx context.Context, dir string) error
	WriteState(ctx context.Context, dir string) error
}) (policy, state string, files map[string][]byte) {
	t.Helper()
	policy, state, files = t.TempDir(), t.TempDir(), map[string][]byte{}
	require.NoError(t, learner.WritePolicy(t.Context(), policy))
	require.NoError(t, learner.WriteState(t.Context(), state))
	for _, dir := range []string{policy, state} {
		root := os.DirFS(dir)
		require.NoError(t, fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			files[name], err = fs.ReadFile(root, name)
			return err
		}))
	}
	return policy, state, files
}

// readWeights reads every tensor of a safetensors file.
func readWeights(t *testing.T, path string) map[string][]float32 {
	t.Helper()
	f, err := engine.OpenTensors(path)
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // opened for reading only
	weights := map[string][]float32{}
	for _, name := range f.Names() {
		shape, _ := f.Shape(name)
		weights[name], err = f.Read(name, shape)
		require.NoError(t, err)
	}
	return weights
}

func TestRestoredTrainerGoesOnWithTheSameBytes(t *testing.T) {
	onEach(t, func(t *testing.T, b *engine.Backend) {
		o := trainerOptions(b, modelFolder(t, loud(tinyLlama)))
		first := newTrainer(t, o)
		rows := drawRows(t, first, 12, 1)
		step := func(learner update.Learner, i int) update.StepStats {
			stats, err := learner.Step(t.Context(), rows[4*i:][:4], rates)
			require.NoError(t, err)
			return stats
		}
		step(first, 0)
		policy, state, _ := saved(t, first)
		o.Reference, o.Model, o.State, o.Seed = o.Model, policy, state, 99
		second := newTrainer(t, o)
		for i := 1; i < 3; i++ {
			require.Equal(t, step(first, i), step(second, i))
		}
		_, _, want := saved(t, first)
		_, _, got := saved(t, second)
		require.Equal(t, want, got)
		episodes := drawEpisodes(6, 2)
		wantScores, err := first.Score(t.Context(), episodes, nil)
		require.NoError(t, err)
		gotScores, err := second.Score(t.Context(), episodes, nil)
		require.NoError(t, err)
		require.Equal(t, wantScores, gotScores)
	})
}

func TestMicrobatchesDoNotChangeAStep(t *testing.T) {
	onEach(t, func(t *testing.T, b *engine.Backend) {
		for _, aggregation := range []spec.Aggregation{spec.AggregateTokens, spec.AggregateEpisodes} {
			t.Run(string(aggregation), func(t *testing.T) {
				o := trainerOptions(b, modelFolder(t, loud(tinyLlama)))
				o.Update.Aggregation = aggregation
				o.Optimizer.Epsilon = 1e-3 // Adam's first step divides by the gradient: rounding of tiny ones would show
				rows := drawRows(t, newTrainer(t, o), 10, 1)
				var want map[string][]float32
				var wantStats update.StepStats
				for _, size := range []int{16, 2, 1} { // packed, packed, one by one
					o.Update.Microbatch = size
					learner := newTrainer(t, o)
					stats, err := learner.Step(t.Context(), rows, rates)
					require.NoError(t, err)
					_, state, _ := saved(t, learner)
					got := readWeights(t, filepath.Join(state, "trainer.safetensors"))
					if want == nil {
						want, wantStats = got, stats
						continue
					}
					require.InDelta(t, wantStats.PolicyGradNorm, stats.PolicyGradNorm, 1e-4*wantStats.PolicyGradNorm)
					require.InDelta(t, wantStats.CriticGradNorm, stats.CriticGradNorm, 1e-4*wantStats.CriticGradNorm)
					require.InDelta(t, wantStats.PolicyLoss, stats.PolicyLoss, 1e-5)
					require.InDelta(t, wantStats.ValueLoss, stats.ValueLoss, 1e-5)
					require.InDelta(t, wantStats.Entropy, stats.Entropy, 1e-4)
					require.Equal(t, wantStats.Tokens, stats.Tokens)
					for name := range want {
						require.InDeltaSlice(t, want[name], got[name], 2e-5, name)
					}
				}
			})
		}
	})
}

func TestRateOfZeroLeavesANetworkUntouched(t *testing.T) {
	b := open(t, engine.PureGo)
	learner := newTrainer(t, trainerOptions(b, modelFolder(t, loud(tinyLlama))))
	rows := drawRows(t, learner, 4, 1)
	weights := func() map[string][]float32 {
		policy, state, _ := saved(t, learner)
		all := readWeights(t, filepath.Join(state, "trainer.safetensors"))
		for name, w := range readWeights(t, filepath.Join(policy, "model.safetensors")) {
			all["policy."+name] = w
		}
		return all
	}
	before := weights()
	for _, held := range []string{"policy.", "critic."} {
		r := rates
		if held == "policy." {
			r.Policy = 0
		} else {
			r.Critic = 0
		}
		stats, err := learner.Step(t.Context(), rows, r)
		require.NoError(t, err)
		require.Positive(t, stats.PolicyGradNorm)
		require.Positive(t, stats.CriticGradNorm)
		after := weights()
		for name := range before {
			if name[:len(held)] == held {
				require.Equal(t, before[name], after[name], name)
			} else {
				require.NotEqual(t, before[name], after[name], name)
			}
		}
		before = after
	}
}

func TestNumbersThatAreNotFiniteAreNotApplied(t *testing.T) {
	onEach(t, func(t *testing.T, b *engine.Backend) {
		learner := newTrainer(t, trainerOptions(b, modelFolder(t, loud(tinyLlama))))
		rows := drawRows(t, learner, 4, 1)
		_, _, before := saved(t, learner)
		for name, spoil := range map[string]func(r experience.Row, t int){
			"advantage NaN":   func(r experience.Row, t int) { r.Advantages[t] = float32(math.NaN()) },
			"return infinite": func(r experience.Row, t int) { r.Returns[t] = float32(math.Inf(1)) },
			"ratio infinite":  func(r experience.Row, t int) { r.Old[t], r.Advantages[t] = -1000, -1 },
		} {
			bad := rows[2]
			bad.Old, bad.Advantages, bad.Returns = slices.Clone(bad.Old), slices.Clone(bad.Advantages), slices.Clone(bad.Returns)
			spoil(bad, slices.Index(bad.Mask, true))
			_, err := learner.Step(t.Context(), []experience.Row{rows[0], rows[1], bad, rows[3]}, rates)
			require.ErrorIs(t, err, update.ErrNotFinite, name)
			_, _, after := saved(t, learner)
			require.Equal(t, before, after, name)
		}
		_, err := learner.Step(t.Context(), rows, rates)
		require.NoError(t, err)
	})
}

func TestScoresOfAnEpisodeDoNotDependOnItsCompany(t *testing.T) {
	onEach(t, func(t *testing.T, b *engine.Backend) {
		model := loud(tinyLlama)
		learner := newTrainer(t, trainerOptions(b, modelFolder(t, model)))
		episodes := drawEpisodes(10, 3)
		var done []int
		together, err := learner.Score(t.Context(), episodes, func(n int) { done = append(done, n) })
		require.NoError(t, err)
		require.IsIncreasing(t, done)
		require.Equal(t, len(episodes), done[len(done)-1])
		for i, e := range episodes {
			alone, err := learner.Score(t.Context(), episodes[i:i+1], nil)
			require.NoError(t, err)
			require.InDeltaSlice(t, together[i].Old, alone[0].Old, 1e-5)
			require.InDeltaSlice(t, together[i].Values, alone[0].Values, 1e-5)
			require.Equal(t, together[i].Old, together[i].Ref, "the reference is the policy before its first step")
			logits := engine.ForwardLogits(t, b, model, e.Tokens)
			for t2 := 1; t2 < len(e.Tokens); t2++ {
				p, total := distribution(logits[t2-1])
				require.InDelta(t, math.Log(p[e.Tokens[t2]]/total), float64(together[i].Old[t2]), 1e-4)
			}
		}
	})
}

func TestStepsFollowTheAdvantages(t *testing.T) {
	b := open(t, engine.PureGo)
	o := trainerOptions(b, modelFolder(t, loud(tinyLlama)))
	o.Update.KL = spec.KLNone
	learner := newTrainer(t, o)
	episodes := drawEpisodes(8, 4)
	rows := drawRows(t, learner, 8, 4)
	before, err := learner.Score(t.Context(), episodes, nil)
	require.NoError(t, err)
	for i, r := range rows {
		copy(r.Old, before[i].Old)
		for t := range r.Advantages {
			r.Weights[t] = 1
			r.Advantages[t] = float32(1 - 2*(i%2)) // even episodes were good, odd ones bad
			r.Returns[t] = 3
		}
	}
	for range 5 {
		_, err := learner.Step(t.Context(), rows, rates)
		require.NoError(t, err)
	}
	after, err := learner.Score(t.Context(), episodes, nil)
	require.NoError(t, err)
	for i, e := range episodes {
		var change, value float64
		for t, in := range e.Mask {
			if in {
				change += float64(after[i].Old[t] - before[i].Old[t])
				value += float64(after[i].Values[t] - before[i].Values[t])
			}
		}
		require.Equal(t, i%2 == 0, change > 0, "episode %d", i)
		require.Positive(t, value, "values move towards the returns")
	}
}

func TestNewCriticIsThePolicyWithADrawnHead(t *testing.T) {
	b := open(t, engine.PureGo)
	model := engine.Random(nn.Config{
		Architecture: nn.Llama, VocabSize: 8, HiddenSize: 512, IntermediateSize: 4, Layers: 1, Heads: 1, KVHeads: 1, HeadDim: 2,
		RMSNormEps: 1e-5, RopeTheta: 10000, MaxPositions: 8,
	}, 1)
	o := trainerOptions(b, modelFolder(t, model))
	_, state, _ := saved(t, newTrainer(t, o))
	critic := readWeights(t, filepath.Join(state, "trainer.safetensors"))
	for i, s := range model.Config.Tensors() {
		if s.Name == "lm_head.weight" {
			require.NotContains(t, critic, "critic."+s.Name)
			continue
		}
		require.Equal(t, model.Weights[i], critic["critic."+s.Name])
	}
	var square float64
	head := critic["critic."+nn.ValueHead]
	for _, x := range head {
		square += float64(x) * float64(x)
	}
	require.InDelta(t, 512.0/513, square, 0.2, "variance 1/(D+1)")
	o.Seed++
	_, state, _ = saved(t, newTrainer(t, o))
	require.NotEqual(t, head, readWeights(t, filepath.Join(state, "trainer.safetensors"))["critic."+nn.ValueHead])
}

func TestTrainerRefuses(t *testing.T) {
	b := open(t, engine.PureGo)
	folder := modelFolder(t, loud(tinyLlama))
	learner := newTrainer(t, trainerOptions(b, folder))
	row := func(change func(r *experience.Row)) []experience.Row {
		r := drawRows(t, learner, 1, 1)[0]
		change(&r)
		return []experience.Row{r}
	}
	for name, rows := range map[string][]experience.Row{
		"mask is shorter":        row(func(r *experience.Row) { r.Mask = r.Mask[1:] }),
		"array is longer":        row(func(r *experience.Row) { r.Ref = append(r.Ref, 0) }),
		"token is too large":     row(func(r *experience.Row) { r.Tokens = slices.Clone(r.Tokens); r.Tokens[2] = 40 }),
		"token is negative":      row(func(r *experience.Row) { r.Tokens = slices.Clone(r.Tokens); r.Tokens[2] = -1 }),
		"first token trains":     row(func(r *experience.Row) { r.Mask = slices.Clone(r.Mask); r.Mask[0] = true }),
		"nothing trains":         row(func(r *experience.Row) { r.Mask = make([]bool, len(r.Mask)) }),
		"no tokens":              {{}},
		"more than positions":    {{Tokens: make([]int32, 257), Mask: make([]bool, 257)}},
		"no rows":                {},
		"weights are incomplete": row(func(r *experience.Row) { r.Weights = r.Weights[1:] }),
	} {
		_, err := learner.Step(t.Context(), rows, rates)
		require.ErrorIs(t, err, engine.ErrRow, name)
	}
	for _, r := range []update.Rates{{Policy: -1}, {Critic: math.Inf(1)}, {Policy: math.NaN()}} {
		_, err := learner.Step(t.Context(), drawRows(t, learner, 4, 1), r)
		require.ErrorIs(t, err, engine.ErrRate)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, before := saved(t, learner)
	_, err := learner.Step(cancelled, drawRows(t, learner, 4, 1), rates)
	require.ErrorIs(t, err, context.Canceled)
	_, _, after := saved(t, learner)
	require.Equal(t, before, after)

	o := trainerOptions(b, folder)
	o.Reference = modelFolder(t, engine.Random(tinyQwen, 1))
	_, err = engine.NewTrainer(t.Context(), o)
	require.ErrorIs(t, err, engine.ErrFolder)

	imitator, err := engine.NewImitator(t.Context(), engine.ImitatorOptions{Backend: b, Model: folder, Microbatch: 2})
	require.NoError(t, err)
	defer imitator.Close() //nolint:errcheck // memory only
	_, state, _ := saved(t, imitator)
	o = trainerOptions(b, folder)
	o.State = state
	_, err = engine.NewTrainer(t.Context(), o)
	require.ErrorIs(t, err, engine.ErrTensor, "an imitator's state has no critic")
}
