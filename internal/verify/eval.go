package verify

import (
	"errors"
	"math/big"

	"multiattempt/internal/verify/ball"
)

// Reasons why an expression has no value at a point.
var (
	errUndefined = errors.New("undefined at this point")
	errVague     = errors.New("undecided at this precision")
	errHuge      = errors.New("too large to write down")
)

// value is the value of an expression: an exact rational number, or else a complex ball.
type value struct {
	rat *big.Rat
	z   ball.Complex
}

// evaluator computes the value of an expression at one point.
type evaluator struct {
	ctx     *ball.Context
	point   point
	bound   map[string]*big.Rat // bound variables of sums
	degrees bool                // inside a trigonometric function: degrees are angles
	round   bool                // decimals stand for the numbers that round to them
	depth   int
}

func exact(r *big.Rat) value { return value{rat: r} }

func exactInt(n int64) value { return exact(big.NewRat(n, 1)) }

// complex returns the value as a ball.
func (e *evaluator) complex(v value) ball.Complex {
	if v.rat != nil {
		return e.ctx.FromReal(e.ctx.FromRat(v.rat))
	}
	return v.z
}

// settle turns a ball into a value, or explains why it is none.
func (e *evaluator) settle(z ball.Complex) (value, error) {
	if e.ctx.Fuel < 0 {
		return value{}, errLimit
	}
	if !z.Known() {
		return value{}, errVague
	}
	return value{z: z}, nil
}

// ratBits is the size of a rational number.
func ratBits(r *big.Rat) int { return r.Num().BitLen() + r.Denom().BitLen() }

// small keeps exact numbers below the limit; larger ones go on as balls.
func (e *evaluator) small(r *big.Rat) (value, error) {
	e.ctx.Fuel -= 1 + ratBits(r)/256
	if e.ctx.Fuel < 0 {
		return value{}, errLimit
	}
	if ratBits(r) <= maxRatBits {
		return exact(r), nil
	}
	return e.settle(e.ctx.FromReal(e.ctx.FromRat(r)))
}

// eval computes the value of n.
func (e *evaluator) eval(n *node) (value, error) {
	e.depth++
	defer func() { e.depth-- }()
	if e.ctx.Fuel--; e.ctx.Fuel < 0 || e.depth > 8*maxDepth {
		return value{}, errLimit
	}
	switch n.kind {
	case kNum:
		return e.literal(n)
	case kSym:
		if r, ok := e.bound[n.name]; ok {
			return exact(r), nil
		}
		return exact(e.point.coordinate(n.name)), nil
	case kConst:
		return e.constant(n.name)
	case kAdd, kMul:
		return e.fold(n)
	case kNeg:
		v, err := e.eval(n.kids[0])
		return e.negate(v), err
	case kDiv:
		return e.quotient(n)
	case kPow:
		return e.power(n)
	case kCall:
		return e.call(n)
	case kBig:
		return e.big(n)
	case kPercent:
		return e.quotient(op(kDiv, n.kids[0], intNode(100)))
	case kQuantity:
		return e.eval(n.kids[0])
	case kDegree:
		if e.degrees {
			return e.quotient(op(kDiv, op(kMul, n.kids[0], constant("pi")), intNode(180)))
		}
		return e.eval(n.kids[0])
	}
	return value{}, errUndefined
}

// literal is the value of a numeral; with round set, a decimal stands for all numbers that round to it.
func (e *evaluator) literal(n *node) (value, error) {
	if !e.round || !n.decimal || n.places > maxDigits || n.places < -maxDigits {
		return exact(n.rat), nil
	}
	half := big.NewRat(1, 2)
	ten := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(n.places, -n.places))), nil)
	if n.places > 0 {
		half.Quo(half, new(big.Rat).SetInt(ten))
	} else {
		half.Mul(half, new(big.Rat).SetInt(ten))
	}
	return e.settle(e.ctx.FromReal(e.ctx.WithRadius(e.ctx.FromRat(n.rat), half)))
}

