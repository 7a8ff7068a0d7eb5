package engine_test

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/engine"
	"multiattempt/internal/nn"
	"multiattempt/internal/policy"
)

// one is a row with a prompt that draws one token.
type one struct {
	prompt  []int32
	uniform float64
	asked   bool
	got     *policy.Draw
}

func (o *one) Next() policy.Action {
	if o.asked {
		return policy.Action{Done: true}
	}
	o.asked = true
	return policy.Action{Force: o.prompt}
}
func (o *one) Uniform() float64      { return o.uniform }
func (o *one) Sampled(d policy.Draw) { o.got = &d }

// draw samples one token after a prompt for each uniform number.
func draw(t *testing.T, s *engine.Sampler, p policy.Params, uniforms ...float64) []policy.Draw {
	t.Helper()
	rows := make([]policy.Row, len(uniforms))
	for i, u := range uniforms {
		rows[i] = &one{prompt: []int32{5}, uniform: u}
	}
	require.NoError(t, s.Sample(context.Background(), rows, p, nil))
	draws := make([]policy.Draw, len(rows))
	for i, r := range rows {
		draws[i] = *r.(*one).got
	}
	return draws
}

// TestDistributions checks every draw on a grid of uniform numbers against the distribution worked out from the logits.
func TestDistributions(t *testing.T) {
	var grid []float64
	for i := range 64 {
		grid = append(grid, (float64(i)+0.5)/64)
	}
	grid = append(grid, 0, math.Nextafter(1, 0))
	all := []policy.Params{
		{Temperature: 1.5, TopP: 0.9, TopK: 20, MinP: 0.1}, {Temperature: 1, TopP: 1}, {Temperature: 0.7, TopP: 0.5, TopK: 5},
		{Temperature: 0.5, TopP: 1}, {Temperature: 2, TopP: 1}, {Temperature: 1, TopP: 1, TopK: 3}, {Temperature: 1, TopP: 0.6},
		{Temperature: 1, TopP: 1e-9}, {Temperature: 1, TopP: 1, TopK: 5000}, {Temperature: 1, TopP: 1, MinP: 0.2}, {Temperature: 1, TopP: 1, MinP: 1},
	}
	for name, b := range backends(t) {
		for _, config := range []nn.Config{tinyLlama, tinyQwen} {
			params := all
			if compiles(name) { // each way to draw is a program of its own: all restrictions, and with the large vocabulary none and two
				params = all[:1]
				if config.VocabSize == tinyQwen.VocabSize {
					params = all[:3]
				}
			}
			model := loud(config)
			s, err := engine.NewSampler(b, model, fewSlots)
			require.NoError(t, err)
			defer s.Close()
			logits := engine.ForwardLogits(t, b, model, []int32{5})[0]
			for _, p := range params {
				p.MaxLength = 8
				t.Run(fmt.Sprintf("%s %s %+v", name, config.Architecture, p), func(t *testing.T) {
					checkDraws(t, logits, p, grid, draw(t, s, p, grid...))
				})
			}
		}
	}
}

// checkDraws compares draws with inversion of the cumulative distribution in float64.
func checkDraws(t *testing.T, logits []float32, p policy.Params, uniforms []float64, draws []policy.Draw) {
	t.Helper()
	full, fullTotal := distribution(logits)
	probability := truncate(logits, p)
	for i, u := range uniforms {
		token := int(draws[i].Token)
		before := 0.0
		for _, x := range probability[:token] {
			before += x
		}
		require.Positive(t, probability[token], "uniform %g", u)
		require.LessOrEqual(t, before, u+1e-5, "uniform %g", u)
		require.Greater(t, before+probability[token], u-1e-5, "uniform %g", u)
		require.InDelta(t, math.Log(full[token]/fullTotal), draws[i].LogProb, 1e-4)
		require.InDelta(t, math.Log(probability[token]), draws[i].Sampled, 1e-4)
	}
}

// truncate is the distribution at a temperature after top-k and top-p.
func truncate(logits []float32, p policy.Params) []float64 {
	scaled := make([]float32, len(logits))
	for i, x := range logits {
		scaled[i] = x / float32(p.Temperature)
	}
	order := make([]int, len(logits))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(scaled[b], scaled[a]) })
	if p.TopK > 0 && p.TopK < len(order) {
		order = order[:p.TopK]
	}
	weights, _ := distribution(scaled)
	total := 0.0
	for _, i := range order {
		total += weights[i]
	}
	kept, keptTotal := 0, 0.0
	for kept < len(order) && (kept == 0 || keptTotal < p.TopP*total) && weights[order[kept]] >= p.MinP*weights[order[0]] {
		keptTotal += weights[order[kept]]
		kept++
	}
	result := make([]float64, len(logits))
	for _, i := range order[:kept] {
		result[i] = weights[i] / keptTotal
	}
	return result
}

// TestNoRepeat: a greedy row holds no sequence of two tokens twice, its log-probabilities are the model's, and without
// the rule it does repeat itself.
func TestNoRepeat(t *testing.T) {
	for name, b := range backends(t) {
		t.Run(name, func(t *testing.T) {
			model := loud(tinyLlama)
			s, err := engine.NewSampler(b, model, fewSlots)
			require.NoError(t, err)
			defer s.Close()
			twice := func(noRepeat int) bool {
				row := &talk{id: 1, draws: 28, force: [][]int32{{5, 6, 5}}}
				p := policy.Params{TopP: 1, NoRepeat: noRepeat, MaxLength: 64}
				require.NoError(t, s.Sample(context.Background(), []policy.Row{row}, p, nil))
				checkLogProbs(t, b, model, row)
				seen := map[[2]int32]bool{}
				for i := range len(row.tokens) - 1 {
					pair := [2]int32{row.tokens[i], row.tokens[i+1]}
					if seen[pair] {
						return true
					}
					seen[pair] = true
				}
				return false
			}
			require.True(t, twice(0))
			require.False(t, twice(2))
		})
	}
}

// checkLogProbs compares the log-probabilities of a row's drawn tokens with the model's on the whole of it.
func checkLogProbs(t *testing.T, b *engine.Backend, model *engine.Model, row *talk) {
	t.Helper()
	logits := engine.ForwardLogits(t, b, model, row.tokens)
	for at, drawn := range row.drawn {
		if drawn {
			p, total := distribution(logits[at-1])
			require.InDelta(t, math.Log(p[row.tokens[at]]/total), row.logp[at], 1e-4)
		}
	}
}

// TestGreedy takes the largest logit, and the smallest id when all are equal.
func TestGreedy(t *testing.T) {
	greedy := policy.Params{Temperature: 0, TopP: 1, MaxLength: 8}
	for name, b := range backends(t) {
		t.Run(name, func(t *testing.T) {
			model := loud(tinyQwen)
			s, err := engine.NewSampler(b, model, fewSlots)
			require.NoError(t, err)
			defer s.Close()
			logits := engine.ForwardLogits(t, b, model, []int32{5})[0]
			d := draw(t, s, greedy, 0.9)[0]
			require.Equal(t, slices.Max(logits), logits[d.Token])
			p, total := distribution(logits)
			require.InDelta(t, math.Log(p[d.Token]/total), d.LogProb, 1e-4)
			require.Zero(t, d.Sampled)

			for i, spec := range tinyQwen.Tensors() {
				if spec.Name == "lm_head.weight" {
					clear(model.Weights[i])
				}
			}
			flat, err := engine.NewSampler(b, model, fewSlots)
			require.NoError(t, err)
			defer flat.Close()
			require.Zero(t, draw(t, flat, greedy, 0.9)[0].Token)
		})
	}
}
