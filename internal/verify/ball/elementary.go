package ball

import (
	"math"
	"math/big"
)

// Beyond 2^maxExpBits, and 2^maxAngleBits for sin and cos, the result is Unknown.
const (
	maxExpBits   = 17
	maxAngleBits = 60
)

// The kernels below work on exact midpoints at a precision with guard bits and return a value whose
// error is below 2^-Prec relative to max(1, |value|); the exported functions add the propagated radius.

// guard is the number of extra bits of a kernel that squares or halves steps times.
func guard(steps int) uint { return uint(2*steps + 24) }

func fl(prec uint) *big.Float { return new(big.Float).SetPrec(prec) }

// halvings is how often an argument is halved before its Taylor series: about the square root of the
// precision balances the squarings that undo it against the terms saved.
func halvings(prec uint) int { return int(math.Sqrt(float64(prec)))/2 + 2 }

// finish rounds a kernel's value to the context's precision and bounds its error.
func (c *Context) finish(v, propagated *big.Float) Real {
	mid := c.float().Set(v)
	e := 0
	if v.Sign() != 0 {
		e = max(0, mid.MantExp(nil))
	}
	rad := newRad().Add(propagated, pow2(e-int(c.Prec)+1))
	return settle(mid, rad)
}

// Exp returns e^x.
func (c *Context) Exp(x Real) Real {
	if x.IsZero() {
		return c.FromInt64(1)
	}
	if !x.Known() || x.mid.MantExp(nil) > maxExpBits || x.RadiusExp() > 0 || !c.spend(12, c.Prec) {
		return Unknown()
	}
	y := c.float().Set(c.expKernel(x.mid))
	// |e^(x+r) - e^x| <= e^x·2r for r <= 1; the kernel's error is relative.
	relative := newRad().Mul(newRad().SetInt64(2), x.radius())
	relative.Add(relative, pow2(2-int(c.Prec)))
	return settle(y, newRad().Mul(newRad().Set(y), relative))
}

// expKernel returns e^x with a relative error below 2^-Prec.
func (c *Context) expKernel(x *big.Float) *big.Float {
	s := halvings(c.Prec)
	wp := c.Prec + guard(s) + uint(max(0, x.MantExp(nil)))
	ln2 := c.constant(wp, ln2Const)
	k, _ := new(big.Float).SetPrec(64).Quo(x, ln2).Int64()
	r := fl(wp).Sub(fl(wp).Set(x), fl(wp).Mul(fl(wp).SetInt64(k), ln2))
	r.SetMantExp(r, -s)
	sum, term := fl(wp).SetInt64(1), fl(wp).SetInt64(1)
	for n := int64(1); ; n++ {
		term.Mul(term, r)
		term.Quo(term, fl(64).SetInt64(n))
		if term.Sign() == 0 || term.MantExp(nil) < -int(wp) {
			break
		}
		sum.Add(sum, term)
	}
	for i := 0; i < s; i++ {
		sum.Mul(sum, sum)
	}
	return sum.SetMantExp(sum, int(k))
}

// Log returns the natural logarithm of x, Unknown unless x is positive.
func (c *Context) Log(x Real) Real {
	if !x.Known() || x.Sign() <= 0 || !c.spend(12, c.Prec) {
		return Unknown()
	}
	rad := newRad()
	if x.rad != nil {
		low := new(big.Float).SetPrec(radPrec).SetMode(big.ToZero).Sub(x.mid, x.rad)
		rad.Quo(x.rad, low)
	}
	if x.rad == nil && x.mid.Cmp(big.NewFloat(1)) == 0 {
		return c.FromInt64(0)
	}
	return c.finish(c.logKernel(x.mid), rad)
}

// logKernel returns ln x: x = m·2^k, and ln m from the series of 2·artanh after some square roots.
func (c *Context) logKernel(x *big.Float) *big.Float {
	s := halvings(c.Prec)
	wp := c.Prec + guard(s) + 32
	m := fl(wp)
	k := x.MantExp(m)
	m.SetPrec(wp)
	for i := 0; i < s; i++ {
		m.Sqrt(m)
	}
	one := fl(wp).SetInt64(1)
	z := fl(wp).Quo(fl(wp).Sub(m, one), fl(wp).Add(m, one))
	sum := atanSeries(z, wp, +1)
	sum.SetMantExp(sum, s+1)
	return sum.Add(sum, fl(wp).Mul(fl(wp).SetInt64(int64(k)), c.constant(wp, ln2Const)))
}

// atanSeries returns Σ sign^n·z^(2n+1)/(2n+1): artanh z for sign +1, arctan z for -1.
func atanSeries(z *big.Float, wp uint, sign int) *big.Float {
	sum, power, z2 := fl(wp).Set(z), fl(wp).Set(z), fl(wp).Mul(z, z)
	if sign < 0 {
		z2.Neg(z2)
	}
	for n := int64(3); ; n += 2 {
		power.Mul(power, z2)
		if power.Sign() == 0 || power.MantExp(nil) < -int(wp) {
			return sum
		}
		sum.Add(sum, fl(wp).Quo(power, fl(64).SetInt64(n)))
	}
}

