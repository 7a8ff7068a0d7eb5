//go:build full

package engine_test

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/chat"
	"multiattempt/internal/engine"
)

// smollm2Folder names the environment variable with the folder that `make smollm2` makes.
const smollm2Folder = "MULTIATTEMPT_SMOLLM2"

// openSmolLM2 opens the model, and reads into want what transformers makes of it.
func openSmolLM2(t *testing.T, want any) (*chat.Template, *engine.Backend, *engine.Model) {
	t.Helper()
	dir := os.Getenv(smollm2Folder)
	require.NotEmpty(t, dir, "%s names no folder; `make test-full` sets it", smollm2Folder)
	text, err := os.ReadFile("testdata/smollm2.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, want))
	template, err := chat.Load(dir)
	require.NoError(t, err)
	b, err := engine.Open(engine.Auto)
	require.NoError(t, err)
	t.Cleanup(b.Close)
	model, err := engine.LoadFolder(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, model.Close()) })
	return template, b, model
}

// TestSmolLM2ComputesWhatTransformersComputes compares tokens, dialogues, log-probabilities, gradients and a greedy answer of
// the imported GGUF file with what transformers makes of the same file (tools/fixtures/smollm2.py).
func TestSmolLM2ComputesWhatTransformersComputes(t *testing.T) {
	var want struct {
		Rows []struct {
			Text     string
			IDs      []int32
			LogProbs []float32 `json:"log_probs"`
		}
		Dialogues []struct {
			Messages []chat.Message
			IDs      []int32
		}
		Prompt, Greedy []int32
		GradientIDs    []int32 `json:"gradient_ids"`
		Loss           float64
		Gradients      map[string]struct {
			Norm     float64
			Products []float64
		}
	}
	template, b, model := openSmolLM2(t, &want)
	for _, d := range want.Dialogues {
		ids, err := template.Opening(d.Messages)
		require.NoError(t, err)
		require.Equal(t, d.IDs, ids)
	}
	scorer, err := engine.NewScorer(b, model, engine.ScorerOptions{})
	require.NoError(t, err)
	var largest float64
	for _, row := range want.Rows {
		ids, err := template.Encode(row.Text)
		require.NoError(t, err)
		require.Equal(t, row.IDs, ids, row.Text)
		got, err := scorer.LogProbs(t.Context(), [][]int32{ids})
		require.NoError(t, err)
		for i, x := range row.LogProbs {
			largest = max(largest, math.Abs(float64(x-got[0][i])))
		}
	}
	scorer.Close()
	t.Logf("largest difference of a log-probability: %.2g", largest)
	require.LessOrEqual(t, largest, 2e-4)
	require.Equal(t, want.Greedy, greedy(t, b, model, want.Prompt, len(want.Greedy)))

	loss, gradients := engine.Gradients(t, b, model, [][]int32{want.GradientIDs})
	require.InDelta(t, want.Loss, float64(loss), 1e-4)
	largest = 0
	for i, s := range model.Config.Tensors() {
		w, ok := want.Gradients[s.Name]
		require.True(t, ok, s.Name)
		var square float64
		for v, product := range w.Products {
			square += math.Pow(product-signed(gradients[i], v), 2) / float64(len(w.Products))
		}
		largest = max(largest, math.Sqrt(square)/w.Norm)
		require.LessOrEqual(t, math.Sqrt(square), 1e-3*w.Norm, "gradient of %s", s.Name)
	}
	t.Logf("largest difference of a gradient: %.2g of its norm", largest)
}

// signed is the scalar product with a vector of ±1: the top bits of splitmix64 of (index, vector), as in the script.
func signed(x []float32, vector int) float64 {
	var sum float64
	for i, v := range x {
		h := (uint64(i) + uint64(vector+1)<<40) * 0x9E3779B97F4A7C15
		h = (h ^ h>>30) * 0xBF58476D1CE4E5B9
		h = (h ^ h>>27) * 0x94D049BB133111EB
		h ^= h >> 31
		if h>>63 == 1 {
			v = -v
		}
		sum += float64(v)
	}
	return sum
}
