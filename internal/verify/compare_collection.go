package verify

import "strings"

func isPlusMinus(n *node) bool { return n.kind == kPM }

// isCollection reports whether n holds several answers: a list, a set, or an expression with ±.
func isCollection(n *node) bool {
	return n.kind == kList || n.kind == kSet || n.has(isPlusMinus)
}

// items returns the answers that a collection holds, with ± written out.
func items(n *node) []*node {
	var out []*node
	if n.kind == kList || n.kind == kSet {
		for _, k := range n.kids {
			out = append(out, items(k)...)
		}
		return out
	}
	return signs(n)
}

// signs writes out ±: all upper signs, then all lower signs.
func signs(n *node) []*node {
	if !n.has(isPlusMinus) {
		return []*node{n}
	}
	pick := func(upper bool) *node {
		var f func(m *node) *node
		f = func(m *node) *node {
			if m.kind != kPM {
				return nil
			}
			a, b := m.kids[0].replace(f), m.kids[1].replace(f)
			if (m.name == "pm") != upper {
				b = neg(b)
			}
			if a.kind == kNum && a.rat.Sign() == 0 {
				return b
			}
			return op(kAdd, a, b)
		}
		return n.replace(f)
	}
	return []*node{pick(true), pick(false)}
}

// collections compares answers of several items: in any order, each as often as it occurs; in a set
// written with braces, repeated items count once. A tuple keeps its order.
func (c *comparer) collections(gold, pred *node) result {
	if r, ok := c.assignments(gold, pred); ok {
		return r
	}
	if pred.kind == kTuple && !pred.has(isPlusMinus) {
		if gold.kind != kList || pred.open != '(' || pred.close != ')' || gold.holdsTuples() {
			return result{different, "brackets"}
		}
		return c.inOrder(items(gold), pred.kids, "list")
	}
	if union := solutions(gold); union != nil && (isRealSet(pred) || isInterval(pred)) {
		return result{c.realSets(union, pred).outcome, "inequality_as_interval"}
	}
	if pred.kind == kMatrix {
		return result{different, "type"}
	}
	g, p := items(gold), items(pred)
	if gold.kind == kSet || pred.kind == kSet {
		var r result
		if g, r = c.distinct(g); r.outcome == undecided {
			return r
		}
		if p, r = c.distinct(p); r.outcome == undecided {
			return r
		}
	}
	return c.inAnyOrder(g, p, "list")
}

// holdsTuples reports whether the items of a list are themselves tuples.
func (n *node) holdsTuples() bool { return len(n.kids) > 0 && n.kids[0].kind == kTuple }

// distinct drops repeated items.
func (c *comparer) distinct(list []*node) ([]*node, result) {
	var out []*node
	for _, n := range list {
		repeated := false
		for _, m := range out {
			r := c.compare(m, n)
			if r.outcome == undecided {
				return nil, r
			}
			repeated = repeated || r.outcome == same
		}
		if !repeated {
			out = append(out, n)
		}
	}
	return out, result{}
}

func (c *comparer) inOrder(gold, pred []*node, rule string) result {
	if len(gold) != len(pred) {
		return result{different, rule + "_length"}
	}
	open := false
	for i := range gold {
		switch r := c.compare(gold[i], stripName(pred[i])); r.outcome {
		case different:
			return result{different, rule}
		case undecided:
			open = true
		}
	}
	if open {
		return result{undecided, "work_limit"}
	}
	return result{same, rule}
}

// inAnyOrder matches every gold item with a different predicted one.
func (c *comparer) inAnyOrder(gold, pred []*node, rule string) result {
	if len(gold) != len(pred) {
		return result{different, rule + "_length"}
	}
	used := make([]bool, len(pred))
	open := false
	for i, g := range gold {
		found := false
		// The same position first: it is the usual case.
		for k := 0; k < len(pred) && !found; k++ {
			j := (i + k) % len(pred)
			if used[j] {
				continue
			}
			switch r := c.compare(g, pred[j]); r.outcome {
			case same:
				used[j], found = true, true
			case undecided:
				open = true
			}
		}
		if !found && !open {
			return result{different, rule}
		}
	}
	if open {
		return result{undecided, "work_limit"}
	}
	return result{same, rule}
}

// assignments compares lists that give values to several names, such as x=1, y=2; ok is false if neither
// side is one. The order matters only where one side does not say the names.
func (c *comparer) assignments(gold, pred *node) (result, bool) {
	g, p := assigned(gold), assigned(pred)
	switch {
	case g != nil && p != nil:
		return c.inAnyOrder(gold.kids, pred.kids, "assignments"), true
	case g != nil && pred.kind == kTuple:
		return c.inOrder(g, pred.kids, "assignments"), true
	case g != nil && pred.kind == kList:
		return c.inOrder(g, pred.kids, "assignments"), true
	case g != nil && pred.kind == kSet && !oneIndexedName(gold):
		return result{different, "assignments"}, true // a set does not say which value is whose
	case p != nil && gold.kind == kTuple:
		return c.inOrder(gold.kids, p, "assignments"), true
	case p != nil:
		return c.inAnyOrder(items(gold), p, "assignments"), true
	}
	return result{}, false
}

// oneIndexedName reports whether the names of a list of assignments differ in their index only: x_1 and x_2.
func oneIndexedName(list *node) bool {
	base := ""
	for _, k := range list.kids {
		name, _, _ := strings.Cut(k.kids[0].name, "_")
		if k.kids[0].kind != kSym || base != "" && name != base {
			return false
		}
		base = name
	}
	return true
}

