package nn

import (
	"testing"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/stretchr/testify/require"

	"multiattempt/internal/spec"
)

// TestAdaptersAreMergedWeights: a network with adapters computes, and passes back, what the network with merged weights does.
func TestAdaptersAreMergedWeights(t *testing.T) {
	c := Config{
		Architecture: Qwen2, VocabSize: 5, HiddenSize: 4, IntermediateSize: 3, Layers: 2, Heads: 2, KVHeads: 1, HeadDim: 2,
		RMSNormEps: 1e-6, RopeTheta: 100, TieEmbeddings: true, AttentionBias: true, MaxPositions: 8,
	}
	l := spec.LoRA{Rank: 2, Alpha: 3, Targets: spec.LinearModules()}
	specs := c.AdapterTensors(l)
	require.Len(t, specs, 2*7*c.Layers)
	run := func(bind func(base Weights, trained []*Node) Weights) func(g *Graph) []*Node {
		return func(g *Graph) []*Node {
			var base, trained []*Node
			for i, s := range c.Tensors() {
				base = append(base, wave(g, 1.3+0.1*float64(i), s.Shape...))
			}
			for i, s := range specs {
				trained = append(trained, wave(g, 0.7+0.1*float64(i), s.Shape...))
			}
			logProbs, _ := c.NextTokens(bind(c.Bind(base), trained), RowsOf(Const(g, [][]int32{{0, 4, 2, 2}, {3, 1, 0, 3}})))
			return append(Gradient(ReduceAllSum(Mul(logProbs, wave(g, 0.7, 2, 3))), trained...), logProbs)
		}
	}
	requireSame(t, run(func(base Weights, trained []*Node) Weights {
		return BindAdapters(base, l, specs, trained)
	}), run(func(base Weights, trained []*Node) Weights {
		adapters := Bind(specs, trained)
		for _, a := range c.Adapters(l) {
			base[a.Weight] = MergeAdapter(base[a.Weight], adapters[a.A], adapters[a.B], l.Scale())
		}
		return base
	}))
}
