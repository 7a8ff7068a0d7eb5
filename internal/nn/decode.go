package nn

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// Memory is one layer's keys and values of earlier positions, [B, KVHeads, S, HeadDim] each, keys rotated.
type Memory struct{ Keys, Values *Node }

// Extend appends up to C tokens to each row of a running batch: tokens [B, C] int32, padded on the right; start [B]
// int32, the number of positions each row already holds in memory; r the rotation of the new positions, for each row its
// own; memory one Memory a layer. It returns hidden states [B, C, D] before the final norm, and each layer's keys and
// values of the new positions, [B, KVHeads, C, HeadDim]. What a row's memory holds from start on is ignored, but must
// be finite.
func (c Config) Extend(w Weights, tokens, start *Node, r Rotation, memory []Memory) (hidden *Node, fresh []Memory) {
	g, batch, chunk := tokens.Graph(), tokens.Shape().Dim(0), tokens.Shape().Dim(1)
	causal := Reshape(LowerTriangular(g, chunk), 1, 1, chunk, chunk)
	size := memory[0].Keys.Shape().Dim(2)
	// held marks which positions of the memory are the row's own, [B, 1, 1, S].
	held := LessThan(Iota(g, shapes.Make(dtypes.Int32, batch, 1, 1, size), 3), Reshape(start, batch, 1, 1, 1))
	x := c.Embed(w, tokens)
	for l := range c.Layers {
		x = c.Block(w, l, x, r, func(q, k, v *Node) *Node {
			fresh = append(fresh, Memory{k, v})
			return attendBoth(q, memory[l], held, Memory{k, v}, causal)
		})
	}
	return x, fresh
}

// attendBoth is Attend over two stores of keys and values, without joining them in memory: old ones [B, KVHeads, S,
// HeadDim], of which a row sees those that held [B, 1, 1, S] marks, and fresh ones [B, KVHeads, C, HeadDim], seen
// causally. q is [B, Heads, C, HeadDim].
func attendBoth(q *Node, old Memory, held *Node, fresh Memory, causal *Node) *Node {
	d := q.Shape().Dimensions
	batch, heads, chunk, dim := d[0], d[1], d[2], d[3]
	kvHeads := fresh.Keys.Shape().Dim(1)
	group := heads / kvHeads
	q = Reshape(MulScalar(q, 1/math.Sqrt(float64(dim))), batch, kvHeads, group*chunk, dim)
	scores := func(keys, visible *Node) *Node {
		s := dot(q, []int{3}, []int{0, 1}, keys, []int{3}, []int{0, 1}, dtypes.Float32) // [B, KVHeads, group·C, keys]
		s = Reshape(s, batch, heads, chunk, keys.Shape().Dim(2))
		dims := s.Shape().Dimensions
		return Where(BroadcastToDims(visible, dims...), s, BroadcastToShape(Scalar(s.Graph(), s.DType(), -1e9), s.Shape()))
	}
	sOld, sFresh := scores(old.Keys, held), scores(fresh.Keys, causal)
	top := Max(ReduceAndKeep(sOld, ReduceMax, -1), ReduceAndKeep(sFresh, ReduceMax, -1))
	eOld, eFresh := Exp(Sub(sOld, top)), Exp(Sub(sFresh, top))
	total := Add(ReduceAndKeep(eOld, ReduceSum, -1), ReduceAndKeep(eFresh, ReduceSum, -1))
	mix := func(weights, values *Node) *Node {
		weights = Reshape(weights, batch, kvHeads, group*chunk, weights.Shape().Dim(3))
		mixed := dot(as(weights, values.DType()), []int{3}, []int{0, 1}, values, []int{2}, []int{0, 1}, dtypes.Float32)
		return Reshape(mixed, batch, heads, chunk, dim)
	}
	if q.DType() == dtypes.Float32 {
		return Div(Add(mix(eOld, old.Values), mix(eFresh, fresh.Values)), total)
	}
	// Rounded where Attend rounds: sampler and learner then differ by little more than the order of their sums.
	return as(Add(mix(Div(eOld, total), old.Values), mix(Div(eFresh, total), fresh.Values)), q.DType())
}

// Pick returns the row's hidden state at its position index [B] int32: [B, C, D] → [B, D].
func Pick(hidden, index *Node) *Node {
	d := hidden.Shape().Dimensions
	if d[1] == 1 {
		return Reshape(hidden, d[0], d[2])
	}
	oneHot := OneHot(index, d[1], hidden.DType()) // [B, C]
	return dot(oneHot, []int{1}, []int{0}, hidden, []int{1}, []int{0}, hidden.DType())
}
