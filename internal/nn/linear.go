package nn

import (
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// Linear is x·weightᵀ + bias: x [..., in], weight [out, in], bias [out] or nil. The result has x's type.
func Linear(x, weight, bias *Node) *Node {
	y := product(x, as(weight, x.DType()), x.DType())
	if bias != nil {
		y = Add(y, as(ExpandLeftToRank(bias, y.Rank()), y.DType()))
	}
	return y
}

// linear is Linear with a matrix as StoredType says.
func (c Config) linear(x, weight, bias *Node) *Node {
	if !c.Wide {
		return Linear(x, weight, bias)
	}
	y := as(product(as(x, weight.DType()), weight, weight.DType()), x.DType())
	if bias != nil {
		y = Add(y, as(ExpandLeftToRank(bias, y.Rank()), y.DType()))
	}
	return y
}

// product is x·weightᵀ: x [..., in], weight [out, in] of the same type → [..., out] of type result.
//
// The weight's gradient is the product of two tall arrays, the adjoint [rows, out] and x [rows, in], along their rows. XLA
// on the CPU writes the first factor transposed to memory, element by element, and takes longer over it than over the
// product. GoMLX and XLA put the adjoint first; where that is the larger one, this puts x first.
func product(x, weight *Node, result dtypes.DType) *Node {
	multiply := func(weight *Node) *Node { return dot(x, []int{x.Rank() - 1}, nil, weight, []int{1}, nil, result) }
	dims := weight.Shape().Dimensions
	if dims[0] <= dims[1] || x.DType() != dtypes.Float32 || !compiles(x.Graph().Backend()) {
		return multiply(weight)
	}
	var factor, adjoint *Node // the product's own gradient comes before its weight's
	y := multiply(IdentityWithCustomGradient(weight, func(_, _ *Node) *Node { return smallFirst(factor, adjoint) }))
	return IdentityWithCustomGradient(y, func(y, v *Node) *Node {
		factor, adjoint = y.Inputs()[0].Inputs()[0], v // x, or x computed again
		return v
	})
}

// smallFirst is adjointᵀ·x over all rows: x [..., in], adjoint [..., out] → [out, in]. The barrier, which does nothing for
// a single operand, keeps XLA from exchanging the factors.
func smallFirst(x, adjoint *Node) *Node {
	rows := make([]int, x.Rank()-1)
	for i := range rows {
		rows[i] = i
	}
	turned := OptimizationBarriers(DotGeneral(x, rows, nil, adjoint, rows, nil), ScalarZero(x.Graph(), x.DType()))
	return Transpose(turned[0], 0, 1)
}
