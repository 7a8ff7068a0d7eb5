package verify

import (
	"errors"
	"math"
	"math/big"

	"multiattempt/internal/verify/ball"
)

// outcome is the result of a comparison.
type outcome uint8

const (
	different outcome = iota
	same
	undecided // a work limit was reached
)

// result is an outcome with the policy that led to it.
type result struct {
	outcome outcome
	rule    string
}

// comparer holds the work left for one comparison.
type comparer struct{ fuel int }

// precisions are the steps, in bits, in which constants are told apart. The last one exceeds the root
// bounds of the radical expressions of competition answers, so that agreement at it means equality.
var precisions = [...]uint{128, 320, 1024}

// pointPrecisions are the steps for expressions in variables: random points need less.
var pointPrecisions = [...]uint{128, 320}

const (
	// wantPoints is how many points must agree before two expressions in variables are called equal.
	wantPoints = 8
	// minPoints is how many suffice if the gold answer is defined at no more.
	minPoints = 2
	// maxPoints is how many points are tried.
	maxPoints = 30
	// agreement is how small, relative to the values and in bits, a difference must be to count as zero.
	agreement = 64
)

// scalars decides whether two expressions are equal.
func (c *comparer) scalars(gold, pred *node) result {
	if gold.kind == kNum && pred.kind == kNum {
		return decide(gold.rat.Cmp(pred.rat) == 0, "exact")
	}
	if c.identical(gold, pred) {
		return result{same, "identical"}
	}
	gold, pred = alignImaginary(gold, pred)
	if gold.has(isInfinity) || pred.has(isInfinity) {
		return infinite(gold, pred)
	}
	symbols := gold.hasSymbol() || pred.hasSymbol()
	if !symbols {
		g, p := rationalValue(gold, &c.fuel), rationalValue(pred, &c.fuel)
		if g != nil && p != nil {
			return decide(g.Cmp(p) == 0, "exact")
		}
	}
	if r, ok := c.byResidues(gold, pred); ok {
		return r
	}
	return c.byIntervals(gold, pred, symbols)
}

func decide(equal bool, rule string) result {
	if equal {
		return result{same, rule}
	}
	return result{different, rule}
}

// alignImaginary reads I or j as the imaginary unit where the other side has no variable of that name.
func alignImaginary(gold, pred *node) (*node, *node) {
	isUnit := func(n *node) bool { return n.kind == kConst && n.name == "i" }
	for _, name := range [...]string{"I", "j"} {
		g, p := gold.hasName(name), pred.hasName(name)
		if g == p {
			continue
		}
		as := func(m *node) *node {
			if m.kind == kSym && m.name == name {
				return constant("i")
			}
			return nil
		}
		if p && (name == "I" || gold.has(isUnit)) {
			pred = pred.replace(as)
		}
		if g && pred.has(isUnit) {
			gold = gold.replace(as)
		}
	}
	return gold, pred
}

// infinite compares expressions with ∞: only ∞ and -∞ themselves are equal to anything.
func infinite(gold, pred *node) result {
	g, p := infinitySign(gold), infinitySign(pred)
	return decide(g != 0 && g == p, "infinity")
}

// infinitySign is +1 for ∞, -1 for -∞, else 0.
func infinitySign(n *node) int {
	switch {
	case isInfinity(n):
		return 1
	case n.kind == kNeg:
		return -infinitySign(n.kids[0])
	case (n.kind == kAdd || n.kind == kMul) && len(n.kids) == 1:
		return infinitySign(n.kids[0])
	}
	return 0
}

// identical reports whether two trees are the same up to the order of sums and products.
func (c *comparer) identical(a, b *node) bool {
	x, y := sortedString(a), sortedString(b)
	c.fuel -= (len(x) + len(y)) / 256
	return x == y
}

// rationalValue folds a constant rational expression; nil if it is none, or too large to write down.
func rationalValue(n *node, fuel *int) *big.Rat {
	if n.kind == kNum {
		return n.rat
	}
	budget := min(*fuel, 512)
	e := &evaluator{ctx: &ball.Context{Prec: 64, Fuel: budget}, point: constantPoint}
	v, err := e.eval(n)
	*fuel -= budget - e.ctx.Fuel
	if err != nil {
		return nil
	}
	return v.rat
}

