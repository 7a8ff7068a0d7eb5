package verify

import (
	"sort"
	"strings"

	"multiattempt/internal/verify/ball"
)

// span is an interval of real numbers. Ends are nil where it is unbounded.
type span struct {
	lo, hi         *node
	loOpen, hiOpen bool
}

// isInterval reports whether n reads as an interval: two ends in brackets.
func isInterval(n *node) bool { return n.kind == kTuple && len(n.kids) == 2 }

// isRealSet reports whether n is a set of real numbers that is more than an interval or a list of elements.
func isRealSet(n *node) bool {
	return n.kind == kSetOp || n.kind == kConst && strings.HasPrefix(n.name, "bb")
}

// realSets compares unions and differences of intervals as sets, or piece by piece where the ends cannot
// be put in order.
func (c *comparer) realSets(gold, pred *node) result {
	g, okG := c.spans(gold)
	p, okP := c.spans(pred)
	if okG && okP {
		if len(g) != len(p) {
			return result{different, "real_set"}
		}
		for i := range g {
			if g[i].loOpen != p[i].loOpen || g[i].hiOpen != p[i].hiOpen || !c.sameEnd(g[i].lo, p[i].lo) || !c.sameEnd(g[i].hi, p[i].hi) {
				return result{different, "real_set"}
			}
		}
		return result{same, "real_set"}
	}
	if c.fuel < 0 {
		return result{undecided, "work_limit"}
	}
	if gold.kind != kSetOp || pred.kind != kSetOp || gold.name != "cup" || pred.name != "cup" {
		return decide(c.identical(gold, pred), "real_set")
	}
	return c.inAnyOrder(unionParts(gold), unionParts(pred), "union")
}

func unionParts(n *node) []*node {
	if n.kind == kSetOp && n.name == "cup" {
		return append(unionParts(n.kids[0]), unionParts(n.kids[1])...)
	}
	return []*node{n}
}

func (c *comparer) sameEnd(a, b *node) bool {
	if a == nil || b == nil {
		return a == b
	}
	return c.numbers(a, b).outcome == same
}

// spans writes a set of real numbers as disjoint spans in order; ok is false if it cannot be.
func (c *comparer) spans(n *node) (out []span, ok bool) {
	switch n.kind {
	case kTuple:
		if !isInterval(n) || !n.kids[0].isScalar() || !n.kids[1].isScalar() {
			return nil, false
		}
		s := span{lo: n.kids[0], hi: n.kids[1], loOpen: n.open == '(', hiOpen: n.close == ')'}
		if infinitySign(s.lo) < 0 {
			s.lo, s.loOpen = nil, true
		}
		if infinitySign(s.hi) > 0 {
			s.hi, s.hiOpen = nil, true
		}
		return c.merge([]span{s})
	case kSet:
		for _, k := range n.kids {
			for _, item := range signs(k) {
				if !item.isScalar() {
					return nil, false
				}
				out = append(out, span{lo: item, hi: item})
			}
		}
		return c.merge(out)
	case kConst:
		return []span{{loOpen: true, hiOpen: true}}, n.name == "bbR"
	case kSetOp:
		a, okA := c.spans(n.kids[0])
		b, okB := c.spans(n.kids[1])
		if !okA || !okB {
			return nil, false
		}
		switch n.name {
		case "cup":
			return c.merge(append(a, b...))
		case "setminus":
			return c.intersect(a, complement(b))
		}
		return c.intersect(a, b)
	}
	return nil, false
}

