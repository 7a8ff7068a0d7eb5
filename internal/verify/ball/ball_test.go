package ball_test

import (
	"math"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/verify/ball"
)

// near requires that a ball holds want up to float64 accuracy and is narrow.
func near(t *testing.T, name string, x ball.Real, want float64) {
	t.Helper()
	require.True(t, x.Known(), name)
	got, _ := x.Mid().Float64()
	require.InDelta(t, want, got, 1e-12*math.Max(1, math.Abs(want)), name)
	require.LessOrEqual(t, x.RadiusExp(), max(-90+x.MagExp(), math.MinInt32), name)
}

func TestElementaryFunctionsAgreeWithFloat64(t *testing.T) {
	for _, prec := range []uint{128, 512, 1024} {
		for _, v := range []float64{-20.25, -3, -0.5, 0.001, 0.5, 0.75, 1, 1.5, 2, 10, 100.125} {
			c := &ball.Context{Prec: prec, Fuel: 1 << 20}
			x := c.FromRat(new(big.Rat).SetFloat64(v))
			near(t, "exp", c.Exp(x), math.Exp(v))
			sin, cos := c.SinCos(x)
			near(t, "sin", sin, math.Sin(v))
			near(t, "cos", cos, math.Cos(v))
			near(t, "atan", c.Atan(x), math.Atan(v))
			if v > 0 {
				near(t, "log", c.Log(x), math.Log(v))
				near(t, "sqrt", c.Sqrt(x), math.Sqrt(v))
			}
			if math.Abs(v) <= 1 {
				near(t, "asin", c.Asin(x), math.Asin(v))
			}
		}
	}
}

// TestIdentitiesHold checks that balls of equal numbers overlap tightly at every precision: an error bound
// that is too small would separate them.
func TestIdentitiesHold(t *testing.T) {
	for _, prec := range []uint{64, 128, 192, 256, 512, 1024, 2048} {
		c := &ball.Context{Prec: prec, Fuel: 1 << 24}
		for n := int64(1); n < 40; n++ {
			x := c.FromRat(big.NewRat(n*7919%1000+1, 137))
			one := c.FromInt64(1)
			sin, cos := c.SinCos(x)
			for name, zero := range map[string]ball.Real{
				"sin²+cos²-1":  c.Sub(c.Add(c.Mul(sin, sin), c.Mul(cos, cos)), one),
				"exp(log x)-x": c.Sub(c.Exp(c.Log(x)), x),
				"log(exp x)-x": c.Sub(c.Log(c.Exp(x)), x),
				"√x²-x":        c.Sub(c.Mul(c.Sqrt(x), c.Sqrt(x)), x),
				"atan-complement": c.Sub(c.Add(c.Atan(x), c.Atan(c.Div(one, x))),
					c.Div(c.Pi(), c.FromInt64(2))),
				"tan(atan x)-x": func() ball.Real {
					s, co := c.SinCos(c.Atan(x))
					return c.Sub(c.Div(s, co), x)
				}(),
				"e^(2x)-(e^x)²": c.Sub(c.Exp(c.Add(x, x)), c.PowInt(c.Exp(x), big.NewInt(2))),
			} {
				require.True(t, zero.Known(), name)
				require.True(t, zero.ContainsZero(), "%s at %d bits, n=%d", name, prec, n)
				require.Less(t, zero.RadiusExp(), 60-int(prec), "%s at %d bits", name, prec)
			}
		}
	}
}

func TestUnknownWhereUndefined(t *testing.T) {
	c := &ball.Context{Prec: 128, Fuel: 1 << 20}
	require.False(t, c.Div(c.FromInt64(1), c.FromInt64(0)).Known())
	require.False(t, c.Log(c.FromInt64(0)).Known())
	require.False(t, c.Sqrt(c.FromInt64(-1)).Known())
	require.False(t, c.Asin(c.FromInt64(2)).Known())
	require.False(t, c.Exp(c.FromInt64(1<<20)).Known())
	require.False(t, c.PowInt(c.FromInt64(10), new(big.Int).Exp(big.NewInt(10), big.NewInt(10), nil)).Known())
	c.Fuel = 0
	require.False(t, c.Exp(c.FromInt64(1)).Known(), "no work is done without fuel")
}

func TestFloor(t *testing.T) {
	c := &ball.Context{Prec: 128, Fuel: 1 << 20}
	n, ok := c.Sqrt(c.FromInt64(80)).Floor()
	require.True(t, ok)
	require.Equal(t, int64(8), n.Int64())
	n, ok = c.Neg(c.Sqrt(c.FromInt64(80))).Floor()
	require.True(t, ok)
	require.Equal(t, int64(-9), n.Int64())
	n, ok = c.Sqrt(c.FromInt64(81)).Floor()
	require.True(t, ok, "exact roots are exact")
	require.Equal(t, int64(9), n.Int64())
}

func TestComplex(t *testing.T) {
	c := &ball.Context{Prec: 256, Fuel: 1 << 20}
	// e^{iπ} + 1 = 0
	z := c.CExp(ball.Complex{Re: c.FromInt64(0), Im: c.Pi()})
	require.True(t, c.CAdd(z, c.FromReal(c.FromInt64(1))).ContainsZero())
	// √(3+4i) = 2+i and √(-3-4i) = 1-2i
	r := c.CSqrt(ball.Complex{Re: c.FromInt64(3), Im: c.FromInt64(4)})
	require.True(t, c.CSub(r, ball.Complex{Re: c.FromInt64(2), Im: c.FromInt64(1)}).ContainsZero())
	r = c.CSqrt(ball.Complex{Re: c.FromInt64(-3), Im: c.FromInt64(-4)})
	require.True(t, c.CSub(r, ball.Complex{Re: c.FromInt64(1), Im: c.FromInt64(-2)}).ContainsZero())
}

func BenchmarkKernels(b *testing.B) {
	for _, prec := range []uint{128, 256, 1024} {
		c := &ball.Context{Prec: prec}
		x := c.FromInt64(0)
		b.Run("exp/"+itoa(prec), func(b *testing.B) {
			for b.Loop() {
				c.Fuel = 1 << 30
				x = c.FromRat(big.NewRat(22, 7))
				c.Exp(x)
			}
		})
		b.Run("log/"+itoa(prec), func(b *testing.B) {
			for b.Loop() {
				c.Fuel = 1 << 30
				c.Log(x)
			}
		})
		b.Run("sincos/"+itoa(prec), func(b *testing.B) {
			for b.Loop() {
				c.Fuel = 1 << 30
				c.SinCos(x)
			}
		})
		b.Run("mul/"+itoa(prec), func(b *testing.B) {
			c.Fuel = 1 << 30
			y := c.Sqrt(x)
			for b.Loop() {
				c.Fuel = 1 << 30
				c.Mul(y, y)
			}
		})
	}
}

func itoa(n uint) string { return big.NewInt(int64(n)).String() }