// byResidues compares rational expressions modulo primes; ok is false if they are not all rational.
func (c *comparer) byResidues(gold, pred *node) (r result, ok bool) {
	transcendental := ""
	if !isRational(gold, &transcendental, &c.fuel) || !isRational(pred, &transcendental, &c.fuel) {
		return result{}, false
	}
	agreed := 0
	for index := 0; index < 2*len(primes); index++ {
		m := residues{prime: primes[index%len(primes)], point: point{index: index}, fuel: &c.fuel}
		g, okG := m.eval(gold)
		p, okP := m.eval(pred)
		if c.fuel < 0 {
			return result{undecided, "work_limit"}, true
		}
		if okG != okP && agreed == 0 {
			return result{}, false // undefined somewhere: leave it to the intervals
		}
		if okG && okP {
			if g != p {
				return result{different, "residues"}, true
			}
			agreed++
		}
	}
	return result{same, "residues"}, agreed > 0
}

// byIntervals compares expressions by evaluating them with error bounds: constants to rising precision,
// others at several points. A difference whose ball excludes zero proves that they differ.
func (c *comparer) byIntervals(gold, pred *node, symbols bool) result {
	if !symbols {
		return c.atPoint(gold, pred, constantPoint, precisions[:]).result("interval")
	}
	if needsIntegers(gold, &c.fuel) || needsIntegers(pred, &c.fuel) {
		return c.atPoints(gold, pred, true)
	}
	r := c.atPoints(gold, pred, false)
	if r.outcome == same && (gold.has(isStep) || pred.has(isStep)) {
		return c.atPoints(gold, pred, true) // ⌈x⌉ and ⌊x⌋+1 differ at whole numbers only
	}
	return r
}

// isStep reports whether a node is a floor or a ceiling.
func isStep(n *node) bool { return n.kind == kCall && (n.name == "floor" || n.name == "ceil") }

// atPoints compares two expressions at several points, of whole or of real coordinates.
func (c *comparer) atPoints(gold, pred *node, integer bool) result {
	agreed, undefined, limited := 0, 0, false
	for index := 0; index < maxPoints && agreed < wantPoints; index++ {
		switch c.atPoint(gold, pred, point{index: index, integer: integer}, pointPrecisions[:]) {
		case pointDiffer:
			return result{different, "interval"}
		case pointAgree:
			agreed++
		case pointPredUndefined:
			undefined++
		case pointLimit:
			limited = true
		}
		if c.fuel < 0 {
			return result{undecided, "work_limit"}
		}
	}
	switch {
	case agreed >= minPoints:
		return result{same, "interval"}
	case undefined > agreed:
		return result{different, "domain"}
	case limited:
		return result{undecided, "work_limit"}
	}
	return decide(c.identical(gold, pred), "structure")
}

// pointOutcome is the result of a comparison at one point.
type pointOutcome uint8

const (
	pointDiffer pointOutcome = iota
	pointAgree
	pointSkip          // the gold answer is not defined here, or neither is
	pointPredUndefined // only the gold answer is defined here
	pointLimit         // undecided at the highest precision, or out of fuel
)

// result turns the outcome at the only point, that of a constant, into a result.
func (o pointOutcome) result(rule string) result {
	switch o {
	case pointAgree:
		return result{same, rule}
	case pointLimit:
		return result{undecided, "work_limit"}
	case pointSkip, pointPredUndefined:
		return result{different, "undefined"}
	}
	return result{different, rule}
}

// atPoint compares the values at one point with rising precision.
func (c *comparer) atPoint(gold, pred *node, at point, steps []uint) pointOutcome {
	for _, prec := range steps {
		if c.fuel < 0 {
			return pointLimit
		}
		e := &evaluator{ctx: &ball.Context{Prec: prec, Fuel: c.fuel}, point: at}
		out, again := e.compareAt(gold, pred)
		c.fuel = e.ctx.Fuel
		if !again || out == pointAgree && prec == steps[len(steps)-1] {
			return out
		}
	}
	return pointLimit
}

