package engine

import (
	"fmt"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/stretchr/testify/require"

	"multiattempt/internal/nn"
)

// Gradients returns the mean of −log p of every next token of rows [B, T], and its gradient with regard to each weight, in
// the order of Config.Tensors.
func Gradients(t *testing.T, b *Backend, m *Model, rows [][]int32) (loss float32, gradients [][]float32) {
	t.Helper()
	c := m.Config
	batch, length := len(rows), len(rows[0])
	key := fmt.Sprintf("test gradients B%d T%d %+v", batch, length, c)
	p, err := b.program(key, func(g *graph.Graph) []*graph.Node {
		weights := parameters(g, "policy", c.Tensors())
		tokens := graph.Parameter(g, "tokens", shapes.Make(dtypes.Int32, batch, length))
		logProbs, _ := c.NextTokens(c.Bind(weights), nn.RowsOf(tokens))
		loss := graph.Neg(graph.ReduceAllMean(logProbs))
		return append([]*graph.Node{loss}, graph.Gradient(loss, weights...)...)
	})
	require.NoError(t, err)
	inputs, err := uploadAll(b, c.Tensors(), m.Weights)
	require.NoError(t, err)
	var flat []int32
	for _, row := range rows {
		flat = append(flat, row...)
	}
	tokens, err := upload(b, flat, batch, length)
	require.NoError(t, err)
	inputs = append(inputs, tokens)
	outputs, err := p.run(inputs)
	require.NoError(t, err)
	one := make([]float32, 1)
	require.NoError(t, outputs[0].ToFlatData(one))
	for i := range c.Tensors() {
		g := make([]float32, len(m.Weights[i]))
		require.NoError(t, outputs[i+1].ToFlatData(g))
		gradients = append(gradients, g)
	}
	free(append(inputs, outputs...)...)
	return one[0], gradients
}
