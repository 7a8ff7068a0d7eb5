package verify

import (
	"math/big"
	"strings"

	"multiattempt/internal/verify/ball"
)

// maxExactFactorial is the largest n whose factorial is written down.
const maxExactFactorial = 3000

// trigonometric functions read degrees as angles.
var trigonometric = nameSet("sin cos tan cot sec csc")

// call computes a function's value. Functions without a known meaning stand for themselves: the same
// function of equal arguments has the same value.
func (e *evaluator) call(n *node) (value, error) {
	if !knownFunctions[n.name] {
		return exact(e.point.atom(n, e.bound, &e.ctx.Fuel)), nil
	}
	if trigonometric[n.name] {
		outer := e.degrees
		e.degrees = true
		defer func() { e.degrees = outer }()
	}
	args := make([]value, len(n.kids))
	for i, k := range n.kids {
		v, err := e.eval(k)
		if err != nil {
			return value{}, err
		}
		args[i] = v
	}
	switch n.name {
	case "floor", "ceil", "factorial", "factorial2", "binom", "gcd", "lcm", "mod":
		return e.discrete(n.name, args)
	case "max", "min":
		return e.extremum(n.name, args)
	case "abs", "Re", "Im", "conj", "sgn", "arg":
		return e.part(n.name, args[0])
	}
	return e.elementary(n.name, args[0])
}

// discrete computes functions of whole numbers.
func (e *evaluator) discrete(name string, args []value) (value, error) {
	x := args[0]
	if name == "floor" || name == "ceil" {
		if name == "ceil" {
			x = e.negate(x)
		}
		n, err := e.floor(x)
		if err == nil && name == "ceil" {
			n.Neg(n)
		}
		if err != nil {
			return value{}, err
		}
		return exact(new(big.Rat).SetInt(n)), nil
	}
	for _, a := range args {
		if a.rat == nil {
			return value{}, errUndefined
		}
	}
	switch name {
	case "factorial", "factorial2":
		return e.factorial(x.rat, name == "factorial2")
	case "binom":
		return e.binomial(x.rat, args[1].rat)
	case "mod":
		if args[1].rat.Sign() == 0 {
			return value{}, errUndefined
		}
		q, err := e.floor(exact(new(big.Rat).Quo(x.rat, args[1].rat)))
		if err != nil {
			return value{}, err
		}
		return e.small(new(big.Rat).Sub(x.rat, new(big.Rat).Mul(new(big.Rat).SetInt(q), args[1].rat)))
	}
	acc := new(big.Int)
	for i, a := range args {
		if !a.rat.IsInt() {
			return value{}, errUndefined
		}
		m := new(big.Int).Abs(a.rat.Num())
		switch {
		case i == 0:
			acc = m
		case name == "gcd":
			acc = new(big.Int).GCD(nil, nil, acc, m)
		case acc.Sign() == 0 || m.Sign() == 0:
			acc = new(big.Int)
		default:
			acc = new(big.Int).Mul(acc, new(big.Int).Quo(m, new(big.Int).GCD(nil, nil, acc, m)))
		}
	}
	return e.small(new(big.Rat).SetInt(acc))
}

func (e *evaluator) floor(x value) (*big.Int, error) {
	if x.rat != nil {
		return new(big.Int).Div(x.rat.Num(), x.rat.Denom()), nil // Euclidean: the floor, as Denom > 0
	}
	if !x.z.IsReal() {
		return nil, errUndefined
	}
	n, ok := x.z.Re.Floor()
	if !ok {
		return nil, errVague
	}
	return n, nil
}

// factorial computes n! or n!!.
func (e *evaluator) factorial(r *big.Rat, double bool) (value, error) {
	if !r.IsInt() || r.Sign() < 0 {
		return value{}, errUndefined
	}
	if !r.Num().IsInt64() || r.Num().Int64() > maxExactFactorial {
		return value{}, errHuge
	}
	n := r.Num().Int64()
	e.ctx.Fuel -= int(n / 16)
	acc := big.NewInt(1)
	if double {
		for ; n > 1; n -= 2 {
			acc.Mul(acc, big.NewInt(n))
		}
	} else if n > 1 {
		acc.MulRange(2, n)
	}
	return e.small(new(big.Rat).SetInt(acc))
}

// binomial computes n·(n-1)···(n-k+1)/k! for a whole number k.
func (e *evaluator) binomial(n, k *big.Rat) (value, error) {
	if !k.IsInt() || k.Num().CmpAbs(big.NewInt(maxExactFactorial)) > 0 || ratBits(n) > 256 {
		return value{}, errUndefined
	}
	if k.Sign() < 0 {
		return exactInt(0), nil
	}
	if n.IsInt() && n.Sign() >= 0 && n.Num().IsInt64() && n.Num().Int64() <= maxExactFactorial {
		e.ctx.Fuel -= int(n.Num().Int64() / 16)
		return e.small(new(big.Rat).SetInt(new(big.Int).Binomial(n.Num().Int64(), k.Num().Int64())))
	}
	acc := big.NewRat(1, 1)
	for j := int64(0); j < k.Num().Int64(); j++ {
		factor := new(big.Rat).Sub(n, big.NewRat(j, 1))
		acc.Mul(acc, factor.Quo(factor, big.NewRat(j+1, 1)))
		if e.ctx.Fuel -= 1 + ratBits(acc)/128; e.ctx.Fuel < 0 || ratBits(acc) > 2*maxRatBits {
			return value{}, errLimit
		}
	}
	return e.small(acc)
}

