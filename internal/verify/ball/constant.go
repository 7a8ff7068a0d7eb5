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

// constantPrec is the precision to which constants are computed once. It exceeds every working precision.
const constantPrec = 4096

var constants = [...]func() *big.Float{
	piConst:  sync.OnceValue(computePi),
	ln2Const: sync.OnceValue(computeLn2),
}

// constant returns a fresh copy of a constant rounded to prec bits.
func (c *Context) constant(prec uint, name constantName) *big.Float {
	return fl(min(prec, constantPrec)).Set(constants[name]())
}

// computePi is Machin's formula: π = 16·arctan(1/5) - 4·arctan(1/239).
func computePi() *big.Float {
	wp := uint(constantPrec + 64)
	a := atanSeries(fl(wp).Quo(fl(wp).SetInt64(1), fl(wp).SetInt64(5)), wp, -1)
	b := atanSeries(fl(wp).Quo(fl(wp).SetInt64(1), fl(wp).SetInt64(239)), wp, -1)
	return a.Sub(a.SetMantExp(a, 4), b.SetMantExp(b, 2))
}

// computeLn2 is 2·artanh(1/3).
func computeLn2() *big.Float {
	wp := uint(constantPrec + 64)
	z := atanSeries(fl(wp).Quo(fl(wp).SetInt64(1), fl(wp).SetInt64(3)), wp, +1)
	return z.SetMantExp(z, 1)
}
