package nn

import (
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// Forward runs all layers over whole rows: tokens [B, T] int32 from position 0, causal → hidden [B, T, D] before the
// final norm. Rows are padded on the right: what stands behind a position never reaches it.
func (c Config) Forward(w Weights, tokens *Node) *Node {
	length := tokens.Shape().Dim(1)
	causal := Reshape(LowerTriangular(tokens.Graph(), length), 1, 1, length, length)
	r := c.RotationFromZero(tokens.Graph(), length)
	x := c.Embed(w, tokens)
	for l := range c.Layers {
		x = c.Block(w, l, x, r, func(q, k, v *Node) *Node { return Attend(q, k, v, causal) })
	}
	return x
}
