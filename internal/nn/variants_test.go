package nn

import (
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/gobackend"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"
)

// Both variants of a computation must give the same numbers and the same gradients: which one runs is a matter of sizes.
func requireSame(t *testing.T, variants ...func(g *Graph) []*Node) {
	t.Helper()
	backend, err := gobackend.New("parallelism=-1")
	require.NoError(t, err)
	defer backend.Finalize()
	var want [][]float32
	for _, build := range variants {
		exec, err := NewExec(backend, func(seed *Node) []*Node { return build(seed.Graph()) })
		require.NoError(t, err)
		out, err := exec.Call(float32(0))
		require.NoError(t, err)
		var got [][]float32
		for _, x := range out {
			flat, err := tensors.CopyFlatData[float32](x)
			require.NoError(t, err)
			got = append(got, flat)
		}
		exec.Finalize()
		if want == nil {
			want = got
			continue
		}
		for i := range want {
			require.InDeltaSlice(t, want[i], got[i], 1e-5)
		}
	}
}

// wave is an array of numbers between −1 and 1 that repeat at no short distance.
func wave(g *Graph, step float64, dims ...int) *Node {
	return Sin(MulScalar(Reshape(Iota(g, shapes.Make(dtypes.Float32, shapes.Make(dtypes.Float32, dims...).Size()), 0), dims...), step))
}

func TestChunksOfPositionsDoNotChangeLogProbs(t *testing.T) {
	c := Config{VocabSize: 7, HiddenSize: 4, RMSNormEps: 1e-6}
	score := func(chunk int) func(g *Graph) []*Node {
		return func(g *Graph) []*Node {
			w := Weights{headName: wave(g, 1.7, 7, 4), normName: wave(g, 0.9, 4)}
			hidden, targets := wave(g, 2.3, 2, 5, 4), Const(g, [][]int32{{0, 6, 3, 3, 1}, {2, 5, 0, 4, 6}})
			logProbs, entropy := c.logProbsInChunks(w, hidden, targets, chunk)
			loss := Add(ReduceAllSum(Mul(logProbs, wave(g, 0.3, 2, 5))), ReduceAllSum(Mul(entropy, wave(g, 0.7, 2, 5))))
			return append(Gradient(loss, w[headName], w[normName], hidden), logProbs, entropy)
		}
	}
	whole := func(g *Graph) []*Node {
		w := Weights{headName: wave(g, 1.7, 7, 4), normName: wave(g, 0.9, 4)}
		hidden, targets := wave(g, 2.3, 2, 5, 4), Const(g, [][]int32{{0, 6, 3, 3, 1}, {2, 5, 0, 4, 6}})
		logProbs, entropy := c.LogProbs(w, hidden, targets)
		loss := Add(ReduceAllSum(Mul(logProbs, wave(g, 0.3, 2, 5))), ReduceAllSum(Mul(entropy, wave(g, 0.7, 2, 5))))
		return append(Gradient(loss, w[headName], w[normName], hidden), logProbs, entropy)
	}
	requireSame(t, whole, score(10), score(3), score(1))
}

func TestEmbeddingByGatherAndByProduct(t *testing.T) {
	look := func(dense bool) func(g *Graph) []*Node {
		return func(g *Graph) []*Node {
			table := wave(g, 1.1, 6, 3)
			x := embed(table, Const(g, [][]int32{{0, 5, 2, 2}, {5, 1, 0, 3}}), dense)
			return append(Gradient(ReduceAllSum(Mul(x, wave(g, 0.7, 2, 4, 3))), table), x)
		}
	}
	requireSame(t, look(true), look(false))
}

func TestComputingLayersAgainDoesNotChangeThem(t *testing.T) {
	c := Config{
		Architecture: Llama, VocabSize: 5, HiddenSize: 4, IntermediateSize: 3, Layers: 3, Heads: 2, KVHeads: 1, HeadDim: 2,
		RMSNormEps: 1e-6, RopeTheta: 100, TieEmbeddings: true, MaxPositions: 8,
	}
	run := func(again bool) func(g *Graph) []*Node {
		return func(g *Graph) []*Node {
			var nodes []*Node
			for i, s := range c.Tensors() {
				nodes = append(nodes, wave(g, 1.3+0.1*float64(i), s.Shape...))
			}
			hidden := c.forward(c.Bind(nodes), RowsOf(Const(g, [][]int32{{0, 4, 2, 2, 1}, {3, 1, 0, 3, 1}})), again)
			return append(Gradient(ReduceAllSum(Mul(hidden, wave(g, 0.7, 2, 4, 4))), nodes...), hidden)
		}
	}
	requireSame(t, run(false), run(true))
}
