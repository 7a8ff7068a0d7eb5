package ball

import (
	"math/big"
	"sync"
)

type constantName int

const (
	piConst constantName = iota
	ln2Const
)

// constantPrec is the precision to which constants are computed once: enough for a working precision of
// 1,024 bits with its guard bits. Higher ones compute them anew.
const constantPrec = 1280

var (
	compute = [...]func(prec uint) *big.Float{piConst: computePi, ln2Const: computeLn2}
	known   = [...]func() *big.Float{
		piConst:  sync.OnceValue(func() *big.Float { return computePi(constantPrec) }),
		ln2Const: sync.OnceValue(func() *big.Float { return computeLn2(constantPrec) }),
	}
)

// constant returns a fresh copy of a constant to prec bits.
func (c *Context) constant(prec uint, name constantName) *big.Float {
	if prec > constantPrec {
		return compute[name](prec)
	}
	return fl(prec).Set(known[name]())
}

// computePi is Machin's formula: π = 16·arctan(1/5) - 4·arctan(1/239).
func computePi(prec uint) *big.Float {
	wp := prec + 64
	a := atanSeries(fl(wp).Quo(fl(wp).SetInt64(1), fl(wp).SetInt64(5)), wp, -1)
	b := atanSeries(fl(wp).Quo(fl(wp).SetInt64(1), fl(wp).SetInt64(239)), wp, -1)
	return a.Sub(a.SetMantExp(a, 4), b.SetMantExp(b, 2))
}

// computeLn2 is 2·artanh(1/3).
func computeLn2(prec uint) *big.Float {
	wp := prec + 64
	z := atanSeries(fl(wp).Quo(fl(wp).SetInt64(1), fl(wp).SetInt64(3)), wp, +1)
	return z.SetMantExp(z, 1)
}
