package engine_test

import (
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

func TestARunThatCannotFitIsRefusedWithNumbers(t *testing.T) {
	b := open(t, engine.PureGo)
	run := spec.Default()
	small, err := b.CheckTraining(t.Context(), run, tinyLlama)
	require.NoError(t, err)
	require.Positive(t, small.Total())
	huge := qwen
	huge.Layers = 4000
	_, err = b.CheckTraining(t.Context(), run, huge)
	require.ErrorIs(t, err, engine.ErrMemory)
	require.ErrorContains(t, err, "the device of go has")
	require.ErrorContains(t, err, "lora.policy.rank")
}
