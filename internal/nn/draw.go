package nn

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// Drawn is one token for each row, [B] each.
type Drawn struct {
	Token   *Node // int32
	LogProb *Node // float32, under the logits as they are
	Sampled *Node // float32, under the distribution that the token was drawn from; 0 when greedy
}

// Greedy takes the token with the largest logit, the smallest id among equals. logits: [B, V] float32.
func Greedy(logits *Node) Drawn {
	v := logits.Shape().Dim(1)
	best := Equal(logits, BroadcastToShape(ReduceAndKeep(logits, ReduceMax, -1), logits.Shape()))
	ids := Iota(logits.Graph(), shapes.Make(dtypes.Int32, logits.Shape().Dimensions...), 1)
	token := ReduceMin(Where(best, ids, BroadcastToShape(Scalar(logits.Graph(), dtypes.Int32, v-1), ids.Shape())), -1)
	p := at(LogSoftmax(logits, -1), token)
	return Drawn{token, p, ZerosLike(p)}
}

// Draw takes the first token, in ascending order of ids, at which the cumulative probability at the temperature exceeds
// the row's uniform number. logits [B, V] float32; uniform [B] float32 in [0, 1); temperature a positive scalar.
func Draw(logits, uniform, temperature *Node) Drawn {
	return draw(logits, Div(logits, temperature), uniform)
}

// DrawTruncated is Draw restricted to the topK largest logits (an int32 scalar; V or more is no restriction) and, of
// those, to the smallest set of largest ones whose probability at the temperature reaches topP (a float32 scalar; 1 is
// no restriction). Tokens that tie with the last one kept are kept.
func DrawTruncated(logits, uniform, temperature, topK, topP *Node) Drawn {
	scaled := Div(logits, temperature)
	keys := orderedBits(scaled)
	one := OnesLike(scaled)
	keep := atLeast(keys, one, BroadcastToDims(ConvertDType(topK, dtypes.Float32), logits.Shape().Dim(0), 1))
	p := Softmax(without(scaled, keep), -1)
	keep = And(keep, atLeast(keys, p, Mul(ReduceAndKeep(p, ReduceSum, -1), topP)))
	return draw(logits, without(scaled, keep), uniform)
}

// without puts what is not kept out of reach of any draw.
func without(scaled, keep *Node) *Node {
	return Where(keep, scaled, BroadcastToShape(Scalar(scaled.Graph(), scaled.DType(), -1e9), scaled.Shape()))
}

// orderedBits maps float32 numbers to int32 numbers in the same order.
func orderedBits(x *Node) *Node {
	bits := Bitcast(x, dtypes.Int32)
	flipped := BitwiseXor(bits, Scalar(x.Graph(), dtypes.Int32, math.MaxInt32))
	return Where(LessThan(bits, ZerosLike(bits)), flipped, bits)
}

// atLeast marks the fewest of the largest keys in each row whose weights add up to the wanted sum [B, 1], or all keys.
// keys: [B, V] int32; weights: [B, V] float32. It finds the smallest key to keep bit by bit, which takes 32 readings of
// the row, where sorting a vocabulary takes far longer on every device. (GoMLX cannot reduce inside a While.)
func atLeast(keys, weights, wanted *Node) *Node {
	g, shape := keys.Graph(), keys.Shape()
	limit := BroadcastToDims(Scalar(g, dtypes.Int32, math.MinInt32), shape.Dim(0), 1)
	for bit := 31; bit >= 0; bit-- {
		higher := Add(limit, Scalar(g, dtypes.Int32, int32(uint32(1)<<bit))) // wraps to 0 in the first round
		above := Where(GreaterOrEqual(keys, BroadcastToShape(higher, shape)), weights, ZerosLike(weights))
		limit = Where(GreaterOrEqual(ReduceAndKeep(above, ReduceSum, -1), wanted), higher, limit)
	}
	return GreaterOrEqual(keys, BroadcastToShape(limit, shape))
}

// draw inverts the cumulative distribution of softmax(scaled).
func draw(logits, scaled, uniform *Node) Drawn {
	token := invert(Softmax(scaled, -1), uniform)
	return Drawn{token, at(LogSoftmax(logits, -1), token), at(LogSoftmax(scaled, -1), token)}
}

