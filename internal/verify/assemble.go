package verify

import "strings"

// assemble makes one answer of groups of items. Groups that each assign values to the same names, as in
// p=5, q=2; p=7, q=2, become tuples.
func assemble(groups [][]*node) *node {
	if tuples := assignmentTuples(groups); tuples != nil {
		return tuples
	}
	var items []*node
	for _, g := range groups {
		items = append(items, g...)
	}
	if len(items) == 1 {
		return items[0]
	}
	if named := namedList(items); named != nil {
		return named
	}
	return op(kList, items...)
}

// assignment splits name = value; ok is false for anything else.
func assignment(n *node) (name, value *node, ok bool) {
	if n.kind != kRel || len(n.kids) != 2 || !n.ops[0].equates() && n.ops[0] != relIn || !nameLike(n.kids[0]) {
		return nil, nil, false
	}
	return n.kids[0], n.kids[1], true
}

func assignmentTuples(groups [][]*node) *node {
	if len(groups) < 2 {
		return nil
	}
	list, names := op(kList), ""
	for _, g := range groups {
		tuple := &node{kind: kTuple, open: '(', close: ')'}
		var all []string
		for _, item := range g {
			name, value, ok := assignment(item)
			if !ok || item.ops[0] == relIn {
				return nil
			}
			all = append(all, name.String())
			tuple.kids = append(tuple.kids, value)
		}
		joined := strings.Join(all, ",")
		if len(all) < 2 || names != "" && joined != names || all[0] == all[1] {
			return nil
		}
		names = joined
		list.kids = append(list.kids, tuple)
	}
	list.name = names
	return list
}

// namedList makes one list of x = a, x = b, or of x = a, b, c. nil if the items are something else.
func namedList(items []*node) *node {
	first, _, ok := assignment(items[0])
	if !ok {
		return nil
	}
	list := &node{kind: kList, name: first.String()}
	for i, item := range items {
		name, value, ok := assignment(item)
		switch {
		case ok && name.String() == list.name:
			list.kids = append(list.kids, value)
		case i > 0 && item.kind != kRel:
			list.kids = append(list.kids, item)
		default:
			return nil
		}
	}
	return list
}

// nameLike reports whether n is the name of a quantity, so that "name = value" answers with the value:
// a variable, a function of something, a segment such as AB, a ratio or tuple of names, an absolute value.
func nameLike(n *node) bool {
	switch n.kind {
	case kSym, kText, kBig:
		return true
	case kQuantity, kDegree:
		return nameLike(n.kids[0])
	case kCall:
		if knownFunctions[n.name] && n.name != "max" && n.name != "min" {
			return n.hasSymbol() && n.name != "floor" && n.name != "ceil"
		}
		return true
	case kRatio, kTuple, kDiv:
		for _, k := range n.kids {
			if !nameLike(k) {
				return false
			}
		}
		return true
	case kMul:
		if d := n.kids[0]; isDifferential(d) || d.kind == kPow && isDifferential(d.kids[0]) {
			return true // dy of dy/dx
		}
		if last := n.kids[len(n.kids)-1]; last.kind == kSym && strings.HasPrefix(last.name, "angle ") {
			return n.kids[0].kind == kSym // the measure m∠A
		}
		for _, k := range n.kids {
			if k.kind != kSym || len(k.name) == 0 || k.name[0] < 'A' || k.name[0] > 'Z' && k.name[0] != '\\' {
				return false
			}
		}
		return true
	case kConst:
		return n.name == "i" || n.name == "e"
	}
	return false
}

func isDifferential(n *node) bool { return n.kind == kSym && (n.name == "d" || n.name == "partial") }

// typeName names the type of an answer as verdicts report it.
func typeName(n *node) string {
	switch n.kind {
	case kNum:
		switch {
		case n.decimal && !n.rat.IsInt():
			return "decimal"
		case n.rat.IsInt():
			return "integer"
		}
		return "fraction"
	case kNeg:
		return typeName(n.kids[0])
	case kTuple:
		if len(n.kids) == 2 && (n.open != '(' || n.close != ')' || n.has(isInfinity)) {
			return "interval"
		}
		return "tuple"
	case kRel:
		return relationType(n)
	case kPM:
		return "list"
	case kChoice:
		return "choice"
	case kSym:
		if isChoiceLetter(n.name) && n.name <= "E" {
			return "choice"
		}
	case kConst:
		if strings.HasPrefix(n.name, "bb") {
			return "set"
		}
	case kAdd:
		if n.mixed {
			return "mixed_number"
		}
	}
	if name, ok := kindNames[n.kind]; ok {
		return name
	}
	return scalarType(n)
}

var kindNames = map[kind]string{
	kSet: "set", kList: "list", kSetOp: "union", kMatrix: "matrix", kPercent: "percent", kDegree: "degrees",
	kQuantity: "quantity", kBaseN: "base_n", kRatio: "ratio", kText: "text",
}

func relationType(n *node) string {
	for _, o := range n.ops {
		if o.orders() || o == relNotEq {
			return "inequality"
		}
		if o == relIn || o == relNotIn {
			return "membership"
		}
	}
	return "equation"
}

func scalarType(n *node) string {
	switch {
	case n.hasSymbol():
		return "expression"
	case n.kind == kDiv && n.kids[0].isLiteral() && n.kids[1].isLiteral():
		return "fraction"
	case n.has(func(m *node) bool { return m.kind == kConst && m.name == "i" }):
		return "complex"
	}
	return "constant"
}

func (n *node) isLiteral() bool {
	return n.kind == kNum || n.kind == kNeg && n.kids[0].isLiteral()
}

func isInfinity(n *node) bool { return n.kind == kConst && n.name == "infty" }