// compareAt compares two values; again asks for a higher precision.
func (e *evaluator) compareAt(gold, pred *node) (out pointOutcome, again bool) {
	g, errG := e.eval(gold)
	if errors.Is(errG, errVague) {
		return pointLimit, true
	}
	p, errP := e.eval(pred)
	switch {
	case errors.Is(errP, errVague):
		return pointLimit, true
	case errors.Is(errG, errLimit) || errors.Is(errP, errLimit):
		return pointLimit, false
	case errors.Is(errG, errHuge) && errors.Is(errP, errHuge):
		return pointLimit, false
	case errors.Is(errG, errHuge) != errors.Is(errP, errHuge):
		return pointDiffer, false // only one of them can be written down
	case errG != nil:
		return pointSkip, false
	case errP != nil:
		return pointPredUndefined, false
	}
	if out, ok := e.realDomain(gold, pred, g, p); ok {
		return out, false
	}
	return e.difference(g, p)
}

// realDomain skips points where the gold answer is not real although it does not mention i. If only the
// prediction is not real there, the two differ.
func (e *evaluator) realDomain(gold, pred *node, g, p value) (pointOutcome, bool) {
	if e.point.constant() {
		return 0, false
	}
	mentions := func(n *node) bool {
		return n.has(func(m *node) bool { return m.kind == kConst && m.name == "i" })
	}
	if mentions(gold) || mentions(pred) {
		return 0, false
	}
	isComplex := func(v value) bool { return v.rat == nil && v.z.Im.Sign() != 0 }
	if isComplex(g) {
		return pointSkip, true
	}
	if isComplex(p) && pred.has(isLogarithm) {
		return pointPredUndefined, true // ln x + ln y answers ln(xy): logarithms are of positive numbers
	}
	return pointDiffer, isComplex(p)
}

func isLogarithm(n *node) bool { return n.kind == kCall && n.name == "ln" }

// difference decides whether g - p is zero: proven different, or small to within the precision.
func (e *evaluator) difference(g, p value) (out pointOutcome, again bool) {
	if g.rat != nil && p.rat != nil {
		if g.rat.Cmp(p.rat) == 0 {
			return pointAgree, false
		}
		return pointDiffer, false
	}
	zg, zp := e.complex(g), e.complex(p)
	d := e.ctx.CSub(zg, zp)
	if !d.Known() {
		return pointLimit, e.ctx.Fuel >= 0
	}
	if !d.ContainsZero() {
		return pointDiffer, false
	}
	size := max(zg.Re.MagExp(), zg.Im.MagExp(), zp.Re.MagExp(), zp.Im.MagExp())
	width := max(d.Re.RadiusExp(), d.Im.RadiusExp())
	if width == math.MinInt32 || width <= max(size, -int(e.ctx.Prec)/2)-max(agreement, int(e.ctx.Prec)/2) {
		return pointAgree, e.point.constant() // constants must agree at the highest precision
	}
	return pointLimit, true
}

// needsIntegers reports whether an expression is about whole numbers: factorials, binomials, remainders,
// powers of negative numbers with a variable exponent, and floors of fractions and functions. The floor of
// a polynomial with whole coefficients says nothing about whole numbers, so its variables are real.
func needsIntegers(n *node, fuel *int) bool {
	return n.has(func(m *node) bool {
		switch m.kind {
		case kCall:
			switch m.name {
			case "factorial", "factorial2", "binom", "gcd", "lcm", "mod":
				return m.hasSymbol()
			case "floor", "ceil":
				return m.hasSymbol() && m.kids[0].has(mayBeFractional)
			}
		case kPow:
			if m.kids[1].hasSymbol() && !m.kids[0].hasSymbol() {
				r := rationalValue(m.kids[0], fuel)
				return r != nil && r.Sign() < 0
			}
		}
		return false
	})
}

// mayBeFractional reports whether a node can turn whole numbers into others.
func mayBeFractional(n *node) bool {
	switch n.kind {
	case kNum:
		return !n.rat.IsInt()
	case kSym, kAdd, kMul, kNeg:
		return false
	case kPow:
		return n.kids[1].kind != kNum
	}
	return true
}
