package engine_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/engine"
	"multiattempt/internal/nn"
	"multiattempt/internal/policy"
	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
)

// What sampling in bfloat16 may change on these networks of one and two layers (docs/training.md): a token's log-probability
// beside float32's by 0.3, by 0.05 on average; beside that of a learner in bfloat16, by 0.01 on average.
const (
	halfToken    = 0.3
	halfMean     = 0.05
	halfMismatch = 0.01
)

// halfTalks are rows of two turns, so that keys and values of the first serve the second. Where programs are compiled they stay
// within 32 positions, so that there are few.
func halfTalks(backend string, config nn.Config) ([]*talk, []policy.Row) {
	mine, rows := talks(16, config.VocabSize)
	for _, row := range mine {
		row.force = append(row.force, row.force[0])[:2]
		if compiles(backend) {
			row.force[0], row.force[1] = row.force[0][:min(9, len(row.force[0]))], row.force[1][:min(9, len(row.force[1]))]
		}
	}
	return mine, rows
}

// TestBFloat16SamplerIsCloseToFloat32: what is drawn in bfloat16, with a cache in bfloat16 that outlives an attempt, is about as
// probable in float32, and almost exactly as probable to a learner in bfloat16. The same rows give the same bytes.
func TestBFloat16SamplerIsCloseToFloat32(t *testing.T) {
	for name, b := range backends(t) {
		for _, config := range networks(name) {
			t.Run(name+" "+config.Architecture, func(t *testing.T) {
				model := loud(config)
				half := fewSlots
				half.Compute = spec.ComputeBFloat16
				mine := drawn(t, b, name, model, half)
				for i, again := range drawn(t, b, name, model, half) {
					require.Equal(t, mine[i].tokens, again.tokens)
					require.Equal(t, mine[i].logp, again.logp)
				}

				var beside, most float64
				n := eachDrawn(mine, func(row *talk, at int) {
					p, total := distribution(engine.ForwardLogits(t, b, model, row.tokens)[at-1])
					difference := math.Abs(math.Log(p[row.tokens[at]]/total) - float64(row.logp[at]))
					beside, most = beside+difference, max(most, difference)
				})
				episodes := make([]rollout.Episode, len(mine))
				for i, row := range mine {
					episodes[i] = rollout.Episode{ProblemID: fmt.Sprint(i), Tokens: row.tokens, Mask: row.drawn, LogProbs: row.logp}
				}
				o := trainerOptions(b, modelFolder(t, model))
				o.Compute = spec.ComputeBFloat16
				scores, err := newTrainer(t, o).Score(t.Context(), episodes, nil)
				require.NoError(t, err)
				var mismatch float64
				eachDrawn(mine, func(row *talk, at int) { mismatch += math.Abs(float64(scores[row.id].Old[at] - row.logp[at])) })
				t.Logf("%d tokens; differs from float32 by %.2g on average, %.2g at most; from a learner in bfloat16 by %.2g on average",
					n, beside/float64(n), most, mismatch/float64(n))
				require.LessOrEqual(t, most, halfToken)
				require.LessOrEqual(t, beside/float64(n), halfMean)
				if name != engine.XLACUDA { // not measured there
					require.LessOrEqual(t, mismatch/float64(n), halfMismatch)
				}
			})
		}
	}
}

// TestBFloat16CacheGrowsAndShrinks: of 64 rows that grow beyond the first cache, few go on in a smaller batch.
func TestBFloat16CacheGrowsAndShrinks(t *testing.T) {
	b, model := openNew(t, engine.PureGo), loud(tinyLlama)
	defer b.Close()
	s, err := engine.NewSampler(b, model, engine.SamplerOptions{Compute: spec.ComputeBFloat16})
	require.NoError(t, err)
	defer s.Close()
	mine, rows := mostlyShort()
	require.NoError(t, s.Sample(t.Context(), rows, sampling, nil))
	for _, key := range []string{"B64 C1 S32", "B16 C1 S64"} {
		require.True(t, engine.Compiled(b, key), key)
	}
	eachDrawn(mine, func(row *talk, at int) {
		p, total := distribution(engine.ForwardLogits(t, b, model, row.tokens)[at-1])
		require.InDelta(t, math.Log(p[row.tokens[at]]/total), row.logp[at], halfToken)
	})
}

// drawn samples halfTalks.
func drawn(t *testing.T, b *engine.Backend, name string, model *engine.Model, o engine.SamplerOptions) []*talk {
	t.Helper()
	s, err := engine.NewSampler(b, model, o)
	require.NoError(t, err)
	defer s.Close()
	mine, rows := halfTalks(name, model.Config)
	require.NoError(t, s.Sample(t.Context(), rows, sampling, nil))
	return mine
}

// eachDrawn visits the drawn tokens and returns their number.
func eachDrawn(rows []*talk, visit func(row *talk, at int)) (n int) {
	for _, row := range rows {
		for at, drawn := range row.drawn {
			if drawn {
				visit(row, at)
				n++
			}
		}
	}
	return n
}

