package engine_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/engine"
	"multiattempt/internal/spec"
)

// TestEverySettingOfALearnerCounts changes the settings whose effect the walk over all keys of a run
// (activities/settings_test.go) cannot see, one at a time: after one step a learner's files are others.
func TestEverySettingOfALearnerCounts(t *testing.T) {
	b := open(t, engine.PureGo)
	folder := modelFolder(t, loud(tinyLlama))
	step := func(change func(*engine.TrainerOptions)) (map[string][]byte, float64) {
		o := loraOptions(b, folder)
		change(&o)
		learner := newTrainer(t, o)
		stats, err := learner.Step(t.Context(), drawRows(t, learner, 8, 1), rates)
		require.NoError(t, err)
		_, _, files := saved(t, learner)
		delete(files, engine.AdapterDir+"/adapter_config.json") // repeats settings
		return files, stats.PolicyLoss
	}
	plain, loss := step(func(*engine.TrainerOptions) {})
	again, _ := step(func(*engine.TrainerOptions) {})
	require.Equal(t, plain, again, "a function of the options")
	for key, change := range map[string]func(*engine.TrainerOptions){
		"model.compute":              func(o *engine.TrainerOptions) { o.Compute = spec.ComputeBFloat16 },
		"lora.policy.rank":           func(o *engine.TrainerOptions) { o.LoRA.Policy.Rank = 2 },
		"lora.policy.alpha":          func(o *engine.TrainerOptions) { o.LoRA.Policy.Alpha = 3 },
		"lora.policy.target_modules": func(o *engine.TrainerOptions) { o.LoRA.Policy.Targets = []string{"k_proj"} },
		"lora.critic.rank":           func(o *engine.TrainerOptions) { o.LoRA.Critic.Rank = 1 },
		"lora.critic.alpha":          func(o *engine.TrainerOptions) { o.LoRA.Critic.Alpha = 3 },
		"lora.critic.target_modules": func(o *engine.TrainerOptions) { o.LoRA.Critic.Targets = []string{"k_proj"} },
		"update.microbatch":          func(o *engine.TrainerOptions) { o.Update.Microbatch = 8 }, // sums in another order: the last bits
	} {
		files, other := step(change)
		require.NotEqual(t, plain, files, key)
		if key == "update.microbatch" {
			require.InDelta(t, loss, other, 1e-6, "and nothing but them")
		}
	}
}

// TestEverySettingOfASamplerCounts is TestEverySettingOfALearnerCounts for sampling.compute.
func TestEverySettingOfASamplerCounts(t *testing.T) {
	b := open(t, engine.PureGo)
	sample := func(c spec.Compute) [][]float32 {
		o := fewSlots
		o.Compute = c
		s, err := engine.NewSampler(b, loud(tinyLlama), o)
		require.NoError(t, err)
		defer s.Close()
		_, logp := sampleAll(t, s, 1)
		return logp
	}
	plain := sample("")
	require.Equal(t, plain, sample(spec.ComputeFloat32))
	require.NotEqual(t, plain, sample(spec.ComputeBFloat16))
}

// TestEverySettingOfAnImitatorCounts is TestEverySettingOfALearnerCounts for fine-tuning.
func TestEverySettingOfAnImitatorCounts(t *testing.T) {
	b := open(t, engine.PureGo)
	folder := modelFolder(t, loud(tinyLlama))
	step := func(change func(*engine.ImitatorOptions)) (map[string][]byte, float64) {
		o := engine.ImitatorOptions{Backend: b, Model: folder, Optimizer: spec.DefaultFinetune().Optimizer, Microbatch: 2}
		change(&o)
		imitator, err := engine.NewImitator(t.Context(), o)
		require.NoError(t, err)
		defer imitator.Close() //nolint:errcheck // memory only
		stats, err := imitator.Step(t.Context(), drawExamples(6, 1), 3e-3)
		require.NoError(t, err)
		_, _, files := saved(t, imitator)
		return files, stats.Loss
	}
	plain, loss := step(func(*engine.ImitatorOptions) {})
	again, _ := step(func(*engine.ImitatorOptions) {})
	require.Equal(t, plain, again, "a function of the options")
	half, _ := step(func(o *engine.ImitatorOptions) { o.Compute = spec.ComputeBFloat16 })
	require.NotEqual(t, plain, half, "model.compute")
	adapted := func(change func(*spec.LoRA)) map[string][]byte {
		files, _ := step(func(o *engine.ImitatorOptions) {
			o.LoRA = spec.LoRA{Rank: 3, Alpha: 6, Targets: spec.LinearModules()}
			change(&o.LoRA)
		})
		delete(files, engine.AdapterDir+"/adapter_config.json") // repeats settings
		return files
	}
	adapters := adapted(func(*spec.LoRA) {})
	for key, change := range map[string]func(*spec.LoRA){
		"lora.rank": func(l *spec.LoRA) { l.Rank = 2 }, "lora.alpha": func(l *spec.LoRA) { l.Alpha = 3 },
		"lora.target_modules": func(l *spec.LoRA) { l.Targets = []string{"k_proj"} },
	} {
		require.NotEqual(t, adapters, adapted(change), key)
	}
	together, other := step(func(o *engine.ImitatorOptions) { o.Microbatch = 6 })
	require.NotEqual(t, plain, together, "microbatch: sums in another order")
	require.InDelta(t, loss, other, 1e-6, "and nothing but the last bits")
}
