package engine_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/engine"
	"multiattempt/internal/experience"
	"multiattempt/internal/nn"
	"multiattempt/internal/reward"
	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
)

// reference is testdata/ppo.json, which testdata/make_ppo.py writes: what PyTorch in float64 makes of hand-made episodes.
type reference struct {
	Config   json.RawMessage
	Episodes []struct {
		Problem  string
		Tokens   []int32
		Mask     []bool
		Attempts []rollout.Attempt
		Sampler  []float32 // of sampled tokens
	}
	Before       map[string][]float32 // weights by name
	After        map[string][]float32
	Reference    map[string][]float32
	CriticBefore map[string][]float32 `json:"critic_before"`
	CriticAfter  map[string][]float32 `json:"critic_after"`
	Variants     map[string]variant
}

// variant are the numbers of one choice of settings. Lists of lists are [episode][sampled token].
type variant struct {
	Settings        json.RawMessage      // fields of spec.Run that differ from the paper's
	Rewards         []float64            // of all episodes
	AttemptRewards  [][]float64          `json:"attempt_rewards"`
	Kept            []int                // episodes that train
	Advantages      [][]float64          // as they enter the loss
	Returns         [][]float64          // none without a critic
	Weights         [][]float64          // of importance, if any
	Mean            float64              `json:"advantage_mean"`
	Std             float64              `json:"advantage_std"`
	KLBefore        float64              `json:"kl_before"`
	Explained       float64              `json:"explained_variance"`
	PolicyLoss      float64              `json:"policy_loss"`
	ValueLoss       float64              `json:"value_loss"`
	KL              float64              `json:"kl"`
	Entropy         float64              `json:"entropy"`
	Clipped         float64              `json:"clipped"`
	ApproxKL        float64              `json:"approx_kl"`
	RatioMax        float64              `json:"ratio_max"`
	PolicyGradients map[string][]float64 `json:"policy_gradients"`
	CriticGradients map[string][]float64 `json:"critic_gradients"`
}

// TestTrainingAgreesWithPyTorch scores hand-made episodes with one policy and critic, builds experience, and compares one
// optimiser step of another policy and critic with an independent implementation: rewards, advantages, returns, losses and
// facts to 1e-5 of their size, gradients to 1e-3 of each tensor's norm.
func TestTrainingAgreesWithPyTorch(t *testing.T) {
	text, err := os.ReadFile("testdata/ppo.json")
	require.NoError(t, err)
	var r reference
	require.NoError(t, json.Unmarshal(text, &r))
	require.Contains(t, r.Variants, "paper")
	onEach(t, func(t *testing.T, b *engine.Backend) {
		for name, want := range r.Variants {
			if b.Name() != engine.PureGo && name != "paper" {
				continue // the graphs are the same: one is enough to see that XLA computes them alike
			}
			t.Run(name, func(t *testing.T) { r.compare(t, b, want) })
		}
	})
}

func (r *reference) compare(t *testing.T, b *engine.Backend, want variant) {
	run := spec.Default()
	for section, into := range map[string]any{"reward": &run.Reward, "advantage": &run.Advantage, "update": &run.Update} {
		var sections map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(want.Settings, &sections))
		require.NoError(t, json.Unmarshal(sections[section], into))
	}
	run.Data.GroupSize = 2
	require.NoError(t, run.Validate())
	run.Update.Microbatch = 4
	if compiles(b.Name()) {
		run.Update.Microbatch = 8 // all at once: one shape
	}

	episodes := r.rollouts()
	earned := reward.All(episodes, run.Reward)
	for i, e := range earned {
		require.InDelta(t, want.Rewards[i], e.Episode, 1e-12)
		require.InDeltaSlice(t, want.AttemptRewards[i], e.Attempts, 1e-12)
	}
	if run.Advantage.DropEqualGroups {
		episodes, earned, _ = experience.DropEqual(episodes, earned, run.Advantage.Credit)
	}
	require.Len(t, episodes, len(want.Kept))

	before := r.learner(t, b, run.Update, r.Before, r.CriticBefore)
	scores, err := before.Score(t.Context(), episodes, nil)
	require.NoError(t, err)
	batch, err := experience.Build(episodes, earned, scores, run.Advantage, run.Update)
	require.NoError(t, err)
	requireRelative(t, "advantages", want.Advantages, batch.Rows, func(r experience.Row) []float32 { return r.Advantages })
	requireRelative(t, "returns", want.Returns, batch.Rows, func(r experience.Row) []float32 { return r.Returns })
	requireRelative(t, "weights", want.Weights, batch.Rows, func(r experience.Row) []float32 { return r.Weights })

	after := r.learner(t, b, run.Update, r.After, r.CriticAfter)
	stats, err := after.Step(t.Context(), batch.Rows, update.Rates{Policy: 1e-3, Critic: 1e-3})
	require.NoError(t, err)
	for name, c := range map[string][2]float64{
		"advantage mean": {want.Mean, batch.AdvantageMean}, "advantage deviation": {want.Std, batch.AdvantageStd},
		"divergence before": {want.KLBefore, batch.KLMeanPerToken}, "explained variance": {want.Explained, batch.ExplainedVariance},
		"policy loss": {want.PolicyLoss, stats.PolicyLoss}, "value loss": {want.ValueLoss, stats.ValueLoss},
		"divergence": {want.KL, stats.KLMeanPerToken}, "entropy": {want.Entropy, stats.Entropy},
		"clip fraction": {want.Clipped, stats.ClipFraction}, "approximate divergence": {want.ApproxKL, stats.ApproxKL},
		"largest ratio": {want.RatioMax, stats.RatioMax},
	} {
		require.InDelta(t, c[0], c[1], 1e-5*math.Max(math.Abs(c[0]), 0.1), name)
	}
	_, state, _ := saved(t, after)
	moments := readWeights(t, filepath.Join(state, "trainer.safetensors"))
	requireGradients(t, "policy", want.PolicyGradients, moments)
	requireGradients(t, "critic", want.CriticGradients, moments)
	if !run.Update.Critic() {
		for name := range moments {
			require.NotContains(t, name, "critic")
		}
		require.Nil(t, scores[0].Values)
	}
}

