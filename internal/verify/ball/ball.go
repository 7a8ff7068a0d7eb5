// Package ball computes with real numbers that are known up to a proven error: a midpoint of chosen
// precision and a radius that the true value never leaves (Johansson, "Arb: efficient
// arbitrary-precision midpoint-radius interval arithmetic", IEEE Trans. Comput. 66, 2017).
//
// An operation whose result cannot be bounded, such as a division by a ball that contains zero, returns
// an Unknown ball. Callers raise the precision, or give up.
package ball

import (
	"math"
	"math/big"
)

// radPrec is the precision of radii in bits. Radii are always rounded up.
const radPrec = 32

// maxMagnitude bounds the binary exponents of values: larger ones are Unknown, smaller ones may be zero.
// big.Float would align operands of very different size digit by digit.
const maxMagnitude = 1 << 16

// Real is a set of real numbers [mid-rad, mid+rad]. The zero value is not valid: use a Context.
type Real struct {
	mid *big.Float
	rad *big.Float // nil stands for zero, +Inf for an unknown value
}

// Context carries the working precision and counts the work done. Not safe for concurrent use.
type Context struct {
	// Prec is the precision of midpoints in bits.
	Prec uint
	// Fuel is the work left, in units of about a microsecond. When it is negative every result is Unknown.
	Fuel int
}

// spend takes n units of work at precision prec from the budget and reports whether it sufficed.
func (c *Context) spend(n int, prec uint) bool {
	c.Fuel -= n * (1 + int(prec)/256)
	return c.Fuel >= 0
}

func (c *Context) float() *big.Float { return new(big.Float).SetPrec(c.Prec) }

func newRad() *big.Float { return new(big.Float).SetPrec(radPrec).SetMode(big.ToPositiveInf) }

// Unknown is the ball about whose value nothing is known.
func Unknown() Real {
	return Real{mid: new(big.Float), rad: newRad().SetInf(false)}
}

// Known reports whether the ball is bounded.
func (x Real) Known() bool { return x.rad == nil || !x.rad.IsInf() }

// Mid is the midpoint. It must not be modified.
func (x Real) Mid() *big.Float { return x.mid }

// Sign returns -1 or +1 if every number of the ball has that sign, 0 if it may contain zero.
func (x Real) Sign() int {
	if x.rad == nil || x.rad.Sign() == 0 {
		return x.mid.Sign()
	}
	if x.rad.IsInf() || x.absMid().Cmp(x.rad) <= 0 {
		return 0
	}
	return x.mid.Sign()
}

// IsZero reports whether the ball is exactly zero.
func (x Real) IsZero() bool { return x.mid.Sign() == 0 && (x.rad == nil || x.rad.Sign() == 0) }

// ContainsZero reports whether zero may be the value.
func (x Real) ContainsZero() bool { return x.Sign() == 0 }

func (x Real) absMid() *big.Float { return new(big.Float).Abs(x.mid) }

// radius returns a copy of the radius, zero included.
func (x Real) radius() *big.Float {
	if x.rad == nil {
		return newRad()
	}
	return newRad().Set(x.rad)
}

// RadiusExp returns e such that the radius is at most 2^e; math.MinInt32 for an exact value.
func (x Real) RadiusExp() int {
	if x.rad == nil || x.rad.Sign() == 0 {
		return math.MinInt32
	}
	if x.rad.IsInf() {
		return math.MaxInt32
	}
	return x.rad.MantExp(nil)
}

// MagExp returns e such that every number of the ball is at most 2^e in size.
func (x Real) MagExp() int {
	if !x.Known() {
		return math.MaxInt32
	}
	sum := newRad().Add(newRad().Set(x.absMid()), x.radius())
	if sum.Sign() == 0 {
		return math.MinInt32
	}
	return sum.MantExp(nil)
}

// ulp returns the unit in the last place of a rounded midpoint.
func ulp(mid *big.Float) *big.Float {
	if mid.Sign() == 0 || mid.IsInf() {
		return newRad()
	}
	return pow2(mid.MantExp(nil) - int(mid.Prec()))
}

func pow2(e int) *big.Float {
	return newRad().SetMantExp(newRad().SetInt64(1), e)
}

// settle makes a ball of a rounded midpoint and the radius so far.
func settle(mid, rad *big.Float) Real {
	if mid.IsInf() || rad.IsInf() {
		return Unknown()
	}
	if mid.Sign() != 0 {
		switch e := mid.MantExp(nil); {
		case e > maxMagnitude:
			return Unknown()
		case e < -maxMagnitude:
			rad.Add(rad, pow2(-maxMagnitude))
			mid = new(big.Float).SetPrec(mid.Prec())
			return Real{mid: mid, rad: rad}
		}
	}
	if rad.Sign() != 0 {
		switch e := rad.MantExp(nil); {
		case e > maxMagnitude:
			return Unknown()
		case e < -maxMagnitude:
			rad = pow2(-maxMagnitude)
		}
	}
	if mid.Acc() != big.Exact {
		rad.Add(rad, ulp(mid))
	}
	if rad.Sign() == 0 {
		return Real{mid: mid}
	}
	return Real{mid: mid, rad: rad}
}

// FromRat returns the ball of a rational number.
func (c *Context) FromRat(r *big.Rat) Real {
	if !c.spend(1, uint(len(r.Num().Bits())*64)) {
		return Unknown()
	}
	return settle(c.float().SetRat(r), newRad())
}

// FromInt64 returns the ball of a small integer.
func (c *Context) FromInt64(n int64) Real {
	return Real{mid: c.float().SetInt64(n)}
}

