package engine_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/engine"
	"multiattempt/internal/nn"
	"multiattempt/internal/spec"
)

// loraOptions are a learner's options with adapters for both networks.
func loraOptions(b *engine.Backend, model string) engine.TrainerOptions {
	o := trainerOptions(b, model)
	o.LoRA.Policy = spec.LoRA{Rank: 3, Alpha: 6, Targets: spec.LinearModules()}
	o.LoRA.Critic = spec.LoRA{Rank: 2, Alpha: 2, Targets: []string{"q_proj", "down_proj"}}
	return o
}

// TestOnlyAdaptersAreTrained: the base stays, the optimiser's state is of adapters and value head alone, and the policy is
// the reference until the first step.
func TestOnlyAdaptersAreTrained(t *testing.T) {
	onEach(t, func(t *testing.T, b *engine.Backend) {
		model := loud(tinyLlama)
		learner := newTrainer(t, loraOptions(b, modelFolder(t, model)))
		n := 8
		if compiles(b.Name()) {
			n = 2 // one shape
		}
		rows, episodes := drawRows(t, learner, n, 1), drawEpisodes(n, 1)
		scores, err := learner.Score(t.Context(), episodes, nil)
		require.NoError(t, err)
		for _, s := range scores {
			require.InDeltaSlice(t, s.Ref, s.Old, 1e-6)
		}
		before, _, _ := saved(t, learner)
		for range 2 {
			stats, err := learner.Step(t.Context(), rows, rates)
			require.NoError(t, err)
			require.Positive(t, stats.PolicyGradNorm)
			require.Positive(t, stats.CriticGradNorm)
		}
		after, state, _ := saved(t, learner)
		old, merged := readWeights(t, filepath.Join(before, "model.safetensors")), readWeights(t, filepath.Join(after, "model.safetensors"))
		for i, s := range model.Config.Tensors() {
			require.Equal(t, model.Weights[i], old[s.Name], s.Name)
			if strings.Contains(s.Name, "_proj.weight") {
				require.NotEqual(t, old[s.Name], merged[s.Name], s.Name)
			} else {
				require.Equal(t, old[s.Name], merged[s.Name], s.Name)
			}
		}
		for name := range readWeights(t, filepath.Join(state, "trainer.safetensors")) {
			adapter := strings.Contains(name, ".lora_") || strings.HasSuffix(name, nn.ValueHead) || strings.HasSuffix(name, ".adam_steps")
			require.True(t, adapter, name)
		}
		// What samples from the merged folder computes what the learner does.
		scores, err = learner.Score(t.Context(), episodes, nil)
		require.NoError(t, err)
		exported := newTrainer(t, trainerOptions(b, after))
		want, err := exported.Score(t.Context(), episodes, nil)
		require.NoError(t, err)
		for i := range want {
			require.InDeltaSlice(t, want[i].Old, scores[i].Old, 1e-4)
		}
	})
}

func TestRestoredAdaptersGoOnWithTheSameBytes(t *testing.T) {
	b := open(t, engine.PureGo)
	o := loraOptions(b, modelFolder(t, loud(tinyLlama)))
	first := newTrainer(t, o)
	rows := drawRows(t, first, 8, 1)
	_, err := first.Step(t.Context(), rows[:4], rates)
	require.NoError(t, err)
	policy, state, _ := saved(t, first)
	o.Reference, o.Model, o.State, o.Seed = o.Model, policy, state, 99
	second := newTrainer(t, o)
	want, err := first.Step(t.Context(), rows[4:], rates)
	require.NoError(t, err)
	got, err := second.Step(t.Context(), rows[4:], rates)
	require.NoError(t, err)
	require.Equal(t, want, got)
	_, _, wantFiles := saved(t, first)
	_, _, gotFiles := saved(t, second)
	require.Equal(t, wantFiles, gotFiles)
}