// drawBlock is the number of probabilities that are added up at once: a longer row is searched first by the sums of
// its blocks, then within one block, so that a large vocabulary costs no more than reading it.
const drawBlock = 256

// invert returns, for p [B, V] and uniform [B], the first id whose cumulative probability exceeds the row's number.
func invert(p, uniform *Node) *Node {
	g, batch, v := p.Graph(), p.Shape().Dim(0), p.Shape().Dim(1)
	if v <= 2*drawBlock {
		cumulative := cumulate(p)
		return firstAbove(cumulative, target(uniform, cumulative))
	}
	blocks := (v + drawBlock - 1) / drawBlock
	if pad := blocks*drawBlock - v; pad > 0 {
		p = Concatenate([]*Node{p, Zeros(g, shapes.Make(p.DType(), batch, pad))}, 1)
	}
	p = Reshape(p, batch, blocks, drawBlock)
	sums := cumulate(ReduceSum(p, -1))
	wanted := target(uniform, sums)
	block := firstAbove(sums, wanted) // [B]
	chosen := OneHot(block, blocks, dtypes.Float32)
	within := cumulate(ReduceSum(Mul(p, ExpandAxes(chosen, -1)), 1)) // [B, drawBlock]
	earlier := ReduceSum(Mul(chosen, Sub(sums, ReduceSum(p, -1))), -1)
	rest := Min(Sub(wanted, earlier), MulScalar(last(within), belowOne))
	return Add(MulScalar(block, drawBlock), firstAbove(within, Max(rest, ZerosLike(rest))))
}

// belowOne keeps a target below its total after rounding, so that a token of positive probability always exceeds it.
const belowOne = 1 - 1.0/(1<<22)

// target scales uniform numbers [B] to the total of cumulative [B, n].
func target(uniform, cumulative *Node) *Node {
	return Mul(MinScalar(uniform, belowOne), last(cumulative))
}

// last is the final column of [B, n], as [B].
func last(x *Node) *Node {
	return Reshape(SliceAxis(x, 1, AxisElem(x.Shape().Dim(1)-1)), x.Shape().Dim(0))
}

// firstAbove returns the index of the first element of each ascending row [B, n] that exceeds limit [B].
func firstAbove(ascending, limit *Node) *Node {
	notYet := LessOrEqual(ascending, BroadcastToShape(ExpandAxes(limit, -1), ascending.Shape()))
	return ReduceSum(ConvertDType(notYet, dtypes.Int32), -1)
}

// cumulate adds up each row from the left, [B, n] → [B, n]: blocks of at most drawBlock by a product with a triangle
// of ones, which every device does fast.
func cumulate(p *Node) *Node {
	g, batch, n := p.Graph(), p.Shape().Dim(0), p.Shape().Dim(1)
	if n > drawBlock {
		blocks := (n + drawBlock - 1) / drawBlock
		if pad := blocks*drawBlock - n; pad > 0 {
			p = Concatenate([]*Node{p, Zeros(g, shapes.Make(p.DType(), batch, pad))}, 1)
		}
		p = Reshape(p, batch, blocks, drawBlock)
		sums := ReduceSum(p, -1)
		earlier := Sub(cumulate(sums), sums)
		within := Reshape(cumulate(Reshape(p, batch*blocks, drawBlock)), batch, blocks, drawBlock)
		all := Reshape(Add(within, BroadcastToShape(ExpandAxes(earlier, -1), within.Shape())), batch, blocks*drawBlock)
		return SliceAxis(all, 1, AxisRange(0, n))
	}
	square := shapes.Make(dtypes.Int32, n, n)
	triangle := ConvertDType(LessOrEqual(Iota(g, square, 0), Iota(g, square, 1)), p.DType())
	return DotGeneral(p, []int{1}, nil, triangle, []int{0}, nil)
}

// at picks one element of each row: x [B, V], index [B] int32 → [B].
func at(x, index *Node) *Node {
	ids := Iota(x.Graph(), shapes.Make(dtypes.Int32, x.Shape().Dimensions...), 1)
	here := Equal(ids, BroadcastToShape(ExpandAxes(index, -1), ids.Shape()))
	return ReduceSum(Where(here, x, ZerosLike(x)), -1)
}
