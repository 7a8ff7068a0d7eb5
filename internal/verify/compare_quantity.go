package verify

import (
	"math/big"

	"multiattempt/internal/verify/ball"
)

// Decimals that are read as rounded numbers need this many significant digits.
const (
	minGoldDigits = 4 // in a gold answer, when the prediction is exact
	minPredDigits = 5 // in a prediction, when the gold answer is exact and not an integer
)

// amount is a number without what is written around it.
type amount struct {
	value   *node
	percent bool
	unit    unit // dims "angle1" for degrees
}

// amountOf takes the unit, sign of per cent or of degrees off a number.
func amountOf(n *node) amount {
	switch n.kind {
	case kPercent:
		return amount{value: n.kids[0], percent: true}
	case kDegree:
		return amount{value: n.kids[0], unit: unit{dims: "angle1", factor: big.NewRat(1, 1), label: "degree"}}
	case kQuantity:
		a := amountOf(n.kids[0])
		if a.unit.dims == "" {
			a.unit = n.unit
		}
		return a
	case kNeg:
		if a := amountOf(n.kids[0]); a.value != n.kids[0] {
			a.value = neg(a.value)
			return a
		}
	}
	return amount{value: n}
}

// amounts compares two numbers with what is written around them.
func (c *comparer) amounts(gold, pred *node) result {
	g, p := amountOf(gold), amountOf(pred)
	if r, ok := c.symbolicUnit(g, p); ok {
		return r
	}
	gv, pv, ok := commonUnit(g, p)
	if !ok {
		return result{different, "unit_mismatch"}
	}
	r := c.numbers(gv, pv)
	if r.outcome == same || g.percent == p.percent {
		return r
	}
	// Exactly one side is in per cent: 50% may answer 0.5.
	if g.percent {
		gv = op(kDiv, gv, intNode(100))
	} else {
		pv = op(kDiv, pv, intNode(100))
	}
	if s := c.numbers(gv, pv); s.outcome != different {
		return result{s.outcome, "percent"}
	}
	return r
}

// symbolicUnit reads a unit as the variable of that name if the gold answer has one: 5m against 5 \text{ m}.
func (c *comparer) symbolicUnit(g, p amount) (result, bool) {
	if g.unit.label != "" || p.unit.label == "" || p.value.hasSymbol() || !g.value.hasName(p.unit.label) {
		return result{}, false
	}
	return c.numbers(g.value, op(kMul, p.value, sym(p.unit.label))), true
}

// commonUnit converts two amounts to one unit. A side without a unit, or with a mere label, is in the
// other's unit. ok is false if both have units of different kinds, or one is in per cent.
func commonUnit(g, p amount) (gv, pv *node, ok bool) {
	gv, pv = scaled(g), scaled(p)
	if g.percent && p.unit.dims != "" || p.percent && g.unit.dims != "" {
		return nil, nil, false
	}
	if g.unit.dims == "" || p.unit.dims == "" {
		return gv, pv, true
	}
	if g.unit.dims != p.unit.dims {
		return nil, nil, false
	}
	if g.unit.factor.Cmp(p.unit.factor) != 0 {
		pv = op(kMul, pv, ratNode(new(big.Rat).Quo(p.unit.factor, g.unit.factor)))
	}
	return gv, pv, true
}

// scaled applies a multiplier in words, such as a million.
func scaled(a amount) *node {
	if a.unit.scale == nil {
		return a.value
	}
	return op(kMul, a.value, ratNode(a.unit.scale))
}

// numbers compares two expressions, exactly first, then as rounded decimals where a policy allows it.
func (c *comparer) numbers(gold, pred *node) result {
	r := c.scalars(gold, pred)
	if r.outcome != different || r.rule == "domain" || r.rule == "infinity" {
		return r
	}
	switch {
	case allDecimals(gold, minGoldDigits) && !pred.has(isDecimal) && c.roundsTo(gold, pred):
		return result{same, "gold_rounding"}
	case allDecimals(pred, minPredDigits) && !gold.has(isDecimal) && !isInteger(gold, &c.fuel) && c.roundsTo(gold, pred):
		return result{same, "pred_rounding"}
	}
	return r
}

func isDecimal(n *node) bool { return n.kind == kNum && n.decimal && !n.rat.IsInt() }

func isInteger(n *node, fuel *int) bool {
	if n.hasSymbol() {
		return false
	}
	r := rationalValue(n, fuel)
	return r != nil && r.IsInt()
}

// allDecimals reports whether n has decimals and each has at least the given number of significant digits.
func allDecimals(n *node, digits int) bool {
	found := false
	return n.walk(func(m *node) bool {
		if isDecimal(m) {
			found = true
			return m.digits >= digits
		}
		return true
	}) && found
}

// roundsTo reports whether the two sides agree at every point when their decimals stand for all numbers
// that round to them.
func (c *comparer) roundsTo(gold, pred *node) bool {
	points := []point{constantPoint}
	if gold.hasSymbol() || pred.hasSymbol() {
		points = nil
		for index := 0; index < wantPoints; index++ {
			points = append(points, point{index: index})
		}
	}
	agreed := 0
	for _, at := range points {
		e := &evaluator{ctx: &ball.Context{Prec: pointPrecisions[0], Fuel: c.fuel}, point: at, round: true}
		g, errG := e.eval(gold)
		p, errP := e.eval(pred)
		c.fuel = e.ctx.Fuel
		if errG != nil && errP == nil || errG != nil && !e.point.constant() {
			continue
		}
		if errG != nil || errP != nil {
			return false
		}
		zg, zp := e.complex(g), e.complex(p)
		d := e.ctx.CSub(zg, zp)
		size := max(zg.Re.MagExp(), zg.Im.MagExp())
		if !d.Known() || !d.ContainsZero() || max(d.Re.RadiusExp(), d.Im.RadiusExp()) > size-8 {
			return false
		}
		agreed++
	}
	return agreed > 0
}
