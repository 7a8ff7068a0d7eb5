package verify

// arguments reads items up to the closing bracket.
func (p *parser) arguments(closing string) []*node {
	bars := p.bars
	p.bars = 0
	kids := []*node{p.item()}
	for p.accept(",") || p.accept(";") {
		if len(kids) >= maxItems {
			panic(parseStop{errLimit})
		}
		kids = append(kids, p.item())
	}
	p.expect(closing)
	p.bars = bars
	return kids
}

// group reads {…} as one expression, or as a set if it has several items.
func (p *parser) group() *node {
	p.expect("{")
	bars := p.bars
	p.bars = 0
	kids := []*node{p.stacked()}
	for p.accept(",") || p.accept(";") {
		if len(kids) >= maxItems {
			panic(parseStop{errLimit})
		}
		kids = append(kids, p.item())
	}
	p.expect("}")
	p.bars = bars
	if len(kids) == 1 {
		return kids[0]
	}
	return op(kSet, kids...)
}

// bracketAtom reads an operand that begins with a bracket, a bar or a currency sign.
func (p *parser) bracketAtom(t token) *node {
	switch t.s {
	case "{":
		p.i--
		return p.group()
	case "(", "[", "]":
		return p.bracketed(t.s[0])
	case `\{`:
		if p.accept(`\}`) {
			return op(kSet)
		}
		return op(kSet, p.arguments(`\}`)...)
	case "⟨":
		return &node{kind: kTuple, open: '(', close: ')', kids: p.arguments("⟩")}
	case "⌊":
		return call("floor", p.enclosed("⌋"))
	case "⌈":
		return call("ceil", p.enclosed("⌉"))
	case "|", "||", "|(":
		return call("abs", p.enclosed(map[string]string{"|": "|", "||": "||", "|(": "|)"}[t.s]))
	case `\$`:
		p.money = true
		if p.peek().is("-") {
			p.i++
			return neg(p.factor())
		}
		return p.factor()
	case "...":
		return sym("...")
	}
	p.fail()
	return nil
}

// enclosed reads an expression up to its closing delimiter.
func (p *parser) enclosed(closing string) *node {
	bars := p.bars
	p.bars = 0
	if closing == "|" || closing == "||" {
		p.bars = bars + 1
	}
	n := p.sum()
	p.expect(closing)
	p.bars = bars
	return n
}

// bracketed reads a parenthesis, a tuple or an interval whose opening bracket was just read.
func (p *parser) bracketed(open byte) *node {
	bars := p.bars
	p.bars = 0
	kids := []*node{p.item()}
	for p.accept(",") || p.accept(";") {
		if len(kids) >= maxItems {
			panic(parseStop{errLimit})
		}
		kids = append(kids, p.item())
	}
	p.bars = bars
	t := p.peek()
	if !t.is(")") && !t.is("]") && !(t.is("[") && open == ']') && !(t.is("[") && len(kids) == 2) {
		p.fail()
	}
	p.i++
	closing := t.s[0]
	if len(kids) == 1 {
		if open == '(' && closing == ')' || open == '[' && closing == ']' && (!p.tex || kids[0].kind == kMatrix) {
			return parenthesized(kids[0])
		}
		p.fail()
	}
	return &node{kind: kTuple, open: frenchOpen(open), close: frenchClose(closing), kids: kids}
}

// frenchOpen and frenchClose translate ]a,b[ to (a,b).
func frenchOpen(c byte) byte {
	if c == ']' {
		return '('
	}
	return c
}

func frenchClose(c byte) byte {
	if c == '[' {
		return ')'
	}
	return c
}

// parenthesized keeps later factors and terms from being merged into a parenthesis.
func parenthesized(n *node) *node {
	if n.kind == kMul || n.kind == kAdd {
		m := *n
		m.kids = append([]*node(nil), n.kids...)
		m.mixed = n.mixed
		if n.kind == kMul {
			return op(kMul, &m)
		}
		return op(kAdd, &m)
	}
	return n
}
