package presets_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/spec"
	"multiattempt/presets"
)

func TestEveryPresetIsAValidSpecification(t *testing.T) {
	trains, err := spec.PresetNames(presets.Train())
	require.NoError(t, err)
	require.Equal(t, []string{"gsm8k-smollm2", "paper", "paper-baseline", "quickstart", "quickstart-credit",
		"quickstart-grpo", "quickstart-reinforce", "quickstart-rloo", "quickstart-single", "quickstart-small", "quickstart-small-single", "tiny"}, trains)
	for _, name := range trains {
		_, err := spec.Resolve(preset(t, name), presets.Train())
		require.NoError(t, err)
	}
	finetunes, err := spec.PresetNames(presets.Finetune())
	require.NoError(t, err)
	require.Equal(t, []string{"quickstart-base"}, finetunes)
	for _, name := range finetunes {
		_, err := spec.ResolveFinetune(preset(t, name), presets.Finetune())
		require.NoError(t, err)
	}
}

func preset(t *testing.T, name string) []byte {
	t.Helper()
	b, err := json.Marshal(map[string]string{"preset": name})
	require.NoError(t, err)
	return b
}

// TestPaperPresetIsThePaper holds every row of the paper's table of settings.
func TestPaperPresetIsThePaper(t *testing.T) {
	r, err := spec.Resolve(preset(t, "paper"), presets.Train())
	require.NoError(t, err)
	want := spec.Run{
		Preset: "paper", Seed: 1, Iterations: 1280,
		Model: spec.Model{Source: "hf:Qwen/Qwen2.5-Math-1.5B", Compute: spec.ComputeFloat32},
		Data:  spec.Data{Train: "math-3to5", ProblemsPerStep: 1024, GroupSize: 1, ShardSize: 128},
		Attempts: spec.Attempts{Min: 1, Max: 5, Stop: spec.StopBoxed, StopEvery: 64,
			Budget: spec.BudgetShared, MaxNewTokens: 3000},
		Prompt: spec.Prompt{
			System:         `Please reason step by step, and put your final answer within \boxed{}. You have {N} attempts to answer the questions, and you should provide the full reasoning steps in each attempt.`,
			SystemSingle:   `Please reason step by step, and put your final answer within \boxed{}.`,
			Feedback:       `Your answer is incorrect. You have {n} attempts left. Try an alternative.`,
			FeedbackRole:   "system",
			SystemRepeat:   `Please reason step by step, and put your final answer within \boxed{}. You have {N} attempts to answer the questions.`,
			FeedbackRepeat: `Your answer is incorrect. Try an alternative. You have {n} attempts to answer the question.`,
		},
		Sampling: spec.Sampling{Temperature: 1, TopP: 1},
		Grading:  spec.Grading{Mode: "typed"},
		Reward: spec.Reward{Source: "outcomes", BatchSize: 64, TimeoutSeconds: 30, Tries: 3, Header: "Authorization",
			Correct: 1, Wrong: -0.5, NoAnswer: -1, Discount: 1},
		Advantage: spec.Advantage{Estimator: spec.EstimatorGAE, Gamma: 1, Lambda: 0.99, Whiten: true, GroupStd: true,
			Credit: spec.CreditEpisode, AttemptGamma: 1},
		Update: spec.Update{Minibatch: 128, Microbatch: 8, Epochs: 1, Clip: 0.2, ValueClip: 0.2, ValueWeight: 1,
			KL: spec.KLInLoss, KLEstimator: spec.KLK3, KLCoefficient: 0.01, KLHorizon: 10000,
			Aggregation: spec.AggregateTokens, OldLogProbs: spec.OldRecomputed, ImportanceClip: 2},
		Optimizer: spec.Optimizer{PolicyLR: 5e-7, CriticLR: 1e-5, Beta1: 0.9, Beta2: 0.95, Epsilon: 1e-8,
			ClipNorm: 1, WarmupFraction: 0.03, FinalFraction: 0.1},
		LoRA: spec.LoRAs{ // rank 0: all weights train
			Policy: spec.LoRA{Alpha: 32, Targets: spec.LinearModules()}, Critic: spec.LoRA{Alpha: 32, Targets: spec.LinearModules()},
		},
		Checkpoint: spec.Checkpoint{Every: 8, Keep: 3, Best: "accuracy"},
		Evaluation: spec.Evaluation{Every: 8, Sets: []string{"aime2024", "amc2023", "math500", "minerva", "olympiadbench"},
			Attempts: []int{1}, Final: []int{}, MaxNewTokens: 3000, TopP: 1, Samples: 1, ShardSize: 128, ParallelTemperature: 1},
		Record: spec.Record{TokenScores: true},
	}
	require.Equal(t, want, r)
}

func TestBaselineDiffersFromThePaperInAttemptsAndPromptOnly(t *testing.T) {
	paper, err := spec.Resolve(preset(t, "paper"), presets.Train())
	require.NoError(t, err)
	paper.Preset = "paper-baseline"
	paper.Attempts.Max = 1
	paper.Prompt.SingleAttempt = true
	baseline, err := spec.Resolve(preset(t, "paper-baseline"), presets.Train())
	require.NoError(t, err)
	require.Equal(t, paper, baseline)
}

// TestArmsDifferInAttemptsOnly is what makes the quickstart's comparison fair.
func TestArmsDifferInAttemptsOnly(t *testing.T) {
	for multi, single := range map[string]string{"quickstart": "quickstart-single", "quickstart-small": "quickstart-small-single"} {
		m, err := spec.Resolve(preset(t, multi), presets.Train())
		require.NoError(t, err)
		s, err := spec.Resolve(preset(t, single), presets.Train())
		require.NoError(t, err)
		require.Equal(t, 5, m.Attempts.Max)
		m.Preset, m.Attempts.Max = single, 1
		require.Equal(t, m, s)
	}
}

// TestVariantsUseAsManyEpisodesAsTheQuickstart is what makes comparing them fair.
func TestVariantsUseAsManyEpisodesAsTheQuickstart(t *testing.T) {
	want, err := spec.Resolve(preset(t, "quickstart"), presets.Train())
	require.NoError(t, err)
	for _, name := range []string{"quickstart-credit", "quickstart-grpo", "quickstart-reinforce", "quickstart-rloo"} {
		got, err := spec.Resolve(preset(t, name), presets.Train())
		require.NoError(t, err)
		require.Equal(t, want.Data.ProblemsPerStep*want.Data.GroupSize, got.Data.ProblemsPerStep*got.Data.GroupSize, name)
		got.Preset, got.CriticWarmup, got.Data, got.Advantage = want.Preset, want.CriticWarmup, want.Data, want.Advantage
		got.Update.ValueWeight = want.Update.ValueWeight
		require.Equal(t, want, got, name)
	}
}

func TestUnknownModelIsRefusedByName(t *testing.T) {
	for _, name := range []string{"nobody", "", "..", "a/b"} {
		_, err := presets.Model(name)
		require.ErrorIs(t, err, presets.ErrNoModel)
		require.ErrorContains(t, err, `"`+name+`"`)
	}
	for _, name := range presets.Models() {
		_, err := presets.Model(name)
		require.NoError(t, err)
	}
}