// WithRadius widens x by r, which must not be negative.
func (c *Context) WithRadius(x Real, r *big.Rat) Real {
	if !x.Known() {
		return x
	}
	rad := x.radius()
	rad.Add(rad, newRad().SetRat(r))
	return Real{mid: x.mid, rad: rad}
}

// Neg returns -x.
func (c *Context) Neg(x Real) Real {
	return Real{mid: new(big.Float).Neg(x.mid), rad: x.rad}
}

// Abs returns |x|.
func (c *Context) Abs(x Real) Real {
	switch {
	case !x.Known() || x.Sign() > 0:
		return x
	case x.Sign() < 0:
		return c.Neg(x)
	}
	// The ball contains zero: [0, |mid|+rad] lies within ±(|mid|+rad).
	return Real{mid: c.float(), rad: newRad().Add(newRad().Set(x.absMid()), x.radius())}
}

// Add returns x + y.
func (c *Context) Add(x, y Real) Real {
	if !x.Known() || !y.Known() || !c.spend(1, c.Prec) {
		return Unknown()
	}
	rad := x.radius()
	if y.rad != nil {
		rad.Add(rad, y.rad)
	}
	return settle(c.float().Add(x.mid, y.mid), rad)
}

// Sub returns x - y.
func (c *Context) Sub(x, y Real) Real { return c.Add(x, c.Neg(y)) }

// Mul returns x·y.
func (c *Context) Mul(x, y Real) Real {
	if !x.Known() || !y.Known() || !c.spend(1, c.Prec) {
		return Unknown()
	}
	rad := newRad()
	if x.rad != nil {
		rad.Mul(x.rad, newRad().Add(newRad().Set(y.absMid()), y.radius()))
	}
	if y.rad != nil {
		rad.Add(rad, newRad().Mul(newRad().Set(x.absMid()), y.rad))
	}
	return settle(c.float().Mul(x.mid, y.mid), rad)
}

// Div returns x/y, Unknown if y may be zero.
func (c *Context) Div(x, y Real) Real {
	if !x.Known() || y.Sign() == 0 || !c.spend(1, c.Prec) {
		return Unknown()
	}
	q := c.float().Quo(x.mid, y.mid)
	if x.rad == nil && y.rad == nil {
		return settle(q, newRad())
	}
	// |x'/y' - q| <= (rx + |q|·ry) / (|y| - ry)
	num := newRad().Mul(newRad().Set(new(big.Float).Abs(q)), y.radius())
	num.Add(num, ulpOrZero(q))
	num.Add(num, x.radius())
	den := new(big.Float).SetPrec(radPrec).SetMode(big.ToZero).Sub(y.absMid(), y.radius())
	if den.Sign() <= 0 {
		return Unknown()
	}
	return settle(q, newRad().Quo(num, den))
}

func ulpOrZero(x *big.Float) *big.Float {
	if x.Acc() == big.Exact {
		return newRad()
	}
	return ulp(x)
}

// Sqrt returns the square root of x, Unknown if x may be negative and is not almost zero.
func (c *Context) Sqrt(x Real) Real {
	if !x.Known() || !c.spend(2, c.Prec) {
		return Unknown()
	}
	if x.IsZero() {
		return Real{mid: c.float()}
	}
	switch x.Sign() {
	case -1:
		return Unknown()
	case 0:
		bound := newRad().Add(newRad().Set(x.absMid()), x.radius())
		root := newRad().Sqrt(bound)
		return Real{mid: c.float(), rad: root.Add(root, ulp(root))}
	}
	s := c.float().Sqrt(x.mid)
	rad := newRad()
	if x.rad != nil {
		// |√x' - √x| <= rx/√x for x' in the ball, since √x' >= 0.
		low := new(big.Float).SetPrec(radPrec).SetMode(big.ToZero).Set(s)
		rad.Quo(x.rad, low)
	}
	// big.Float.Sqrt does not promise an Accuracy, so the rounding error is always added.
	rad.Add(rad, ulp(s))
	if exactRoot(s, x.mid) && x.rad == nil {
		return Real{mid: s}
	}
	return settle(s, rad)
}

// exactRoot reports whether s·s is exactly x.
func exactRoot(s, x *big.Float) bool {
	return new(big.Float).SetPrec(2*s.Prec()+64).Mul(s, s).Cmp(x) == 0
}

// PowInt returns x to the power n by repeated squaring.
func (c *Context) PowInt(x Real, n *big.Int) Real {
	if !x.Known() {
		return x
	}
	if n.Sign() < 0 {
		return c.Div(c.FromInt64(1), c.PowInt(x, new(big.Int).Neg(n)))
	}
	out := c.FromInt64(1)
	for i := n.BitLen() - 1; i >= 0; i-- {
		out = c.Mul(out, out)
		if n.Bit(i) == 1 {
			out = c.Mul(out, x)
		}
		if !out.Known() {
			return out
		}
	}
	return out
}

// Floor returns the largest integer below every number of the ball; ok is false if the ball straddles one.
func (x Real) Floor() (n *big.Int, ok bool) {
	if !x.Known() || x.mid.MantExp(nil) > maxIntegerBits {
		return nil, false
	}
	prec := x.mid.Prec() + 64
	lo := new(big.Float).SetPrec(prec).SetMode(big.ToNegativeInf).Sub(x.mid, x.radius())
	hi := new(big.Float).SetPrec(prec).SetMode(big.ToPositiveInf).Add(x.mid, x.radius())
	a, b := floorInt(lo), floorInt(hi)
	return a, a.Cmp(b) == 0
}

// maxIntegerBits bounds the integers that Floor makes.
const maxIntegerBits = 1 << 14

func floorInt(x *big.Float) *big.Int {
	n, acc := x.Int(nil)
	if acc == big.Above { // truncated towards zero from a negative value
		n.Sub(n, big.NewInt(1))
	}
	return n
}
