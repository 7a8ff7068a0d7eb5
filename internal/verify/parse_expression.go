package verify

import "strings"

// operand reads sets and numbers joined by ∪, ∩ and \setminus, with a unit after them.
func (p *parser) operand() *node {
	n := p.quantity()
	for {
		t := p.peek()
		if t.kind != tCmd || t.s != "cup" && t.s != "cap" && t.s != "setminus" {
			return n
		}
		p.i++
		n = &node{kind: kSetOp, name: t.s, kids: []*node{n, p.quantity()}}
	}
}

// quantity reads a number or expression and the unit, per-cent sign or currency that belongs to it.
func (p *parser) quantity() *node {
	outer := p.money
	p.money = false
	n := p.ratio()
	if u, ok := p.unit(n); ok {
		if u.percent {
			n = op(kPercent, n)
		} else {
			n = &node{kind: kQuantity, kids: []*node{n}, unit: u}
		}
	} else if p.money {
		n = &node{kind: kQuantity, kids: []*node{n}, unit: dollars}
	}
	p.money = outer
	return n
}

func (p *parser) ratio() *node {
	n := p.sum()
	if !p.peek().is(":") {
		return n
	}
	r := op(kRatio, n)
	for p.accept(":") {
		r.kids = append(r.kids, p.sum())
	}
	return r
}

// sum reads terms joined by + and -, and the signs ± and ∓.
func (p *parser) sum() *node {
	p.enter()
	defer p.leave()
	var n *node
	for {
		t := p.peek()
		if n != nil && (t.kind != tPunct || !strings.Contains("+-±∓", t.s)) {
			return n
		}
		sign := ""
		for t.kind == tPunct && (t.s == "+" || t.s == "-" || t.s == "±" || t.s == "∓") {
			p.i++
			sign = combineSigns(sign, t.s)
			t = p.peek()
		}
		n = p.attach(n, sign, p.term())
	}
}

// combineSigns merges consecutive signs such as "--" or "+-".
func combineSigns(a, b string) string {
	switch {
	case a == "" || a == "+":
		return b
	case b == "+":
		return a
	case a == "-" && b == "-":
		return "+"
	}
	return b
}

// attach adds a signed term to the sum so far.
func (p *parser) attach(n *node, sign string, term *node) *node {
	switch sign {
	case "-":
		term = neg(term)
	case "±", "∓":
		if p.signs++; p.signs > maxSigns {
			panic(parseStop{errLimit})
		}
		pm := &node{kind: kPM, name: map[string]string{"±": "pm", "∓": "mp"}[sign], kids: []*node{orElse(n, intNode(0)), term}}
		return pm
	}
	switch {
	case n == nil:
		return term
	case n.kind == kAdd && !n.mixed:
		n.kids = append(n.kids, term)
		return n
	}
	return op(kAdd, n, term)
}

// term reads factors that are multiplied, divided, or merely written side by side.
func (p *parser) term() *node {
	n := p.factor()
	last := n
	for {
		t := p.peek()
		switch {
		case t.is("*"):
			p.i++
			last = p.signed()
			n = product(n, last)
		case t.is("/"):
			p.i++
			last = p.signed()
			n = op(kDiv, n, last)
		case t.is("mod"):
			p.i++
			n = call("mod", n, p.signed())
		case t.kind == tNum && last.kind == kNum: // "3 4" is no product
			return n
		case p.startsFactor():
			last = p.factor()
			n = product(n, last)
		default:
			return n
		}
	}
}

func product(a, b *node) *node {
	if a.kind == kMul {
		a.kids = append(a.kids, b)
		return a
	}
	return op(kMul, a, b)
}

// signed reads a factor that may carry a sign, as in 2·-3.
func (p *parser) signed() *node {
	switch {
	case p.accept("-"):
		return neg(p.signed())
	case p.accept("+"):
		return p.signed()
	}
	return p.factor()
}

// startsFactor reports whether the next token begins a factor that is multiplied implicitly.
func (p *parser) startsFactor() bool {
	t := p.peek()
	switch t.kind {
	case tLetter, tNum:
		return true
	case tWord, tRoman, tText:
		return !p.unitAhead() && t.kind != tText
	case tCmd:
		return operandCommands[t.s] || strings.HasPrefix(t.s, "begin ") || t.s == "sqrt" || functionNames[t.s] != ""
	case tPunct:
		switch t.s {
		case "(", "[", "{", `\{`, "|(", "⌊", "⌈", "⟨":
			return !(t.s == "[" && p.closesInterval())
		case "|", "||":
			return p.bars == 0
		case `\$`:
			return false
		}
	}
	return false
}

// closesInterval reports whether "[" at this place closes an interval in the French style, as in ]0,1[.
func (p *parser) closesInterval() bool {
	next := p.at(1)
	return next.kind == tEnd || next.is(",") || next.is("cup") || next.is(";")
}

// factor reads a power with its postfix signs.
func (p *parser) factor() *node {
	p.enter()
	defer p.leave()
	if n := p.mixedNumber(); n != nil {
		return n
	}
	return p.postfix(p.atom())
}
