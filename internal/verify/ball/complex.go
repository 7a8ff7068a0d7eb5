package ball

import "math/big"

// Complex is a rectangle of complex numbers.
type Complex struct{ Re, Im Real }

// FromReal returns the complex number with imaginary part zero.
func (c *Context) FromReal(x Real) Complex { return Complex{Re: x, Im: c.FromInt64(0)} }

// Known reports whether both parts are bounded.
func (z Complex) Known() bool { return z.Re.Known() && z.Im.Known() }

// IsReal reports whether the imaginary part is exactly zero.
func (z Complex) IsReal() bool { return z.Im.IsZero() }

// ContainsZero reports whether zero may be the value.
func (z Complex) ContainsZero() bool { return z.Re.ContainsZero() && z.Im.ContainsZero() }

// CNeg returns -z.
func (c *Context) CNeg(z Complex) Complex { return Complex{c.Neg(z.Re), c.Neg(z.Im)} }

// CAdd returns z + w.
func (c *Context) CAdd(z, w Complex) Complex { return Complex{c.Add(z.Re, w.Re), c.Add(z.Im, w.Im)} }

// CSub returns z - w.
func (c *Context) CSub(z, w Complex) Complex { return c.CAdd(z, c.CNeg(w)) }

// CMul returns z·w.
func (c *Context) CMul(z, w Complex) Complex {
	if z.IsReal() && w.IsReal() {
		return c.FromReal(c.Mul(z.Re, w.Re))
	}
	return Complex{
		c.Sub(c.Mul(z.Re, w.Re), c.Mul(z.Im, w.Im)),
		c.Add(c.Mul(z.Re, w.Im), c.Mul(z.Im, w.Re)),
	}
}

// CDiv returns z/w, Unknown if w may be zero.
func (c *Context) CDiv(z, w Complex) Complex {
	if w.IsReal() {
		if z.IsReal() {
			return c.FromReal(c.Div(z.Re, w.Re))
		}
		return Complex{c.Div(z.Re, w.Re), c.Div(z.Im, w.Re)}
	}
	n := c.Add(c.Mul(w.Re, w.Re), c.Mul(w.Im, w.Im))
	p := c.CMul(z, Complex{w.Re, c.Neg(w.Im)})
	return Complex{c.Div(p.Re, n), c.Div(p.Im, n)}
}

// CAbs returns |z|.
func (c *Context) CAbs(z Complex) Real {
	if z.IsReal() {
		return c.Abs(z.Re)
	}
	return c.Sqrt(c.Add(c.Mul(z.Re, z.Re), c.Mul(z.Im, z.Im)))
}

// CPowInt returns z to an integer power.
func (c *Context) CPowInt(z Complex, n *big.Int) Complex {
	if z.IsReal() {
		return c.FromReal(c.PowInt(z.Re, n))
	}
	if n.Sign() < 0 {
		return c.CDiv(c.FromReal(c.FromInt64(1)), c.CPowInt(z, new(big.Int).Neg(n)))
	}
	out := c.FromReal(c.FromInt64(1))
	for i := n.BitLen() - 1; i >= 0; i-- {
		out = c.CMul(out, out)
		if n.Bit(i) == 1 {
			out = c.CMul(out, z)
		}
		if !out.Known() {
			break
		}
	}
	return out
}

// CSqrt returns the principal square root of z.
func (c *Context) CSqrt(z Complex) Complex {
	if z.IsReal() {
		if z.Re.Sign() < 0 {
			return Complex{c.FromInt64(0), c.Sqrt(c.Neg(z.Re))}
		}
		return c.FromReal(c.Sqrt(z.Re))
	}
	half := c.FromRat(big.NewRat(1, 2))
	if z.Re.Sign() >= 0 && !z.Re.IsZero() {
		// re = √((|z|+a)/2), im = b/(2·re)
		re := c.Sqrt(c.Mul(half, c.Add(c.CAbs(z), z.Re)))
		return Complex{re, c.Div(c.Mul(half, z.Im), re)}
	}
	if z.Im.Sign() == 0 {
		return Complex{Unknown(), Unknown()}
	}
	im := c.Sqrt(c.Mul(half, c.Sub(c.CAbs(z), z.Re)))
	if z.Im.Sign() < 0 {
		im = c.Neg(im)
	}
	return Complex{c.Div(c.Mul(half, z.Im), im), im}
}

// CExp returns e^z.
func (c *Context) CExp(z Complex) Complex {
	r := c.Exp(z.Re)
	if z.IsReal() {
		return c.FromReal(r)
	}
	sin, cos := c.SinCos(z.Im)
	return Complex{c.Mul(r, cos), c.Mul(r, sin)}
}

// CLog returns the principal logarithm of z.
func (c *Context) CLog(z Complex) Complex {
	if z.IsReal() && z.Re.Sign() > 0 {
		return c.FromReal(c.Log(z.Re))
	}
	return Complex{c.Log(c.CAbs(z)), c.Atan2(z.Im, z.Re)}
}

// CSinCos returns the sine and the cosine of z.
func (c *Context) CSinCos(z Complex) (sin, cos Complex) {
	s, co := c.SinCos(z.Re)
	if z.IsReal() {
		return c.FromReal(s), c.FromReal(co)
	}
	e := c.Exp(z.Im)
	inv := c.Div(c.FromInt64(1), e)
	half := c.FromRat(big.NewRat(1, 2))
	cosh, sinh := c.Mul(half, c.Add(e, inv)), c.Mul(half, c.Sub(e, inv))
	return Complex{c.Mul(s, cosh), c.Mul(co, sinh)}, Complex{c.Mul(co, cosh), c.Neg(c.Mul(s, sinh))}
}
