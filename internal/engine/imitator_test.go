package engine_test

import (
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/engine"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
)

// drawExamples makes dialogues to imitate out of random episodes.
func drawExamples(n int, seed uint64) []update.Example {
	var examples []update.Example
	for _, e := range drawEpisodes(n, seed) {
		examples = append(examples, update.Example{Tokens: e.Tokens, Mask: e.Mask})
	}
	return examples
}

// imitate makes steps of fine-tuning on one batch; it returns their losses and what they leave.
func imitate(t *testing.T, o engine.ImitatorOptions, batch []update.Example, rate float64, steps int) (losses []float64, policy, state string, files map[string][]byte) {
	t.Helper()
	imitator, err := engine.NewImitator(t.Context(), o)
	require.NoError(t, err)
	defer imitator.Close() //nolint:errcheck // memory only
	for range steps {
		stats, err := imitator.Step(t.Context(), batch, rate)
		require.NoError(t, err)
		losses = append(losses, stats.Loss)
	}
	policy, state, files = saved(t, imitator)
	return losses, policy, state, files
}

func TestImitatorLearnsAndGoesOnWithTheSameBytes(t *testing.T) {
	onEach(t, func(t *testing.T, b *engine.Backend) {
		o := engine.ImitatorOptions{
			Backend: b, Model: modelFolder(t, engine.Random(tinyLlama, 1)), Optimizer: spec.DefaultFinetune().Optimizer, Microbatch: 2,
		}
		batch := drawExamples(6, 1)
		losses, _, _, want := imitate(t, o, batch, 3e-3, 6)
		require.InDelta(t, math.Log(float64(tinyLlama.VocabSize)), losses[0], 0.5, "a random model knows nothing")
		require.Less(t, losses[5], losses[0]-0.2)

		_, policy, state, _ := imitate(t, o, batch, 3e-3, 3)
		o.Model, o.State = policy, state
		rest, _, _, got := imitate(t, o, batch, 3e-3, 3)
		require.Equal(t, losses[3:], rest)
		require.Equal(t, want, got)
	})
}

// TestImitatorTrainsAdapters: the base stays, what is written holds the adapters, and the run goes on with the same bytes.
func TestImitatorTrainsAdapters(t *testing.T) {
	b := open(t, engine.PureGo)
	model := loud(tinyLlama)
	o := engine.ImitatorOptions{
		Backend: b, Model: modelFolder(t, model), Optimizer: spec.DefaultFinetune().Optimizer, Microbatch: 4, Seed: 3,
		LoRA: spec.LoRA{Rank: 3, Alpha: 6, Targets: []string{"q_proj", "down_proj"}},
	}
	batch := drawExamples(6, 1)
	losses, policy, _, want := imitate(t, o, batch, 1e-2, 4)
	require.Less(t, losses[3], losses[0])
	whole := o
	whole.LoRA = spec.LoRA{}
	wholeLosses, _, _, _ := imitate(t, whole, batch, 1e-2, 1)
	require.InDelta(t, wholeLosses[0], losses[0], 1e-5, "new adapters change nothing yet")
	merged := readWeights(t, filepath.Join(policy, "model.safetensors"))
	for i, s := range model.Config.Tensors() {
		if strings.Contains(s.Name, "q_proj.weight") || strings.Contains(s.Name, "down_proj.weight") {
			require.NotEqual(t, model.Weights[i], merged[s.Name], s.Name)
		} else {
			require.Equal(t, model.Weights[i], merged[s.Name], s.Name)
		}
	}
	whole.Model = policy
	wholeLosses, _, _, _ = imitate(t, whole, batch, 1e-2, 1)
	longer, _, _, _ := imitate(t, o, batch, 1e-2, 5)
	require.InDelta(t, longer[4], wholeLosses[0], 1e-4, "the merged model computes what was trained")
	require.FileExists(t, filepath.Join(policy, engine.AdapterDir, "adapter_model.safetensors"))

	_, _, state, _ := imitate(t, o, batch, 1e-2, 2)
	o.State = state
	rest, _, _, got := imitate(t, o, batch, 1e-2, 2)
	require.Equal(t, losses[2:], rest)
	require.Equal(t, want, got)
	o.LoRA.Rank = 2
	_, err := engine.NewImitator(t.Context(), o)
	require.ErrorIs(t, err, engine.ErrTensor)
}

func TestImitatorRefuses(t *testing.T) {
	b := open(t, engine.PureGo)
	imitator, err := engine.NewImitator(t.Context(), engine.ImitatorOptions{
		Backend: b, Model: modelFolder(t, engine.Random(tinyLlama, 1)), Optimizer: spec.DefaultFinetune().Optimizer, Microbatch: 4,
	})
	require.NoError(t, err)
	defer imitator.Close() //nolint:errcheck // memory only
	_, _, before := saved(t, imitator)
	_, err = imitator.Step(t.Context(), []update.Example{{Tokens: []int32{1, 99}, Mask: []bool{false, true}}}, 1e-3)
	require.ErrorIs(t, err, engine.ErrRow)
	_, err = imitator.Step(t.Context(), []update.Example{{Tokens: []int32{1, 2}, Mask: []bool{false, false}}}, 1e-3)
	require.ErrorIs(t, err, engine.ErrRow)
	_, err = imitator.Step(t.Context(), drawExamples(2, 1), math.Inf(1))
	require.ErrorIs(t, err, engine.ErrRate)
	_, _, after := saved(t, imitator)
	require.Equal(t, before, after)
}