// assigned returns the values of a list of assignments to different names, nil if n is none.
func assigned(n *node) []*node {
	if n.kind != kList || len(n.kids) < 2 {
		return nil
	}
	var values []*node
	names := map[string]bool{}
	for _, k := range n.kids {
		name, value, ok := assignment(k)
		if !ok || names[name.String()] {
			return nil
		}
		names[name.String()] = true
		values = append(values, value)
	}
	return values
}

// stripName turns name = value into the value.
func stripName(n *node) *node {
	if _, value, ok := assignment(n); ok {
		return value
	}
	return n
}

// tuples compares ordered lists. With two items the brackets tell points and intervals apart, and so must
// agree; longer ones are vectors in whatever brackets.
func (c *comparer) tuples(gold, pred *node) result {
	if r, ok := c.assignments(gold, pred); ok {
		return r
	}
	switch pred.kind {
	case kTuple:
		if len(gold.kids) == 2 && (gold.open != pred.open || gold.close != pred.close) {
			return result{different, "brackets"}
		}
		rule := "tuple"
		if isInterval(gold) {
			rule = "interval_ends"
		}
		return c.inOrder(gold.kids, pred.kids, rule)
	case kList:
		if gold.open != '(' || gold.close != ')' || gold.has(isInfinity) {
			return result{different, "brackets"}
		}
		return c.inOrder(gold.kids, pred.kids, "tuple")
	case kMatrix:
		if pred.rows != 1 && pred.cols != 1 {
			return result{different, "type"}
		}
		return c.inOrder(gold.kids, pred.kids, "vector")
	}
	return result{different, "type"}
}

// matrices compares matrices cell by cell; a row or a column may be written as a tuple.
func (c *comparer) matrices(gold, pred *node) result {
	switch pred.kind {
	case kMatrix:
		if gold.rows != pred.rows || gold.cols != pred.cols {
			return result{different, "shape"}
		}
		return c.inOrder(gold.kids, pred.kids, "matrix")
	case kTuple:
		if gold.rows == 1 || gold.cols == 1 {
			return c.inOrder(gold.kids, pred.kids, "vector")
		}
	}
	return result{different, "type"}
}

// foldMatrices multiplies a matrix by its scalar factors.
func foldMatrices(n *node) *node {
	isMatrix := func(m *node) bool { return m.kind == kMatrix }
	each := func(m *node, f func(*node) *node) *node {
		out := *m
		out.kids = make([]*node, len(m.kids))
		for i, k := range m.kids {
			out.kids[i] = f(k)
		}
		return &out
	}
	switch n.kind {
	case kNeg, kDiv:
		if n.kids[0].kind == kMatrix {
			return each(n.kids[0], func(cell *node) *node {
				return &node{kind: n.kind, kids: append([]*node{cell}, n.kids[1:]...)}
			})
		}
	case kMul:
		at := -1
		for i, k := range n.kids {
			if k.has(isMatrix) {
				if k.kind != kMatrix || at >= 0 {
					return n
				}
				at = i
			}
		}
		if at >= 0 {
			factors := append(append([]*node(nil), n.kids[:at]...), n.kids[at+1:]...)
			return each(n.kids[at], func(cell *node) *node { return op(kMul, append([]*node{cell}, factors...)...) })
		}
	}
	return n
}

// ratios compares a : b : c up to a common factor. Two two-digit numbers after one or two digits, as in
// 12:30, may be a time: then both parts count.
func (c *comparer) ratios(gold, pred *node) result {
	g, p := amountOf(gold), amountOf(pred)
	if g.unit.dims != "" && p.unit.dims != "" && g.unit.dims != p.unit.dims {
		return result{different, "unit_mismatch"}
	}
	gold, pred = g.value, p.value
	if gold.kind == kRatio && pred.kind == kRatio {
		if len(gold.kids) != len(pred.kids) {
			return result{different, "ratio"}
		}
		if isTime(gold) || isTime(pred) {
			return c.inOrder(gold.kids, pred.kids, "time")
		}
		for i := 1; i < len(gold.kids); i++ {
			r := c.scalars(op(kMul, gold.kids[0], pred.kids[i]), op(kMul, pred.kids[0], gold.kids[i]))
			if r.outcome != same {
				return result{r.outcome, "ratio"}
			}
		}
		return c.nonzero(gold.kids, pred.kids)
	}
	for _, pair := range [...][2]*node{{gold, pred}, {pred, gold}} {
		if r := pair[0]; r.kind == kRatio && len(r.kids) == 2 && !isTime(r) && r.isPlainRatio() && pair[1].isScalar() {
			return result{c.scalars(op(kDiv, r.kids[0], r.kids[1]), pair[1]).outcome, "ratio"}
		}
	}
	return result{different, "ratio"}
}

func (n *node) isPlainRatio() bool { return n.kids[0].isScalar() && n.kids[1].isScalar() }

// nonzero makes sure that two proportional ratios are not so because one of them is all zero.
func (c *comparer) nonzero(gold, pred []*node) result {
	zero := func(n *node) bool {
		if n.hasSymbol() || !n.isScalar() {
			return false
		}
		r := rationalValue(n, &c.fuel)
		return r != nil && r.Sign() == 0
	}
	for i := range gold {
		if zero(gold[i]) != zero(pred[i]) {
			return result{different, "ratio"}
		}
	}
	return result{same, "ratio"}
}

// isTime reports whether a ratio reads as a time of day: a second part of two digits below 60.
func isTime(n *node) bool {
	if len(n.kids) < 2 || len(n.kids) > 3 {
		return false
	}
	for i, k := range n.kids {
		if k.kind != kNum || k.decimal || !k.rat.IsInt() || !k.rat.Num().IsInt64() || k.rat.Num().Int64() >= 60 ||
			i > 0 && k.width != 2 {
			return false
		}
	}
	return true
}