// merge sorts spans and joins those that touch.
func (c *comparer) merge(list []span) (out []span, ok bool) {
	ok = true
	less := func(a, b *node) int {
		s, known := c.order(a, b)
		ok = ok && known
		return s
	}
	for _, s := range list {
		if s.lo != nil && s.hi != nil {
			if d := less(s.lo, s.hi); d > 0 || d == 0 && (s.loOpen || s.hiOpen) {
				return nil, false
			}
		}
	}
	sort.SliceStable(list, func(i, j int) bool {
		a, b := list[i], list[j]
		if a.lo == nil || b.lo == nil {
			return a.lo == nil && b.lo != nil
		}
		d := less(a.lo, b.lo)
		return d < 0 || d == 0 && !a.loOpen && b.loOpen
	})
	for _, s := range list {
		n := len(out)
		if n == 0 {
			out = append(out, s)
			continue
		}
		last := &out[n-1]
		if last.hi != nil && s.lo != nil {
			if d := less(last.hi, s.lo); d < 0 || d == 0 && last.hiOpen && s.loOpen {
				out = append(out, s)
				continue
			}
		}
		last.extend(s, less)
	}
	return out, ok && c.fuel >= 0
}

// extend moves the upper end of s to that of t, if t reaches further.
func (s *span) extend(t span, less func(a, b *node) int) {
	switch {
	case s.hi == nil:
		return
	case t.hi == nil:
		s.hi, s.hiOpen = nil, true
	default:
		if d := less(s.hi, t.hi); d < 0 {
			s.hi, s.hiOpen = t.hi, t.hiOpen
		} else if d == 0 {
			s.hiOpen = s.hiOpen && t.hiOpen
		}
	}
}

// complement returns the real numbers outside disjoint spans in order.
func complement(list []span) []span {
	out := []span{}
	lo, loOpen, bounded := (*node)(nil), true, true
	for _, s := range list {
		if s.lo != nil {
			out = append(out, span{lo: lo, loOpen: loOpen, hi: s.lo, hiOpen: !s.loOpen})
		}
		lo, loOpen = s.hi, !s.hiOpen
		bounded = s.hi != nil
	}
	if bounded {
		out = append(out, span{lo: lo, loOpen: loOpen, hiOpen: true})
	}
	return out
}

// intersect returns what two lists of disjoint spans share.
func (c *comparer) intersect(a, b []span) ([]span, bool) {
	var out []span
	for _, x := range a {
		for _, y := range b {
			s, empty, ok := c.overlap(x, y)
			if !ok {
				return nil, false
			}
			if !empty {
				out = append(out, s)
			}
		}
	}
	return c.merge(out)
}

func (c *comparer) overlap(x, y span) (s span, empty, ok bool) {
	s = x
	if y.lo != nil {
		d, known := 1, true
		if x.lo != nil {
			d, known = c.order(y.lo, x.lo)
		}
		if !known {
			return s, false, false
		}
		if d > 0 {
			s.lo, s.loOpen = y.lo, y.loOpen
		} else if d == 0 {
			s.loOpen = x.loOpen || y.loOpen
		}
	}
	if y.hi != nil {
		d, known := -1, true
		if x.hi != nil {
			d, known = c.order(y.hi, x.hi)
		}
		if !known {
			return s, false, false
		}
		if d < 0 {
			s.hi, s.hiOpen = y.hi, y.hiOpen
		} else if d == 0 {
			s.hiOpen = x.hiOpen || y.hiOpen
		}
	}
	if s.lo == nil || s.hi == nil {
		return s, false, true
	}
	d, known := c.order(s.lo, s.hi)
	return s, d > 0 || d == 0 && (s.loOpen || s.hiOpen), known
}

// order compares two real constants: the sign of a - b. known is false if it cannot be decided.
func (c *comparer) order(a, b *node) (sign int, known bool) {
	if a.hasSymbol() || b.hasSymbol() {
		return 0, false
	}
	if c.scalars(a, b).outcome == same {
		return 0, true
	}
	for _, prec := range precisions {
		e := &evaluator{ctx: &ball.Context{Prec: prec, Fuel: c.fuel}, point: constantPoint}
		v, err := e.eval(op(kAdd, a, neg(b)))
		c.fuel = e.ctx.Fuel
		if err != nil {
			continue
		}
		if s, err := e.sign(v); err == nil && s != 0 {
			return s, true
		}
	}
	return 0, false
}
