package nn

import (
	"fmt"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// Rates of one Adam step, [4] float32, computed by the caller in float64.
const (
	RateGradient = iota // factor on the gradient: global-norm clipping
	RateStep            // learning rate / (1 − β1ᵗ)
	RateRoot            // 1/√(1 − β2ᵗ)
	RateEpsilon         // added to the root
	AdamRates
)

// Adam is one step of Kingma and Ba, arXiv 1412.6980, for lists of equal length and shapes: first moments m, second
// moments v. t is folded into rates by the caller.
func Adam(beta1, beta2 float64, rates *Node, weights, m, v, gradients []*Node) (weights2, m2, v2 []*Node) {
	if len(m) != len(weights) || len(v) != len(weights) || len(gradients) != len(weights) {
		panic(fmt.Errorf("adam: %d weights, %d and %d moments, %d gradients", len(weights), len(m), len(v), len(gradients)))
	}
	rates.AssertDims(AdamRates)
	rate := func(i int) *Node { return Squeeze(Slice(rates, AxisElem(i)), 0) }
	factor, step, root, epsilon := rate(RateGradient), rate(RateStep), rate(RateRoot), rate(RateEpsilon)
	for i := range weights {
		gradient := Mul(gradients[i], factor)
		first := Add(MulScalar(m[i], beta1), MulScalar(gradient, 1-beta1))
		second := Add(MulScalar(v[i], beta2), MulScalar(Square(gradient), 1-beta2))
		change := Div(Mul(first, step), Add(Mul(Sqrt(second), root), epsilon))
		weights2, m2, v2 = append(weights2, Sub(weights[i], change)), append(m2, first), append(v2, second)
	}
	return weights2, m2, v2
}

// SquaredNorm is the sum of all squares, a scalar.
func SquaredNorm(list []*Node) *Node {
	sum := ReduceAllSum(Square(list[0]))
	for _, x := range list[1:] {
		sum = Add(sum, ReduceAllSum(Square(x)))
	}
	return sum
}
