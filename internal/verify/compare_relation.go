package verify

import "multiattempt/internal/verify/ball"

// statement is a chain of = and ≈ that gives a value to a name.
type statement struct {
	name   *node
	values []*node // what may stand for the value, the best first
}

// stated reads name = value, value = name, and chains such as x = 2 + 3 = 5 ≈ 5.0. ok is false for others.
func stated(n *node) (s statement, ok bool) {
	if n.kind != kRel {
		return s, false
	}
	for _, o := range n.ops {
		if !o.equates() && !(o == relIn && len(n.ops) == 1) {
			return s, false
		}
	}
	first, last := n.kids[0], n.kids[len(n.kids)-1]
	switch {
	case nameLike(first):
		return statement{name: first, values: chainValues(n, 1)}, true
	case len(n.kids) == 2 && nameLike(last) && n.ops[0].equates():
		return statement{name: last, values: []*node{first}}, true
	}
	return s, false
}

// chainValues returns the last member before the first ≈, which is exact, and the very last one.
func chainValues(n *node, from int) []*node {
	last := n.kids[len(n.kids)-1]
	for i, o := range n.ops {
		if o == relApprox && i >= from {
			return []*node{n.kids[i], last}
		}
	}
	return []*node{last}
}

// relations compares a gold answer that is a relation.
func (c *comparer) relations(gold, pred *node) result {
	if s, ok := stated(gold); ok {
		if r, ok := c.statements(s, gold, pred); ok {
			return r
		}
	}
	if pred.kind != kRel {
		if gold.isConstantChain() {
			return result{c.anyValue(chainValues(gold, 0), []*node{pred}).outcome, "stated_value"}
		}
		return c.asInterval(gold, pred)
	}
	if pred.ops[0] == relIn && len(pred.kids) == 2 {
		if set := solutionSet(gold); set != nil {
			return result{c.compare(set, pred.kids[1]).outcome, "inequality_as_interval"}
		}
	}
	if gold.ops[0] == relIn && pred.ops[0] != relIn {
		return c.membership(gold, pred)
	}
	return c.chains(gold, pred)
}

// isConstantChain reports whether a relation is a chain of = and ≈ between constants, such as √2 ≈ 1.414.
func (n *node) isConstantChain() bool {
	for _, o := range n.ops {
		if !o.equates() {
			return false
		}
	}
	return n.isScalarRelation() && !n.hasSymbol()
}

func (n *node) isScalarRelation() bool {
	for _, k := range n.kids {
		if !k.isScalar() {
			return false
		}
	}
	return true
}

// statements compares name = value with a value, or with another statement about the same name. ok is
// false if the two must be compared as equations.
func (c *comparer) statements(s statement, gold, pred *node) (result, bool) {
	if pred.kind != kRel {
		r := c.anyValue(s.values, []*node{pred})
		if r.outcome == different && gold.ops[0] == relIn {
			return r, true
		}
		return result{r.outcome, "stated_value"}, true
	}
	p, ok := stated(pred)
	if !ok {
		return result{}, false
	}
	if !sameName(s.name, p.name) {
		return result{}, false
	}
	return result{c.anyValue(s.values, p.values).outcome, "stated_value"}, true
}

// sameName reports whether two left sides name the same quantity. y and f(x) are both names of a function.
func sameName(a, b *node) bool {
	if sortedString(a) == sortedString(b) {
		return true
	}
	isFunction := func(n *node) bool {
		return n.kind == kCall && !knownFunctions[n.name] && len(n.name) == 1 && n.kids[0].kind == kSym
	}
	isY := func(n *node) bool { return n.kind == kSym && n.name == "y" }
	return isFunction(a) && isY(b) || isY(a) && isFunction(b)
}

// anyValue compares the values that two statements may stand for.
func (c *comparer) anyValue(gold, pred []*node) result {
	best := result{different, "stated_value"}
	if pred = c.coherent(pred); len(pred) == 0 {
		return best
	}
	for _, g := range gold {
		for _, p := range pred {
			r := c.compare(g, p)
			if r.outcome == same {
				return r
			}
			if r.outcome == undecided {
				best = r
			}
		}
	}
	return best
}

// coherent drops the values of a prediction whose exact and approximate form are more than a twentieth
// apart: 5 ≈ 6 answers neither.
func (c *comparer) coherent(values []*node) []*node {
	if len(values) < 2 || !values[0].isScalar() || !values[1].isScalar() || values[0].hasSymbol() || values[1].hasSymbol() {
		return values
	}
	e := &evaluator{ctx: &ball.Context{Prec: pointPrecisions[0], Fuel: c.fuel}, point: constantPoint}
	x, errX := e.eval(values[0])
	y, errY := e.eval(values[1])
	c.fuel = e.ctx.Fuel
	if errX != nil || errY != nil {
		return values
	}
	d, scale := e.ctx.CAbs(e.ctx.CSub(e.complex(x), e.complex(y))), e.ctx.CAbs(e.complex(x))
	if e.ctx.Sub(e.ctx.Mul(d, e.ctx.FromInt64(20)), scale).Sign() > 0 {
		return nil
	}
	return values
}

