package verify

import (
	"math/big"

	"multiattempt/internal/verify/ball"
)

// power computes kids[0]^kids[1]. Real numbers have the real root where the exponent's denominator is odd,
// as in (-8)^(1/3) = -2; all else is the principal value.
func (e *evaluator) power(n *node) (value, error) {
	base, exponent := n.kids[0], n.kids[1]
	w, err := e.eval(exponent)
	if err != nil {
		return value{}, err
	}
	if base.kind == kConst && base.name == "e" && (w.rat == nil || !w.rat.IsInt()) {
		return e.settle(e.ctx.CExp(e.complex(w)))
	}
	b, err := e.eval(base)
	if err != nil {
		return value{}, err
	}
	if w.rat != nil {
		return e.rationalPower(b, w.rat)
	}
	z := e.complex(b)
	if z.ContainsZero() {
		if b.rat != nil {
			return value{}, errUndefined
		}
		return value{}, errVague
	}
	return e.settle(e.ctx.CExp(e.ctx.CMul(e.complex(w), e.ctx.CLog(z))))
}

func (e *evaluator) rationalPower(b value, w *big.Rat) (value, error) {
	switch {
	case w.Sign() == 0:
		return exactInt(1), nil
	case b.rat != nil && b.rat.Sign() == 0:
		if w.Sign() < 0 {
			return value{}, errUndefined
		}
		return exactInt(0), nil
	case w.IsInt():
		return e.integerPower(b, w.Num())
	}
	if b.rat != nil {
		e.ctx.Fuel -= 1 + ratBits(b.rat)/128
		if r := exactRootOf(b.rat, w.Denom()); r != nil {
			return e.integerPower(exact(r), w.Num())
		}
	}
	z := e.complex(b)
	if z.IsReal() && z.Re.Sign() < 0 && w.Denom().Bit(0) == 1 {
		v, err := e.positivePower(e.ctx.Neg(z.Re), w)
		if err == nil && w.Num().Bit(0) == 1 {
			v = e.negate(v)
		}
		return v, err
	}
	if z.IsReal() && z.Re.Sign() > 0 {
		return e.positivePower(z.Re, w)
	}
	if w.Denom().IsInt64() && w.Denom().Int64() == 2 {
		return e.settle(e.ctx.CPowInt(e.ctx.CSqrt(z), w.Num()))
	}
	if z.ContainsZero() {
		return value{}, errVague
	}
	return e.settle(e.ctx.CExp(e.ctx.CMul(e.ctx.FromReal(e.ctx.FromRat(w)), e.ctx.CLog(z))))
}

// positivePower computes x^w for x > 0.
func (e *evaluator) positivePower(x ball.Real, w *big.Rat) (value, error) {
	if w.Denom().IsInt64() && w.Denom().Int64() == 2 {
		return e.settle(e.ctx.FromReal(e.ctx.PowInt(e.ctx.Sqrt(x), w.Num())))
	}
	return e.settle(e.ctx.FromReal(e.ctx.Exp(e.ctx.Mul(e.ctx.FromRat(w), e.ctx.Log(x)))))
}

// integerPower computes b^n: exactly if the result is short enough, else as a ball.
func (e *evaluator) integerPower(b value, n *big.Int) (value, error) {
	if b.rat != nil && b.rat.Sign() == 0 {
		if n.Sign() < 0 {
			return value{}, errUndefined
		}
		return exactInt(0), nil
	}
	if b.rat != nil && (isPlusMinusOne(b.rat) || n.BitLen() < 32 && int64(ratBits(b.rat))*new(big.Int).Abs(n).Int64() <= 2*maxRatBits) {
		return e.small(exactPower(b.rat, n))
	}
	if n.BitLen() > 62 {
		return value{}, errHuge
	}
	z := e.ctx.CPowInt(e.complex(b), n)
	if !z.Known() && e.ctx.Fuel >= 0 && b.rat != nil {
		return value{}, errHuge
	}
	return e.settle(z)
}

// isPlusMinusOne reports whether r is 1 or -1.
func isPlusMinusOne(r *big.Rat) bool { return r.IsInt() && r.Num().CmpAbs(big.NewInt(1)) == 0 }

// exactPower computes r^n for a small n, or for r = ±1.
func exactPower(r *big.Rat, n *big.Int) *big.Rat {
	if isPlusMinusOne(r) {
		if r.Sign() < 0 && n.Bit(0) == 1 {
			return big.NewRat(-1, 1)
		}
		return big.NewRat(1, 1)
	}
	m := new(big.Int).Abs(n)
	num, den := new(big.Int).Exp(r.Num(), m, nil), new(big.Int).Exp(r.Denom(), m, nil)
	if n.Sign() < 0 {
		num, den = den, num
	}
	return new(big.Rat).SetFrac(num, den)
}

// exactRootOf returns the rational q-th root of r, nil if there is none. An even root is the positive one.
func exactRootOf(r *big.Rat, q *big.Int) *big.Rat {
	if !q.IsInt64() || q.Int64() > 64 || r.Sign() < 0 && q.Bit(0) == 0 {
		return nil
	}
	num := integerRoot(new(big.Int).Abs(r.Num()), uint(q.Int64()))
	den := integerRoot(r.Denom(), uint(q.Int64()))
	if num == nil || den == nil {
		return nil
	}
	root := new(big.Rat).SetFrac(num, den)
	if r.Sign() < 0 {
		root.Neg(root)
	}
	return root
}

// maxRootBits is the largest integer whose exact third or higher root is looked for.
const maxRootBits = 512

// integerRoot returns the exact q-th root of n >= 0, nil if there is none.
func integerRoot(n *big.Int, q uint) *big.Int {
	if n.Sign() == 0 || n.IsInt64() && n.Int64() == 1 {
		return n
	}
	if q == 2 {
		root := new(big.Int).Sqrt(n)
		if new(big.Int).Mul(root, root).Cmp(n) == 0 {
			return root
		}
		return nil
	}
	if uint(n.BitLen()) <= q || n.BitLen() > maxRootBits {
		return nil
	}
	// Bisection on the bits of the root.
	root := new(big.Int)
	exponent := new(big.Int).SetUint64(uint64(q))
	for bit := n.BitLen()/int(q) + 1; bit >= 0; bit-- {
		root.SetBit(root, bit, 1)
		if new(big.Int).Exp(root, exponent, nil).Cmp(n) > 0 {
			root.SetBit(root, bit, 0)
		}
	}
	if new(big.Int).Exp(root, exponent, nil).Cmp(n) == 0 {
		return root
	}
	return nil
}