func (e *evaluator) extremum(name string, args []value) (value, error) {
	best := args[0]
	for _, a := range args[1:] {
		d, err := e.add(a, e.negate(best))
		if err != nil {
			return value{}, err
		}
		s, err := e.sign(d)
		if err != nil {
			return value{}, err
		}
		if name == "max" && s > 0 || name == "min" && s < 0 {
			best = a
		}
	}
	return best, nil
}

// sign is the sign of a real value.
func (e *evaluator) sign(v value) (int, error) {
	if v.rat != nil {
		return v.rat.Sign(), nil
	}
	if !v.z.IsReal() {
		return 0, errUndefined
	}
	if s := v.z.Re.Sign(); s != 0 || v.z.Re.IsZero() {
		return s, nil
	}
	return 0, errVague
}

// part computes functions that take a complex number apart.
func (e *evaluator) part(name string, x value) (value, error) {
	if x.rat != nil {
		switch name {
		case "abs":
			return exact(new(big.Rat).Abs(x.rat)), nil
		case "Re", "conj":
			return x, nil
		case "Im":
			return exactInt(0), nil
		case "sgn":
			return exactInt(int64(x.rat.Sign())), nil
		}
	}
	z := e.complex(x)
	switch name {
	case "abs":
		return e.settle(e.ctx.FromReal(e.ctx.CAbs(z)))
	case "Re":
		return e.settle(e.ctx.FromReal(z.Re))
	case "Im":
		return e.settle(e.ctx.FromReal(z.Im))
	case "conj":
		return e.settle(ball.Complex{Re: z.Re, Im: e.ctx.Neg(z.Im)})
	case "arg":
		return e.settle(e.ctx.FromReal(e.ctx.Atan2(z.Im, z.Re)))
	}
	s, err := e.sign(x)
	return exactInt(int64(s)), err
}

// elementary computes logarithms, circular and hyperbolic functions and their inverses.
func (e *evaluator) elementary(name string, x value) (value, error) {
	c := e.ctx
	if x.rat != nil && x.rat.Sign() == 0 {
		switch name {
		case "sin", "tan", "arcsin", "arctan", "sinh", "tanh", "arcsinh", "arctanh":
			return x, nil
		case "cos", "sec", "cosh", "sech":
			return exactInt(1), nil
		case "ln", "cot", "csc", "coth", "csch":
			return value{}, errUndefined
		}
	}
	z := e.complex(x)
	switch name {
	case "ln":
		if x.rat != nil && isPlusMinusOne(x.rat) && x.rat.Sign() > 0 {
			return exactInt(0), nil
		}
		if z.ContainsZero() {
			return value{}, errVague
		}
		return e.settle(c.CLog(z))
	case "sin", "cos", "tan", "cot", "sec", "csc":
		sin, cos := c.CSinCos(z)
		return e.ratio(name, sin, cos)
	case "sinh", "cosh", "tanh", "coth", "sech", "csch":
		ex := c.CExp(z)
		inv := c.CDiv(c.FromReal(c.FromInt64(1)), ex)
		half := c.FromReal(c.FromRat(big.NewRat(1, 2)))
		return e.ratio(strings.TrimSuffix(name, "h"), c.CMul(half, c.CSub(ex, inv)), c.CMul(half, c.CAdd(ex, inv)))
	}
	if !z.IsReal() {
		return value{}, errUndefined
	}
	return e.inverse(name, x, z.Re)
}

// ratio builds the six functions from (hyperbolic) sine and cosine.
func (e *evaluator) ratio(name string, sin, cos ball.Complex) (value, error) {
	c := e.ctx
	one := c.FromReal(c.FromInt64(1))
	switch name {
	case "sin":
		return e.settle(sin)
	case "cos":
		return e.settle(cos)
	case "tan":
		return e.settle(c.CDiv(sin, cos))
	case "cot":
		return e.settle(c.CDiv(cos, sin))
	case "sec":
		return e.settle(c.CDiv(one, cos))
	}
	return e.settle(c.CDiv(one, sin))
}

// inverse computes the inverse functions of a real number.
func (e *evaluator) inverse(name string, v value, x ball.Real) (value, error) {
	c := e.ctx
	one := c.FromInt64(1)
	outside := func(y ball.Real) bool { return c.Sub(c.Abs(y), one).Sign() > 0 }
	half := func() ball.Real { return c.Div(c.Pi(), c.FromInt64(2)) }
	var y ball.Real
	switch name {
	case "arcsin", "arccos":
		if outside(x) {
			return value{}, errUndefined
		}
		if y = c.Asin(x); name == "arccos" {
			y = c.Sub(half(), y)
		}
	case "arcsec", "arccsc":
		inv := c.Div(one, x)
		if outside(inv) {
			return value{}, errUndefined
		}
		if y = c.Asin(inv); name == "arcsec" {
			y = c.Sub(half(), y)
		}
	case "arctan":
		y = c.Atan(x)
	case "arccot":
		y = c.Sub(half(), c.Atan(x))
	case "arcsinh":
		y = c.Log(c.Add(x, c.Sqrt(c.Add(c.Mul(x, x), one))))
	case "arccosh":
		if c.Sub(x, one).Sign() < 0 {
			return value{}, errUndefined
		}
		y = c.Log(c.Add(x, c.Sqrt(c.Sub(c.Mul(x, x), one))))
	case "arctanh":
		if outside(x) || v.rat != nil && isPlusMinusOne(v.rat) {
			return value{}, errUndefined
		}
		y = c.Div(c.Log(c.Div(c.Add(one, x), c.Sub(one, x))), c.FromInt64(2))
	default:
		return value{}, errUndefined
	}
	return e.settle(c.FromReal(y))
}
