package engine_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/engine"
	"multiattempt/internal/policy"
	"multiattempt/internal/spec"
)

// savedModels are folders that transformers wrote, with what PyTorch computes from them in float64 (tools/fixtures/models.py).
const savedModels = "testdata/models"

// expectation is what PyTorch found.
type expectation struct {
	Tokens    [][]int32 `json:"tokens"` // [B][T]
	Loss      float64   `json:"loss"`   // mean of −log p of every next token
	Prompt    []int32   `json:"prompt"`
	Greedy    []int32   `json:"greedy"` // 64 tokens after the prompt
	logProbs  []float32 // [B, T-1]
	gradients map[string][]float32
}

func expected(t *testing.T, dir string) (e expectation) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "expected.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &e))
	arrays := readWeights(t, filepath.Join(dir, "expected.safetensors"))
	e.logProbs, e.gradients = arrays["log_probs"], map[string][]float32{}
	for name, a := range arrays {
		if name != "log_probs" {
			e.gradients[name[len("gradient."):]] = a
		}
	}
	return e
}

// compiled is the folder that is tried on XLA, too, where each costs seconds of compilation; the long suite tries them all there.
const compiled = "llama_gqa_headdim_sharded_bf16"

func TestModelsComputeWhatTransformersComputes(t *testing.T) {
	folders, err := filepath.Glob(savedModels + "/*")
	require.NoError(t, err)
	require.Len(t, folders, 9)
	for _, dir := range folders {
		want := expected(t, dir)
		model, err := engine.LoadFolder(dir)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, model.Close()) })
		for name, b := range backends(t) {
			if name == ownMemory || compiles(name) && !everyModelCompiled && filepath.Base(dir) != compiled {
				continue
			}
			t.Run(filepath.Base(dir)+"/"+name, func(t *testing.T) {
				compareScores(t, b, model, want)
				compareGradients(t, b, model, want)
				require.Equal(t, want.Greedy, greedy(t, b, model, want.Prompt, len(want.Greedy)))
			})
		}
	}
}

func compareScores(t *testing.T, b *engine.Backend, model *engine.Model, want expectation) {
	t.Helper()
	scorer, err := engine.NewScorer(b, model, engine.ScorerOptions{})
	require.NoError(t, err)
	defer scorer.Close()
	rows := append([][]int32{want.Tokens[0][:1]}, want.Tokens...) // of different lengths
	got, err := scorer.LogProbs(t.Context(), rows)
	require.NoError(t, err)
	require.Empty(t, got[0])
	flat := slices.Concat(got...)
	require.Len(t, flat, len(want.logProbs))
	for i := range flat {
		require.InDelta(t, want.logProbs[i], flat[i], 2e-4, "position %d", i)
	}
}

// compareGradients allows each tensor a difference of 1e-3 of its norm.
func compareGradients(t *testing.T, b *engine.Backend, model *engine.Model, want expectation) {
	t.Helper()
	loss, gradients := engine.Gradients(t, b, model, want.Tokens)
	require.InDelta(t, want.Loss, float64(loss), 1e-4)
	specs := model.Config.Tensors()
	require.Len(t, want.gradients, len(specs))
	for i, s := range specs {
		var difference, size float64
		require.Len(t, gradients[i], len(want.gradients[s.Name]), s.Name)
		for j, x := range want.gradients[s.Name] {
			difference += math.Pow(float64(x-gradients[i][j]), 2)
			size += float64(x) * float64(x)
		}
		require.LessOrEqual(t, math.Sqrt(difference), 1e-3*math.Sqrt(size), "gradient of %s", s.Name)
	}
}

// greedyRow wants so many tokens after a prompt.
type greedyRow struct {
	prompt, tokens []int32
	count          int
	started        bool
}

func (r *greedyRow) Next() policy.Action {
	if !r.started {
		r.started = true
		return policy.Action{Force: r.prompt}
	}
	return policy.Action{Done: len(r.tokens) == r.count}
}

func (r *greedyRow) Uniform() float64      { return 0.5 }
func (r *greedyRow) Sampled(d policy.Draw) { r.tokens = append(r.tokens, d.Token) }

// greedy returns the likeliest tokens after a prompt, from the sampler and its cache.
func greedy(t *testing.T, b *engine.Backend, model *engine.Model, prompt []int32, count int) []int32 {
	t.Helper()
	return greedyIn(t, b, model, prompt, count, spec.ComputeFloat32)
}

func greedyIn(t *testing.T, b *engine.Backend, model *engine.Model, prompt []int32, count int, compute spec.Compute) []int32 {
	t.Helper()
	sampler, err := engine.NewSampler(b, model, engine.SamplerOptions{Compute: compute})
	require.NoError(t, err)
	defer sampler.Close()
	row := &greedyRow{prompt: prompt, count: count}
	require.NoError(t, sampler.Sample(t.Context(), []policy.Row{row}, policy.Params{TopP: 1, MaxLength: len(prompt) + count}, nil))
	return row.tokens
}
