package nn

import (
	"fmt"
	"math"
	"slices"

	"github.com/gomlx/compute"
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

// Greedy takes the token with the largest logit among the allowed ones (logits after Forbid, or logits), the smallest id
// among equals. logits, allowed: [B, V] float32.
func Greedy(logits, allowed *Node) Drawn {
	v := logits.Shape().Dim(1)
	best := Equal(allowed, BroadcastToShape(ReduceAndKeep(allowed, ReduceMax, -1), logits.Shape()))
	ids := Iota(logits.Graph(), shapes.Make(dtypes.Int32, logits.Shape().Dimensions...), 1)
	token := ReduceMin(Where(best, ids, BroadcastToShape(Scalar(logits.Graph(), dtypes.Int32, v-1), ids.Shape())), -1)
	p := at(LogSoftmax(logits, -1), token)
	return Drawn{token, p, ZerosLike(p)}
}

// Forbid puts tokens out of reach: logits [B, V] float32, banned [B, N] int32, in which negative entries mean none.
func Forbid(logits, banned *Node) *Node {
	g, batch, v, n := logits.Graph(), logits.Shape().Dim(0), logits.Shape().Dim(1), banned.Shape().Dim(1)
	ids := Iota(g, shapes.Make(dtypes.Int32, batch, v, n), 1)
	here := Equal(ids, BroadcastToDims(Reshape(banned, batch, 1, n), batch, v, n))
	return without(logits, LessOrEqual(ReduceSum(ConvertDType(here, dtypes.Int32), -1), Scalar(g, dtypes.Int32, 0)))
}

// Sampling shapes a distribution to draw from. Nil fields are off.
type Sampling struct {
	Temperature *Node // positive scalar; nil is 1
	TopK        *Node // int32 scalar: the largest logits only; V or more is no restriction
	TopP        *Node // float32 scalar: of those, the fewest whose probability reaches it; 1 is no restriction
	MinP        *Node // float32 scalar: of those, the ones at least this share of the likeliest's probability; 0 is no restriction
}

// Draw takes the first token, in ascending order of ids, at which the cumulative probability exceeds the row's uniform
// number. logits, allowed (logits after Forbid, or logits) [B, V] float32; uniform [B] float32 in [0, 1). Restrictions apply at the temperature, in the order of
// Sampling's fields, as transformers' generate applies them; tokens that tie with the last one kept are kept.
func Draw(logits, allowed, uniform *Node, s Sampling) Drawn {
	if s == (Sampling{}) && allowed == logits {
		logProbs := LogSoftmax(logits, -1)
		token := invert(Exp(logProbs), uniform)
		p := at(logProbs, token)
		return Drawn{token, p, p}
	}
	scaled := allowed
	if s.Temperature != nil {
		scaled = Div(scaled, s.Temperature)
	}
	if s.TopK != nil || s.TopP != nil {
		scaled = without(scaled, likeliest(scaled, s))
	}
	if s.MinP != nil {
		least := Add(ReduceAndKeep(scaled, ReduceMax, -1), BroadcastToDims(Log(s.MinP), scaled.Shape().Dim(0), 1))
		scaled = without(scaled, GreaterOrEqual(scaled, BroadcastToShape(least, scaled.Shape())))
	}
	logProbs := LogSoftmax(scaled, -1)
	token := invert(Exp(logProbs), uniform)
	return Drawn{token, at(LogSoftmax(logits, -1), token), at(logProbs, token)}
}

// likeliest marks what top-k and top-p keep.
func likeliest(scaled *Node, s Sampling) *Node {
	keys, ones := orderedBits(scaled), OnesLike(scaled)
	keep := Equal(keys, keys)
	if s.TopK != nil {
		keep = atLeast(keys, ones, BroadcastToDims(ConvertDType(s.TopK, dtypes.Float32), scaled.Shape().Dim(0), 1))
	}
	if s.TopP != nil {
		p := Softmax(without(scaled, keep), -1)
		keep = And(keep, atLeast(keys, p, Mul(sum(p, Ones(p.Graph(), shapes.Make(dtypes.Float32, p.Shape().Dim(1), 1))), s.TopP)))
	}
	return keep
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
// the row, where sorting a vocabulary takes far longer on every device. A loop, because compilers take a minute over
// the 32 rounds written out. Constants are part of its state: GoMLX cannot make them, nor reduce, inside a loop.
func atLeast(keys, weights, wanted *Node) *Node {
	g, shape := keys.Graph(), keys.Shape()
	lowest := Scalar(g, dtypes.Int32, math.MinInt32) // also the highest bit
	initial := []*Node{
		lowest, Scalar(g, dtypes.Int32, 1), Scalar(g, dtypes.Int32, 0), BroadcastToDims(lowest, shape.Dim(0), 1),
		keys, weights, wanted, Ones(g, shapes.Make(dtypes.Float32, shape.Dim(1), 1)),
	}
	const bit, one, zero, limit, key, weight, want, ones = 0, 1, 2, 3, 4, 5, 6, 7
	round := func(s []*Node) []*Node {
		higher := Add(s[limit], BroadcastToShape(s[bit], s[limit].Shape())) // wraps to 0 in the first round
		above := ConvertDType(GreaterOrEqual(s[key], BroadcastToShape(higher, shape)), dtypes.Float32)
		reached := GreaterOrEqual(sum(Mul(above, s[weight]), s[ones]), s[want])
		s[limit] = Where(reached, higher, s[limit])
		s[bit] = BitwiseShiftRightLogical(s[bit], s[one])
		return s
	}
	final := slices.Clone(initial)
	if !compiles(g.Backend()) {
		for range 32 {
			final = round(final)
		}
	} else {
		state := func(g *Graph) []*Node {
			s := make([]*Node, len(initial))
			for i, x := range initial {
				s[i] = Parameter(g, fmt.Sprintf("state%d", i), x.Shape())
			}
			return s
		}
		more := NewClosure(g, func(g *Graph) []*Node { s := state(g); return []*Node{NotEqual(s[bit], s[zero])} })
		final = While(more, NewClosure(g, func(g *Graph) []*Node { return round(state(g)) }), initial...)
	}
	return GreaterOrEqual(keys, BroadcastToShape(final[limit], shape))
}

// compiles tells XLA from GoMLX's own backend, which compiles nothing and runs the operations of a loop's body out of
// order.
func compiles(b compute.Backend) bool { return b.Name() == "xla" }

// sum adds up each row as a product with ones [V, 1]: [B, V] → [B, 1].
func sum(x, ones *Node) *Node { return DotGeneral(x, []int{1}, nil, ones, []int{0}, nil) }

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
