package nn

import (
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/gobackend"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/stretchr/testify/require"
)

// TestLargeVocabulariesNeverFillAllPositions: no node of the graph of a loss and its gradient, with Qwen2.5's vocabulary, is
// as large as a tenth of [B, T, V], weights and their gradients apart.
func TestLargeVocabulariesNeverFillAllPositions(t *testing.T) {
	c := Config{
		Architecture: Llama, VocabSize: 151936, HiddenSize: 4, IntermediateSize: 4, Layers: 1, Heads: 1, KVHeads: 1, HeadDim: 4,
		RMSNormEps: 1e-6, RopeTheta: 100, TieEmbeddings: true, MaxPositions: 512,
	}
	const batch, length = 8, 512
	b, err := gobackend.New("parallelism=-1")
	require.NoError(t, err)
	defer b.Finalize()
	g := graph.NewGraph(b, t.Name())
	var weights []*graph.Node
	for _, s := range c.Tensors() {
		weights = append(weights, graph.Parameter(g, s.Name, shapes.Make(dtypes.Float32, s.Shape...)))
	}
	tokens := graph.Parameter(g, "tokens", shapes.Make(dtypes.Int32, batch, length+1))
	scale := graph.Parameter(g, "scale", shapes.Make(dtypes.Float32, batch, length))
	graph.Gradient(c.ImitationLoss(c.Bind(weights), RowsOf(tokens), scale), weights...)
	largest := 0
	for _, n := range g.Nodes() {
		if n.NumOutputs() == 1 {
			largest = max(largest, n.Shape().Size())
		}
	}
	require.Greater(t, largest, c.VocabSize, "the nodes of the logits were looked at")
	require.Less(t, largest, batch*length*c.VocabSize/10)
}