func (e *evaluator) constant(name string) (value, error) {
	switch name {
	case "pi":
		return e.settle(e.ctx.FromReal(e.ctx.Pi()))
	case "e":
		return e.settle(e.ctx.FromReal(e.ctx.Exp(e.ctx.FromInt64(1))))
	case "i":
		return value{z: ball.Complex{Re: e.ctx.FromInt64(0), Im: e.ctx.FromInt64(1)}}, nil
	}
	return value{}, errUndefined
}

func (e *evaluator) negate(v value) value {
	if v.rat != nil {
		return exact(new(big.Rat).Neg(v.rat))
	}
	if v.z.Re.Mid() == nil {
		return v
	}
	return value{z: e.ctx.CNeg(v.z)}
}

// fold adds or multiplies the kids of n.
func (e *evaluator) fold(n *node) (value, error) {
	acc, err := e.eval(n.kids[0])
	for _, k := range n.kids[1:] {
		if err != nil {
			return value{}, err
		}
		var v value
		if v, err = e.eval(k); err != nil {
			return value{}, err
		}
		if n.kind == kAdd {
			acc, err = e.add(acc, v)
		} else {
			acc, err = e.mul(acc, v)
		}
	}
	return acc, err
}

func (e *evaluator) add(a, b value) (value, error) {
	if a.rat != nil && b.rat != nil {
		return e.small(new(big.Rat).Add(a.rat, b.rat))
	}
	return e.settle(e.ctx.CAdd(e.complex(a), e.complex(b)))
}

func (e *evaluator) mul(a, b value) (value, error) {
	if a.rat != nil && b.rat != nil {
		return e.small(new(big.Rat).Mul(a.rat, b.rat))
	}
	if a.rat != nil && a.rat.Sign() == 0 || b.rat != nil && b.rat.Sign() == 0 {
		return exactInt(0), nil
	}
	return e.settle(e.ctx.CMul(e.complex(a), e.complex(b)))
}

func (e *evaluator) quotient(n *node) (value, error) {
	a, err := e.eval(n.kids[0])
	if err != nil {
		return value{}, err
	}
	b, err := e.eval(n.kids[1])
	if err != nil {
		return value{}, err
	}
	return e.div(a, b)
}

func (e *evaluator) div(a, b value) (value, error) {
	if b.rat != nil && b.rat.Sign() == 0 {
		return value{}, errUndefined
	}
	if a.rat != nil && b.rat != nil {
		return e.small(new(big.Rat).Quo(a.rat, b.rat))
	}
	return e.settle(e.ctx.CDiv(e.complex(a), e.complex(b)))
}

// big writes out a sum or product with integer bounds. Others, and limits and integrals, stand for
// themselves: equal ones have equal values.
func (e *evaluator) big(n *node) (value, error) {
	if (n.name != "sum" && n.name != "prod") || len(n.kids) != 3 || n.sub == "" {
		return exact(e.point.atom(n, e.bound, &e.ctx.Fuel)), nil
	}
	from, errFrom := e.eval(n.kids[1])
	to, errTo := e.eval(n.kids[2])
	if errFrom != nil || errTo != nil || from.rat == nil || to.rat == nil || !from.rat.IsInt() || !to.rat.IsInt() ||
		n.kids[1].hasSymbol() || n.kids[2].hasSymbol() {
		return exact(e.point.atom(n, e.bound, &e.ctx.Fuel)), nil
	}
	count := new(big.Int).Sub(to.rat.Num(), from.rat.Num())
	if !count.IsInt64() || count.Int64() >= maxSumTerms {
		return exact(e.point.atom(n, e.bound, &e.ctx.Fuel)), nil
	}
	bound := e.bound
	defer func() { e.bound = bound }()
	e.bound = map[string]*big.Rat{}
	for k, v := range bound {
		e.bound[k] = v
	}
	acc := exactInt(0)
	if n.name == "prod" {
		acc = exactInt(1)
	}
	for k := int64(0); k <= count.Int64(); k++ {
		e.bound[n.sub] = new(big.Rat).Add(from.rat, big.NewRat(k, 1))
		v, err := e.eval(n.kids[0])
		if err != nil {
			return value{}, err
		}
		if n.name == "sum" {
			acc, err = e.add(acc, v)
		} else {
			acc, err = e.mul(acc, v)
		}
		if err != nil {
			return value{}, err
		}
	}
	return acc, nil
}
