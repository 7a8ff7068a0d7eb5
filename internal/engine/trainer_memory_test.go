package engine_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/engine"
	"multiattempt/internal/nn"
	"multiattempt/internal/spec"
)

// qwen is Qwen2.5-1.5B and Qwen2.5-Math-1.5B, with the context of the latter.
var qwen = nn.Config{
	Architecture: nn.Qwen2, VocabSize: 151936, HiddenSize: 1536, IntermediateSize: 8960, Layers: 28, Heads: 12, KVHeads: 2, HeadDim: 128,
	RMSNormEps: 1e-6, RopeTheta: 1e4, TieEmbeddings: true, AttentionBias: true, MaxPositions: 4096,
}

// TestQwenWithAdaptersFitsAnAccelerator: the paper's run (rows of 4,096 tokens) with adapters takes at most three quarters of
// 80 GB, in both types; with all weights of policy and critic it does not fit.
func TestQwenWithAdaptersFitsAnAccelerator(t *testing.T) {
	const accelerator = 80e9
	run := spec.Default()
	all := engine.PlanTraining(run, qwen)
	require.Equal(t, 4096, all.Length)
	require.Greater(t, all.Total(), int64(accelerator))
	run.LoRA.Policy.Rank, run.LoRA.Critic.Rank = 32, 32
	for _, compute := range []spec.Compute{spec.ComputeFloat32, spec.ComputeBFloat16} {
		run.Model.Compute = compute
		run.Update.Microbatch = 4
		m := engine.PlanTraining(run, qwen)
		t.Logf("%s: %v", compute, m)
		require.Less(t, m.Total(), int64(accelerator*3/4))
		require.InDelta(t, 1.54e9*4, m.Weights, 0.5e9, "one base for three networks")
	}
}

// TestWhatCannotFitIsRefusedWithNumbers: a device that is too small, and what is asked of it.
func TestWhatCannotFitIsRefusedWithNumbers(t *testing.T) {
	b := open(t, engine.PureGo)
	run := spec.Default()
	require.NoError(t, b.Admit(t.Context(), "the run", engine.PlanTraining(run, tinyLlama), "give up"))
	huge := qwen
	huge.Layers = 4000
	for _, e := range []engine.Estimate{
		engine.PlanTraining(run, huge), engine.PlanTuning(spec.DefaultFinetune(), huge, 100), engine.PlanEvaluation(run, huge), engine.PlanScorer(huge, 1, 2, engine.ScorerOptions{}),
	} {
		err := b.Admit(t.Context(), "the run", e, "give up")
		require.ErrorIs(t, err, engine.ErrMemory)
		require.ErrorContains(t, err, fmt.Sprintf("the run takes %.1f GB", float64(e.Total())/1e9))
		require.ErrorContains(t, err, "weights")
		require.ErrorContains(t, err, "the device of go has")
		require.ErrorContains(t, err, "give up")
	}
}

// TestPlansCountWhatIsHeld: a fine-tuning has neither critic nor reference, a learner no sampler, and a run's sampler is sized as
// its larger shards ask for, of training or evaluation.
func TestPlansCountWhatIsHeld(t *testing.T) {
	run, f := spec.Default(), spec.DefaultFinetune()
	all := engine.PlanTraining(run, qwen)
	size := 4 * qwen.Parameters()
	f.Microbatch, f.Data.BatchSize = 4, 8
	tuning := engine.PlanTuning(f, qwen, 9999)
	require.Equal(t, qwen.MaxPositions, tuning.Length)
	require.Equal(t, []int64{size, 2 * size, 2 * size, 3 * size}, []int64{tuning.Weights, tuning.Optimizer, tuning.Gradients, tuning.Adam})
	require.Less(t, tuning.Total(), all.Learner().Total())
	require.Less(t, engine.PlanTuning(f, qwen, 100).Activations, tuning.Activations)
	f.LoRA.Rank = 8
	adapters := engine.PlanTuning(f, qwen, 9999)
	require.Greater(t, adapters.Weights, size, "the base, and adapters")
	require.Less(t, adapters.Optimizer, size/10)
	require.NotContains(t, all.Learner().String(), "sampler")

	run.Model.MaxLength, run.Data.ShardSize, run.Evaluation.ShardSize = 512, 8, 32
	run.Evaluation.Sets = []string{"smudged"}
	require.Equal(t, 32, engine.PlanTraining(run, qwen).Sampler.Slots)
	run.Evaluation.Sets = nil
	require.Equal(t, 8, engine.PlanTraining(run, qwen).Sampler.Slots)
	run.Evaluation.Samples = 24
	require.Equal(t, 64, engine.PlanEvaluation(run, qwen).Slots, "two problems of 24 episodes")
}