// statedValue compares a gold answer that is no relation with a prediction that is: x = 5 answers 5, and
// so does √25 = 5, unless a member of the chain is proven to differ.
func (c *comparer) statedValue(gold, pred *node) result {
	if s, ok := stated(pred); ok {
		return result{c.anyValue([]*node{gold}, s.values).outcome, "stated_value"}
	}
	for _, o := range pred.ops {
		if !o.equates() {
			return result{different, "type"}
		}
	}
	candidates := chainValues(pred, 0)
	r := c.anyValue([]*node{gold}, candidates)
	if r.outcome != same {
		return result{r.outcome, "stated_value"}
	}
	for i, k := range pred.kids {
		if pred.ops[min(i, len(pred.ops)-1)] == relApprox || k.has(func(m *node) bool { return m.kind == kBig }) {
			continue
		}
		if c.compare(gold, k).outcome == different {
			return result{different, "chain"}
		}
	}
	return result{same, "stated_value"}
}

// chains compares equations and inequalities link by link.
func (c *comparer) chains(gold, pred *node) result {
	g, okG := links(gold)
	p, okP := links(pred)
	if !okG || !okP {
		return c.memberwise(gold, pred)
	}
	if len(g) != len(p) {
		return result{different, "relation"}
	}
	used := make([]bool, len(p))
	for _, a := range g {
		found := false
		for j, b := range p {
			if used[j] {
				continue
			}
			switch c.sameLink(a, b) {
			case same:
				used[j], found = true, true
			case undecided:
				return result{undecided, "work_limit"}
			}
			if found {
				break
			}
		}
		if !found {
			return result{different, "relation"}
		}
	}
	return result{same, "relation"}
}

// link is one relation of a chain in the form difference op 0, with op one of =, <, <=, !=.
type link struct {
	difference *node
	op         relation
}

// links splits a chain; ok is false if its members are not expressions.
func links(n *node) (out []link, ok bool) {
	for i, o := range n.ops {
		a, b := n.kids[i], n.kids[i+1]
		if !a.isScalar() || !b.isScalar() || a.has(isInfinity) || b.has(isInfinity) {
			return nil, false
		}
		switch o {
		case relEq, relApprox:
			o = relEq
		case relMore:
			a, b, o = b, a, relLess
		case relMoreEq:
			a, b, o = b, a, relLessEq
		case relLess, relLessEq, relNotEq:
		default:
			return nil, false
		}
		out = append(out, link{difference: op(kAdd, a, neg(b)), op: o})
	}
	return out, true
}

// sameLink decides whether two links state the same: the differences are proportional, by a positive
// factor if the relation has a direction.
func (c *comparer) sameLink(a, b link) outcome {
	if a.op != b.op {
		return different
	}
	sign, r := c.proportional(a.difference, b.difference)
	if r.outcome == same && (a.op == relLess || a.op == relLessEq) && sign < 0 {
		return different
	}
	return r.outcome
}

// proportional decides whether a = k·b for a constant k other than zero, and returns the sign of k.
func (c *comparer) proportional(a, b *node) (sign int, r result) {
	if c.identical(a, b) {
		return 1, result{same, "identical"}
	}
	a, b = alignImaginary(a, b)
	integer := needsIntegers(a, &c.fuel) || needsIntegers(b, &c.fuel)
	var ratio value
	agreed := 0
	for index := 0; index < maxPoints && agreed < wantPoints; index++ {
		e := &evaluator{ctx: &ball.Context{Prec: pointPrecisions[0], Fuel: c.fuel}, point: point{index: index, integer: integer}}
		x, errA := e.eval(a)
		y, errB := e.eval(b)
		if c.fuel = e.ctx.Fuel; c.fuel < 0 {
			return 0, result{undecided, "work_limit"}
		}
		if errA != nil || errB != nil || isZero(x) && isZero(y) {
			continue
		}
		if isZero(x) || isZero(y) {
			return 0, result{different, "relation"}
		}
		q, err := e.div(x, y)
		if err != nil {
			continue
		}
		if agreed++; agreed == 1 {
			ratio = q
			continue
		}
		if out, _ := e.difference(ratio, q); out == pointDiffer {
			return 0, result{different, "relation"}
		}
	}
	if agreed < minPoints {
		return 0, result{different, "relation"}
	}
	return valueSign(ratio), result{same, "relation"}
}

func isZero(v value) bool {
	return v.rat != nil && v.rat.Sign() == 0 || v.rat == nil && v.z.ContainsZero()
}

func valueSign(v value) int {
	if v.rat != nil {
		return v.rat.Sign()
	}
	return v.z.Re.Sign()
}

// memberwise compares chains whose members are not expressions: the same relations of equal members.
func (c *comparer) memberwise(gold, pred *node) result {
	g, p := forwards(gold), forwards(pred)
	if len(g.ops) != len(p.ops) {
		return result{different, "relation"}
	}
	for i := range g.ops {
		if g.ops[i] != p.ops[i] {
			return result{different, "relation"}
		}
	}
	return c.members(g.kids, p.kids)
}

// members compares members of relations, names included.
func (c *comparer) members(gold, pred []*node) result {
	for i := range gold {
		if r := c.compare(gold[i], pred[i]); r.outcome != same {
			return result{r.outcome, "relation"}
		}
	}
	return result{same, "relation"}
}

// forwards turns a > b into b < a.
func forwards(n *node) *node {
	for _, o := range n.ops {
		if o != relMore && o != relMoreEq {
			return n
		}
	}
	m := &node{kind: kRel}
	for i := len(n.kids) - 1; i >= 0; i-- {
		m.kids = append(m.kids, n.kids[i])
		if i > 0 {
			m.ops = append(m.ops, map[relation]relation{relMore: relLess, relMoreEq: relLessEq}[n.ops[i-1]])
		}
	}
	return m
}