// SinCos returns the sine and the cosine of x in radians.
func (c *Context) SinCos(x Real) (sin, cos Real) {
	if x.IsZero() {
		return c.FromInt64(0), c.FromInt64(1)
	}
	if !x.Known() || x.mid.MantExp(nil) > maxAngleBits || !c.spend(16, c.Prec) {
		return Unknown(), Unknown()
	}
	s, co := c.sinCosKernel(x.mid)
	return c.finish(s, x.radius()), c.finish(co, x.radius())
}

// sinCosKernel halves the argument, sums both series and doubles the angle again.
func (c *Context) sinCosKernel(x *big.Float) (sin, cos *big.Float) {
	s := halvings(c.Prec)
	wp := c.Prec + guard(s) + uint(max(0, x.MantExp(nil)))
	twoPi := fl(wp).SetMantExp(c.constant(wp, piConst), 1)
	k, _ := new(big.Float).SetPrec(64).Quo(x, twoPi).Int64()
	r := fl(wp).Sub(fl(wp).Set(x), fl(wp).Mul(fl(wp).SetInt64(k), twoPi))
	s += 2
	r.SetMantExp(r, -s)
	sin, cos = fl(wp), fl(wp).SetInt64(1)
	term := fl(wp).SetInt64(1)
	for n := int64(1); ; n++ {
		term.Mul(term, r)
		term.Quo(term, fl(64).SetInt64(n))
		if term.Sign() == 0 || term.MantExp(nil) < -int(wp) {
			break
		}
		switch n % 4 {
		case 0:
			cos.Add(cos, term)
		case 1:
			sin.Add(sin, term)
		case 2:
			cos.Sub(cos, term)
		case 3:
			sin.Sub(sin, term)
		}
	}
	for i := 0; i < s; i++ {
		sc := fl(wp).Mul(sin, cos)
		cos.Sub(fl(wp).Mul(cos, cos), fl(wp).Mul(sin, sin))
		sin = sc.SetMantExp(sc, 1)
	}
	return sin, cos
}

// Atan returns the arc tangent of x.
func (c *Context) Atan(x Real) Real {
	if !x.Known() || !c.spend(12, c.Prec) {
		return Unknown()
	}
	if x.IsZero() {
		return c.FromInt64(0)
	}
	return c.finish(c.atanKernel(x.mid), x.radius())
}

func (c *Context) atanKernel(x *big.Float) *big.Float {
	s := halvings(c.Prec)
	wp := c.Prec + guard(s)
	one := fl(wp).SetInt64(1)
	z := fl(wp).Set(x)
	invert := z.MantExp(nil) > 0
	if invert {
		z.Quo(one, z)
	}
	// arctan z = 2·arctan(z/(1+√(1+z²)))
	for i := 0; i < s; i++ {
		root := fl(wp).Sqrt(fl(wp).Add(one, fl(wp).Mul(z, z)))
		z.Quo(z, root.Add(root, one))
	}
	sum := atanSeries(z, wp, -1)
	sum.SetMantExp(sum, s)
	if invert {
		half := fl(wp).SetMantExp(c.constant(wp, piConst), -1)
		if x.Sign() < 0 {
			half.Neg(half)
		}
		return half.Sub(half, sum)
	}
	return sum
}

// Pi returns π.
func (c *Context) Pi() Real {
	return c.finish(c.constant(c.Prec+16, piConst), newRad())
}

// Asin returns the arc sine of x, Unknown unless -1 <= x <= 1.
func (c *Context) Asin(x Real) Real {
	rest := c.Sub(c.FromInt64(1), c.Mul(x, x))
	if rest.IsZero() {
		half := c.Div(c.Pi(), c.FromInt64(2))
		if x.Sign() < 0 {
			half = c.Neg(half)
		}
		return half
	}
	return c.Atan(c.Div(x, c.Sqrt(rest)))
}

// Atan2 returns the angle of the point (x, y) in (-π, π], Unknown if the point may be the origin or the
// angle may lie on either side of the cut along the negative x axis.
func (c *Context) Atan2(y, x Real) Real {
	half := func() Real { return c.Div(c.Pi(), c.FromInt64(2)) }
	switch {
	case x.Sign() > 0:
		return c.Atan(c.Div(y, x))
	case y.Sign() > 0:
		return c.Sub(half(), c.Atan(c.Div(x, y)))
	case y.Sign() < 0:
		return c.Sub(c.Neg(half()), c.Atan(c.Div(x, y)))
	case y.IsZero() && x.Sign() < 0:
		return c.Pi()
	}
	return Unknown()
}