// rollouts are the hand-made episodes; those of one problem are a group.
func (r *reference) rollouts() []rollout.Episode {
	episodes := make([]rollout.Episode, len(r.Episodes))
	for i, e := range r.Episodes {
		out := rollout.Episode{
			ProblemID: e.Problem, Sample: i % 2, MaxTries: 5, Attempts: e.Attempts, Tokens: e.Tokens, Mask: e.Mask,
			LogProbs: make([]float32, len(e.Tokens)),
		}
		sampled := 0
		for t, m := range e.Mask {
			if m {
				out.LogProbs[t] = e.Sampler[sampled]
				sampled++
			}
		}
		episodes[i] = out
	}
	return episodes
}

// learner has the weights. Its first moments after one step are the gradients: β₁ is 0 and nothing is clipped.
func (r *reference) learner(t *testing.T, b *engine.Backend, u spec.Update, policy, critic map[string][]float32) update.Learner {
	t.Helper()
	config, err := nn.ParseConfig(r.Config)
	require.NoError(t, err)
	folder := func(weights map[string][]float32) string {
		m := &engine.Model{Config: config, Files: map[string][]byte{}}
		for _, s := range config.Tensors() {
			m.Weights = append(m.Weights, weights[s.Name])
		}
		return modelFolder(t, m)
	}
	networks := map[string][]nn.TensorSpec{"policy": config.Tensors()}
	if u.Critic() {
		networks["critic"] = config.CriticTensors()
	}
	var tensors []engine.Tensor
	for role, specs := range networks {
		tensors = append(tensors, engine.Tensor{Name: role + ".adam_steps", Shape: []int{1}, Data: []float32{0}})
		for _, s := range specs {
			zeros := make([]float32, len(policy[s.Name]))
			if role == "critic" {
				zeros = make([]float32, len(critic[s.Name]))
				tensors = append(tensors, engine.Tensor{Name: "critic." + s.Name, Shape: s.Shape, Data: critic[s.Name]})
			}
			for _, moment := range []string{".adam_first.", ".adam_second."} {
				tensors = append(tensors, engine.Tensor{Name: role + moment + s.Name, Shape: s.Shape, Data: zeros})
			}
		}
	}
	state := t.TempDir()
	require.NoError(t, engine.WriteTensors(filepath.Join(state, "trainer.safetensors"), tensors))
	return newTrainer(t, engine.TrainerOptions{
		Backend: b, Model: folder(policy), Reference: folder(r.Reference), State: state, Update: u,
		Optimizer: spec.Optimizer{Beta1: 0, Beta2: 0.9, Epsilon: 1e-8},
	})
}

// requireRelative compares sampled tokens to 1e-5 of the largest number.
func requireRelative(t *testing.T, what string, want [][]float64, rows []experience.Row, of func(experience.Row) []float32) {
	t.Helper()
	largest := 0.0
	for _, list := range want {
		for _, x := range list {
			largest = math.Max(largest, math.Abs(x))
		}
	}
	for i := range want {
		var got []float64
		for t, m := range rows[i].Mask {
			if m {
				got = append(got, float64(of(rows[i])[t]))
			}
		}
		require.InDeltaSlice(t, want[i], got, 1e-5*largest, "%s of episode %d", what, i)
	}
	if want == nil {
		require.Nil(t, of(rows[0]), what)
	}
}

func requireGradients(t *testing.T, role string, want map[string][]float64, moments map[string][]float32) {
	t.Helper()
	for name, gradient := range want {
		got := moments[role+".adam_first."+name]
		require.Len(t, got, len(gradient), name)
		var difference, size float64
		for i, g := range gradient {
			difference += math.Pow(g-float64(got[i]), 2)
			size += g * g
		}
		require.Positive(t, size, name)
		require.LessOrEqual(t, math.Sqrt(difference), 1e-3*math.Sqrt(size), "gradient of %s.%s", role, name)
	}
}
