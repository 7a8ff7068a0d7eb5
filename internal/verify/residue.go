package verify

import (
	"math/big"
	"math/bits"
	"strconv"
)

// Polynomial identity testing (Schwartz 1980, Zippel 1979): two rational expressions are evaluated modulo
// large primes at pseudo-random points. Different residues prove that they differ; the chance that
// expressions of degree d that differ agree at one point is at most d/p.

// prime is a modulus p ≡ 1 (mod 4) with a root of -1, so that i has a residue too.
type prime struct{ p, i uint64 }

var primes = [...]prime{newPrime(1<<61 - 31), newPrime(1<<60 - 173)}

// newPrime finds the largest prime p ≡ 1 (mod 4) up to limit and a square root of -1 modulo p.
func newPrime(limit uint64) prime {
	p := limit - limit%4 + 1
	for p > limit || !new(big.Int).SetUint64(p).ProbablyPrime(20) {
		p -= 4
	}
	m := prime{p: p}
	for g := uint64(2); ; g++ {
		// g^((p-1)/4) is a root of -1 exactly if g is no square.
		if r := m.pow(g, (p-1)/4); m.mul(r, r) == p-1 {
			m.i = r
			return m
		}
	}
}

func (m prime) mul(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	_, rem := bits.Div64(hi, lo, m.p)
	return rem
}

func (m prime) add(a, b uint64) uint64 {
	if s := a + b; s < m.p {
		return s
	}
	return a + b - m.p
}

func (m prime) neg(a uint64) uint64 {
	if a == 0 {
		return 0
	}
	return m.p - a
}

func (m prime) pow(a, n uint64) uint64 {
	out := uint64(1)
	for a %= m.p; n > 0; n >>= 1 {
		if n&1 == 1 {
			out = m.mul(out, a)
		}
		a = m.mul(a, a)
	}
	return out
}

// div returns a/b; ok is false if b is zero.
func (m prime) div(a, b uint64) (uint64, bool) {
	if b == 0 {
		return 0, false
	}
	return m.mul(a, m.pow(b, m.p-2)), true
}

func (m prime) big(n *big.Int) uint64 {
	return new(big.Int).Mod(n, new(big.Int).SetUint64(m.p)).Uint64()
}

func (m prime) rat(r *big.Rat) (uint64, bool) { return m.div(m.big(r.Num()), m.big(r.Denom())) }

// residues computes residues of expressions modulo one prime at one point.
type residues struct {
	prime
	point point
	fuel  *int
}

// isRational reports whether an expression consists of numbers, variables, i, functions that stand for
// themselves, the four operations, integer powers, factorials and binomials of integers: what residues can
// compute. At most one of π and e may occur, as a variable, since it is transcendental.
func isRational(n *node, transcendental *string, fuel *int) bool {
	switch n.kind {
	case kNum, kSym:
		return true
	case kConst:
		if n.name == "pi" || n.name == "e" {
			if *transcendental == "" {
				*transcendental = n.name
			}
			return *transcendental == n.name
		}
		return n.name == "i"
	case kAdd, kMul, kNeg, kDiv:
		for _, k := range n.kids {
			if !isRational(k, transcendental, fuel) {
				return false
			}
		}
		return true
	case kPow:
		return isRational(n.kids[0], transcendental, fuel) && integerValue(n.kids[1], fuel) != nil
	case kCall:
		switch n.name {
		case "factorial":
			v := integerValue(n.kids[0], fuel)
			return v != nil && v.Sign() >= 0 && v.IsInt64() && v.Int64() <= maxFactorial
		case "binom":
			a, b := integerValue(n.kids[0], fuel), integerValue(n.kids[1], fuel)
			return a != nil && b != nil && a.IsInt64() && b.Sign() >= 0 && a.Cmp(b) >= 0 && a.Int64() <= maxFactorial
		}
		return !knownFunctions[n.name]
	}
	return false
}

// integerValue folds a constant integer expression of moderate size; nil if it is none.
func integerValue(n *node, fuel *int) *big.Int {
	if n.hasSymbol() {
		return nil
	}
	r := rationalValue(n, fuel)
	if r == nil || !r.IsInt() || r.Num().BitLen() > 512 {
		return nil
	}
	return r.Num()
}

// eval returns the residue of n; ok is false where n is undefined modulo the prime, or fuel ran out.
func (r residues) eval(n *node) (v uint64, ok bool) {
	if *r.fuel--; *r.fuel < 0 {
		return 0, false
	}
	switch n.kind {
	case kNum:
		return r.rat(n.rat)
	case kSym:
		return r.point.hash(n.name) % r.p, true
	case kConst:
		if n.name == "i" {
			return r.i, true
		}
		return r.point.hash("const "+n.name) % r.p, true
	case kAdd, kMul:
		if v, ok = r.eval(n.kids[0]); !ok {
			return 0, false
		}
		for _, k := range n.kids[1:] {
			w, ok := r.eval(k)
			if !ok {
				return 0, false
			}
			if n.kind == kAdd {
				v = r.add(v, w)
			} else {
				v = r.mul(v, w)
			}
		}
		return v, true
	case kNeg:
		v, ok = r.eval(n.kids[0])
		return r.neg(v), ok
	case kDiv:
		a, okA := r.eval(n.kids[0])
		b, okB := r.eval(n.kids[1])
		if !okA || !okB {
			return 0, false
		}
		return r.div(a, b)
	case kPow:
		return r.power(n)
	case kCall:
		return r.call(n)
	}
	return 0, false
}

func (r residues) power(n *node) (uint64, bool) {
	base, ok := r.eval(n.kids[0])
	exponent := integerValue(n.kids[1], r.fuel)
	if !ok || exponent == nil || base == 0 && exponent.Sign() < 0 {
		return 0, false
	}
	if base == 0 {
		if exponent.Sign() == 0 {
			return 1, true
		}
		return 0, true
	}
	reduced := new(big.Int).Mod(exponent, new(big.Int).SetUint64(r.p-1)) // Fermat
	return r.pow(base, reduced.Uint64()), true
}

func (r residues) call(n *node) (uint64, bool) {
	switch n.name {
	case "factorial":
		if a := integerValue(n.kids[0], r.fuel); a != nil {
			return r.factorial(a.Int64()), true
		}
		return 0, false
	case "binom":
		a, b := integerValue(n.kids[0], r.fuel), integerValue(n.kids[1], r.fuel)
		if a == nil || b == nil {
			return 0, false
		}
		return r.div(r.factorial(a.Int64()), r.mul(r.factorial(b.Int64()), r.factorial(a.Int64()-b.Int64())))
	}
	return r.point.hash(atomKey(n, nil, r.fuel)) % r.p, true
}

func (r residues) factorial(n int64) uint64 {
	if *r.fuel -= int(n / 64); *r.fuel < 0 {
		return 0
	}
	out := uint64(1)
	for k := uint64(2); k <= uint64(n); k++ {
		out = r.mul(out, k)
	}
	return out
}

// residueKey is a fingerprint of a rational expression: equal expressions have equal keys.
func residueKey(n *node, fuel *int) (string, bool) {
	transcendental := ""
	if !isRational(n, &transcendental, fuel) {
		return "", false
	}
	key := "#"
	for _, m := range primes {
		v, ok := residues{prime: m, fuel: fuel}.eval(n)
		if !ok {
			return "", false
		}
		key += strconv.FormatUint(v, 36) + "."
	}
	return key, true
}