// TestStateOfOtherAdaptersIsRefused: a state belongs to the rank and modules it was made with.
func TestStateOfOtherAdaptersIsRefused(t *testing.T) {
	b := open(t, engine.PureGo)
	o := loraOptions(b, modelFolder(t, loud(tinyLlama)))
	policy, state, _ := saved(t, newTrainer(t, o))
	o.Reference, o.Model, o.State = o.Model, policy, state
	for _, l := range []spec.LoRA{{Rank: 4, Alpha: 6, Targets: spec.LinearModules()}, {Rank: 3, Alpha: 6, Targets: []string{"q_proj"}}, {}} {
		o.LoRA.Policy = l
		_, err := engine.NewTrainer(t.Context(), o)
		require.ErrorIs(t, err, engine.ErrTensor)
	}
	o = loraOptions(b, policy)
	o.Reference = modelFolder(t, loud(tinyLlama))
	_, err := engine.NewTrainer(t.Context(), o)
	require.ErrorIs(t, err, engine.ErrFolder, "new adapters of a base that is not the policy")
}

// TestAdaptersHaveTheFormatOfPEFT compares with what PEFT itself saved for the same network (testdata/make_adapter.py).
func TestAdaptersHaveTheFormatOfPEFT(t *testing.T) {
	b := open(t, engine.PureGo)
	learner := newTrainer(t, loraOptions(b, modelFolder(t, loud(tinyLlama))))
	policy, _, _ := saved(t, learner)
	dir := filepath.Join(policy, engine.AdapterDir)
	f, err := engine.OpenTensors(filepath.Join(dir, "adapter_model.safetensors"))
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // opened for reading only
	got := map[string][]int{}
	for _, name := range f.Names() {
		got[name], _ = f.Shape(name)
	}
	var want struct {
		Config map[string]any   `json:"config"`
		Shapes map[string][]int `json:"shapes"`
	}
	text, err := os.ReadFile("testdata/peft.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &want))
	require.Equal(t, want.Shapes, got)

	var config map[string]any
	text, err = os.ReadFile(filepath.Join(dir, "adapter_config.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &config))
	for key, value := range config {
		require.Contains(t, want.Config, key)
		if key != "base_model_name_or_path" {
			require.EqualValues(t, want.Config[key], value, key)
		}
	}
}

// TestBFloat16LearnerIsCloseToFloat32: scores and a step of the same learner in both types, with and without adapters.
func TestBFloat16LearnerIsCloseToFloat32(t *testing.T) {
	b := open(t, engine.PureGo)
	folder := modelFolder(t, loud(tinyLlama))
	for name, o := range map[string]engine.TrainerOptions{"all weights": trainerOptions(b, folder), "adapters": loraOptions(b, folder)} {
		t.Run(name, func(t *testing.T) {
			full := newTrainer(t, o)
			o.Compute = spec.ComputeBFloat16
			half := newTrainer(t, o)
			episodes := drawEpisodes(6, 2)
			want, err := full.Score(t.Context(), episodes, nil)
			require.NoError(t, err)
			got, err := half.Score(t.Context(), episodes, nil)
			require.NoError(t, err)
			for i := range want {
				require.InDeltaSlice(t, want[i].Old, got[i].Old, 0.3)
				require.InDeltaSlice(t, want[i].Values, got[i].Values, 0.3)
			}
			rows := drawRows(t, full, 6, 1)
			wantStats, err := full.Step(t.Context(), rows, rates)
			require.NoError(t, err)
			gotStats, err := half.Step(t.Context(), rows, rates)
			require.NoError(t, err)
			require.InEpsilon(t, wantStats.PolicyGradNorm, gotStats.PolicyGradNorm, 0.1)
			require.InEpsilon(t, wantStats.CriticGradNorm, gotStats.CriticGradNorm, 0.1)
		})
	}
}

// TestPEFTLoadsAdapters is part of the long suite (make test-peft): PYTHON names an interpreter with torch, transformers and
// peft. PEFT's adapters on the base compute what the merged folder does.
func TestPEFTLoadsAdapters(t *testing.T) {
	python := os.Getenv("MULTIATTEMPT_TEST_PEFT")
	if python == "" {
		t.Skip("make test-peft runs it, with PYTHON naming an interpreter that has torch, transformers and peft")
	}
	b := open(t, engine.PureGo)
	base := modelFolder(t, loud(tinyLlama))
	learner := newTrainer(t, loraOptions(b, base))
	rows := drawRows(t, learner, 8, 1)
	for range 3 {
		_, err := learner.Step(t.Context(), rows, rates)
		require.NoError(t, err)
	}
	policy, _, _ := saved(t, learner)
	out, err := exec.CommandContext(t.Context(), python, "testdata/check_adapter.py", base, policy).CombinedOutput()
	t.Logf("%s", out)
	require.NoError(t, err)
}
