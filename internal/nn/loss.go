package nn

import (
	"fmt"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas

	"multiattempt/internal/spec"
)

// PolicyBatch is a micro-batch of the policy loss. All arrays are [B, T] float32; entry t belongs to token
// t+1. Padding and tokens that do not train have 0 everywhere.
type PolicyBatch struct {
	Rows       Rows
	Mask       *Node // 1 for tokens that train
	Scale      *Node // share of the token in the minibatch's mean, times its importance weight; 0 where Mask is 0
	KLScale    *Node // Scale times the coefficient of the divergence; read only when the spec puts that in the loss
	Old        *Node // log-probability in the ratio's denominator
	Ref        *Node // reference log-probability
	Advantages *Node
}

// Facts of a policy micro-batch, [6] float32. All but FactRatioMax add up over micro-batches.
const (
	FactSurrogate = iota // Σ Scale · clipped surrogate loss
	FactKL               // Σ Mask · divergence from the reference, with the spec's estimator
	FactEntropy          // Σ Mask · entropy
	FactClipped          // tokens where the clipped ratio decided
	FactApproxKL         // Σ Mask · k3 against the old policy
	FactRatioMax         // largest ratio of new to old probability
	PolicyFacts          // how many
)

// PolicyLoss is the clipped policy loss of PPO (Schulman et al., arXiv 1707.06347, eq. 7, negated; with another ε above 1
// where the spec has one: DAPO, arXiv 2503.14476, eq. 10), minus the weighted entropy, both summed with Scale, plus the
// divergence from the reference summed with KLScale when the spec puts it in the loss. loss is a scalar, facts are [6].
func (c Config) PolicyLoss(w Weights, u spec.Update, b PolicyBatch) (loss, facts *Node) {
	trains := GreaterThan(b.Mask, ScalarZero(b.Mask.Graph(), b.Mask.DType()))
	zeros := ZerosLike(b.Mask)
	logProbs, entropy := c.NextTokens(w, b.Rows)
	// What does not train is set to 0 before any exp, so that it can neither overflow nor reach a gradient.
	logRatio := Where(trains, Sub(logProbs, b.Old), zeros)
	divergence := klEstimate(u.KLEstimator, Where(trains, Sub(b.Ref, logProbs), zeros))

	ratio := Exp(logRatio)
	free := Mul(ratio, b.Advantages)
	clipped := Mul(ClipScalar(ratio, 1-u.Clip, 1+u.Upper()), b.Advantages)
	surrogate := Neg(Min(free, clipped))

	perToken := surrogate
	if u.Entropy != 0 {
		perToken = Sub(perToken, MulScalar(entropy, u.Entropy))
	}
	loss = ReduceAllSum(Mul(b.Scale, perToken))
	switch {
	case u.KL == spec.KLInLoss && u.KLEstimator == spec.KLK1:
		panic(fmt.Errorf("the estimator %s has no place in the loss: its expected gradient is zero", u.KLEstimator))
	case u.KL == spec.KLInLoss:
		loss = Add(loss, ReduceAllSum(Mul(b.KLScale, divergence)))
	}

	decided := ConvertDType(LogicalAnd(trains, LessThan(clipped, free)), b.Mask.DType())
	list := make([]*Node, PolicyFacts)
	list[FactSurrogate] = ReduceAllSum(Mul(b.Scale, surrogate))
	list[FactKL] = ReduceAllSum(Mul(b.Mask, divergence))
	list[FactEntropy] = ReduceAllSum(Mul(b.Mask, entropy))
	list[FactClipped] = ReduceAllSum(decided)
	list[FactApproxKL] = ReduceAllSum(Mul(b.Mask, klEstimate(spec.KLK3, logRatio)))
	list[FactRatioMax] = ReduceAllMax(Mul(b.Mask, ratio))
	return loss, Stack(list, 0)
}

// klEstimate is a per-token estimate of a divergence from Δ = log q − log p, where tokens are drawn from p.
func klEstimate(estimator spec.KLEstimator, delta *Node) *Node {
	switch estimator {
	case spec.KLK1:
		return Neg(delta)
	case spec.KLK2:
		return MulScalar(Square(delta), 0.5)
	case spec.KLK3:
		return SubScalar(Sub(Exp(delta), delta), 1)
	}
	panic(fmt.Errorf("unknown estimator of the divergence %q", estimator))
}

// ValueBatch is a micro-batch of the value loss. All arrays are [B, T] float32; entry t belongs to token t+1.
type ValueBatch struct {
	Rows    Rows
	Scale   *Node // share of the token in the minibatch's mean; 0 for tokens that do not train
	Returns *Node
	Old     *Node // the critic's output before the update
}

// ValueLoss is Σ Scale · 0.5 · max((V−R)², (V_old + clip(V−V_old, ±ValueClip) − R)²), a scalar.
func (c Config) ValueLoss(w Weights, u spec.Update, b ValueBatch) *Node {
	values := c.Values(w, b.Rows)
	near := Add(b.Old, ClipScalar(Sub(values, b.Old), -u.ValueClip, u.ValueClip))
	worst := Max(Square(Sub(values, b.Returns)), Square(Sub(near, b.Returns)))
	return ReduceAllSum(Mul(b.Scale, MulScalar(worst, 0.5)))
}

// ImitationLoss is the cross-entropy Σ Scale · −log p(token), a scalar, with scale [B, T].
func (c Config) ImitationLoss(w Weights, r Rows, scale *Node) *Node {
	logProbs, _ := c.NextTokens(w, r)
	return Neg(ReduceAllSum(Mul(scale, logProbs)))
}