// TestBFloat16Greedy: where float32's choice is clear, greedy tokens are the same, a repetition's bytes as well.
func TestBFloat16Greedy(t *testing.T) {
	b := open(t, engine.PureGo)
	for _, config := range []nn.Config{tinyLlama, tinyQwen} {
		model := loud(config)
		equal := 0
		for id := range int32(8) {
			prompt := []int32{id, 7, 3}
			want := greedy(t, b, model, prompt, 24)
			got := greedyIn(t, b, model, prompt, 24, spec.ComputeBFloat16)
			require.Equal(t, got, greedyIn(t, b, model, prompt, 24, spec.ComputeBFloat16))
			equal += commonPrefix(t, b, model, prompt, want, got)
		}
		t.Logf("%s: %d of %d greedy tokens before the first that differs", config.Architecture, equal, 8*24)
		require.Positive(t, equal)
	}
}

// commonPrefix is the number of equal tokens; where they part, float32's two choices must be within bfloat16's reach.
func commonPrefix(t *testing.T, b *engine.Backend, model *engine.Model, prompt, want, got []int32) int {
	t.Helper()
	for i := range want {
		if want[i] != got[i] {
			logits := engine.ForwardLogits(t, b, model, append(append([]int32{}, prompt...), want[:i]...))
			last := logits[len(logits)-1]
			require.LessOrEqual(t, float64(last[want[i]]-last[got[i]]), 2*halfToken, "token %d", i)
			return i
		}
	}
	return len(want)
}

// TestBFloat16Scorer: log-probabilities of given tokens, within what rounding changes.
func TestBFloat16Scorer(t *testing.T) {
	b := open(t, engine.PureGo)
	for _, config := range []nn.Config{tinyLlama, tinyQwen} {
		model := loud(config)
		rows := [][]int32{{1, 2, 3, 4, 5, 6, 7, 8}, {9, 8, 7}}
		score := func(c spec.Compute) [][]float32 {
			s, err := engine.NewScorer(b, model, engine.ScorerOptions{Compute: c})
			require.NoError(t, err)
			defer s.Close()
			got, err := s.LogProbs(t.Context(), rows)
			require.NoError(t, err)
			return got
		}
		want, got := score(""), score(spec.ComputeBFloat16)
		require.Equal(t, want, score(spec.ComputeFloat32))
		for i := range want {
			require.NotEqual(t, want[i], got[i])
			require.InDeltaSlice(t, want[i], got[i], halfToken)
		}
	}
}

// TestBFloat16TakesHalfTheMemory: of weight matrices and cache, so that twice as many rows run within the cache's bound.
func TestBFloat16TakesHalfTheMemory(t *testing.T) {
	half := engine.SamplerOptions{Compute: spec.ComputeBFloat16, Slots: 16}
	full, err := engine.PlanSampler(qwen, 16, 4096, engine.SamplerOptions{Slots: 16})
	require.NoError(t, err)
	small, err := engine.PlanSampler(qwen, 16, 4096, half)
	require.NoError(t, err)
	require.Equal(t, full.Cache, 2*small.Cache)
	require.InEpsilon(t, full.Weights, 2*small.Weights, 1e-3, "but for norms and biases")
	require.Less(t, small.Step, full.Step)
	half.MaxBytes = full.Total()
	_, err = engine.PlanSampler(qwen, 16, 4096, half)
	require.NoError(t, err)
	half.MaxBytes = small.Total() - 1
	_, err = engine.PlanSampler(qwen, 16, 4096, half)
	require.ErrorIs(t, err, engine.ErrMemory)

	wide := qwen
	wide.Wide = true
	onCPU, err := engine.PlanSampler(wide, 16, 4096, engine.SamplerOptions{Compute: spec.ComputeBFloat16, Slots: 16})
	require.NoError(t, err)
	require.Equal(t, []int64{full.Weights, small.Cache}, []int64{onCPU.Weights, onCPU.Cache}, "XLA on a CPU holds matrices in float32")

	one, err := engine.PlanSampler(qwen, 256, 4096, engine.SamplerOptions{})
	require.NoError(t, err)
	two, err := engine.PlanSampler(qwen, 256, 4096, engine.SamplerOptions{Compute: spec.ComputeBFloat16})
	require.NoError(t, err)
	require.Equal(t, 2*one.Slots, two.Slots)

	run := spec.Default()
	run.Sampling.Compute = spec.ComputeBFloat16
	shards := engine.PlanTraining(run, qwen).Sampler
	run.Sampling.Compute, run.Model.Compute = "", spec.ComputeBFloat16
	require.Equal(t, shards, engine.PlanTraining(run, qwen).Sampler, "who samples computes as who learns, unless told otherwise")
	require.Equal(t, shards.Weights, engine.PlanEvaluation(run, qwen).Weights)
	run.Sampling.Compute = spec.ComputeFloat32
	require.Greater(t, engine.PlanEvaluation(run, qwen).Weights, shards.Weights)
	require.Less(t, engine.PlanScorer(qwen, 1, 4096, engine.ScorerOptions{Compute: spec.ComputeBFloat16}).Total(),
		engine.PlanScorer(qwen, 1, 4096, engine.ScorerOptions{}).Total()*6/10)
}
