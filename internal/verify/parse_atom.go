package verify

import "strings"

// operandCommands are the control sequences that begin an operand, besides functions.
var operandCommands = nameSet(`frac binom pi infty sqrt cbrt emptyset bbR bbZ bbQ bbN bbC sum prod lim int iint oint
	hat bar overline tilde vec dot ddot dddot angle triangle exp degree det`)

// functionNames maps the names of functions to those of knownFunctions.
var functionNames = func() map[string]string {
	m := map[string]string{}
	for _, name := range [...]string{"log", "log10", "exp", "sqrt", "cbrt", "det", "deg", "dim", "rank", "tr", "Pr"} {
		m[name] = name
	}
	for name := range knownFunctions {
		m[name] = name
	}
	return m
}()

// atom reads an operand without its postfix signs.
func (p *parser) atom() *node {
	p.enter()
	defer p.leave()
	t := p.peek()
	p.i++
	switch t.kind {
	case tNum:
		return p.numberAtom(t)
	case tLetter:
		return p.symbol(t.s)
	case tWord:
		return p.word(t.s)
	case tRoman:
		return p.roman(t.s)
	case tText:
		if v, ok := wordNumbers[plainWords(t.s)]; ok {
			return intNode(v)
		}
		return p.symbol(plainWords(t.s))
	case tCmd:
		return p.commandAtom(t.s)
	case tPunct:
		return p.bracketAtom(t)
	}
	p.fail()
	return nil
}

// roman reads an upright name: a constant, a variable, or words.
func (p *parser) roman(s string) *node {
	return p.symbol(strings.ReplaceAll(s, " ", "_"))
}

// word reads a run of plain letters inside mathematics: a product of letters, or one name. Words of prose
// show that it is no mathematics.
func (p *parser) word(s string) *node {
	if isProse(s) {
		p.fail()
	}
	if v, ok := wordNumbers[strings.ToLower(s)]; ok {
		return intNode(v)
	}
	if !isLetterProduct(s) {
		return p.symbol(s)
	}
	p.i--
	p.splice(letterTokens(s))
	return p.atom()
}

// splice replaces the token at the current position.
func (p *parser) splice(with []token) {
	if p.splices++; p.splices > maxSplices {
		panic(parseStop{errLimit})
	}
	p.t = append(append(append(make([]token, 0, len(p.t)+len(with)), p.t[:p.i]...), with...), p.t[p.i+1:]...)
}

// sym0 is a plain letter: e and i are constants.
func sym0(name string) *node {
	if name == "e" || name == "i" {
		return constant(name)
	}
	return sym(name)
}

// symbol reads the primes, the index and the arguments of a variable.
func (p *parser) symbol(name string) *node {
	if name == "Delta" && p.peek().kind == tLetter {
		name += " " + p.peek().s // Δp is one quantity
		p.i++
	}
	n := sym0(name)
	index := p.index()
	primes := ""
	for p.accept("'") {
		primes += "'"
	}
	if p.peek().is("^") && p.at(1).is("{") && p.at(2).is("'") {
		p.i += 2
		for p.accept("'") {
			primes += "'"
		}
		p.expect("}")
	}
	if p.peek().is("^") && p.at(1).is("'") {
		p.i++
		for p.accept("'") {
			primes += "'"
		}
	}
	if index == nil {
		index = p.index()
	}
	switch {
	case index != nil && index.kind == kSym:
		n = sym(name + "_" + index.name + primes)
	case index != nil:
		n = call(name+"_"+primes, index)
	case primes != "":
		n = sym(name + primes)
	}
	if n.kind == kSym && p.isCall(n.name, primes != "") {
		p.i++
		args := p.arguments(")")
		if n.name == "C" && len(args) == 2 {
			return call("binom", args...)
		}
		return call(n.name, args...)
	}
	return n
}

// index reads a subscript: a symbol with its text as name, or an expression if it has + or -.
func (p *parser) index() *node {
	if !p.peek().is("_") {
		return nil
	}
	p.i++
	if !p.peek().is("{") {
		t := p.peek()
		if t.kind == tEnd || t.kind == tPunct && t.s != "*" && t.s != "+" {
			p.fail()
		}
		p.i++
		return sym(indexText(t))
	}
	end := matching(p.t[p.i:])
	if end < 0 {
		p.fail()
	}
	inner := p.t[p.i+1 : p.i+end]
	p.i += end + 1
	var b strings.Builder
	expression := false
	for k, t := range inner {
		b.WriteString(indexText(t))
		expression = expression || k > 0 && (t.is("+") || t.is("-"))
	}
	if expression {
		if n := p.inner(inner); n != nil && n.isScalar() {
			return n.orWrapped()
		}
	}
	return sym(b.String())
}

// orWrapped makes sure that an index is not mistaken for a plain name.
func (n *node) orWrapped() *node {
	if n.kind == kSym {
		return op(kAdd, n)
	}
	return n
}

func indexText(t token) string {
	switch t.kind {
	case tText:
		return plainWords(t.s)
	case tRoman:
		return strings.ReplaceAll(t.s, " ", "")
	}
	if t.is("{") || t.is("}") {
		return ""
	}
	return t.s
}

// isCall decides whether "(" after a name begins its arguments rather than a factor.
func (p *parser) isCall(name string, primed bool) bool {
	if !p.peek().is("(") {
		return false
	}
	if p.tex {
		return true
	}
	switch name[0] {
	case 'f', 'g', 'F', 'G':
		if len(name) == 1 || name[1] == '_' || name[1] == '\'' {
			return true
		}
	}
	if primed || name == "Phi" || name == "Psi" || name == "delta" || name == "varphi" {
		return true
	}
	arg := p.at(1)
	if p.at(2).is(")") {
		return arg.kind == tNum || arg.kind == tLetter && arg.s != name
	}
	return p.listInside()
}

// listInside reports whether a comma or a relation stands directly inside the bracket that opens here, as in
// f(x,y) and P(X=2).
func (p *parser) listInside() bool {
	depth := 0
	for k := p.i; k < len(p.t); k++ {
		switch t := p.t[k]; {
		case t.is("("), t.is("["), t.is("{"), t.is(`\{`):
			depth++
		case t.is(")"), t.is("]"), t.is("}"), t.is(`\}`):
			if depth--; depth == 0 {
				return false
			}
		case depth == 1 && (t.is(",") || t.kind == tPunct && relations[t.s] != ""):
			return true
		}
	}
	return false
}

// texArgument reads the argument of a control sequence: a group, or one token, of which a number gives
// only its first digit.
func (p *parser) texArgument() *node {
	t := p.peek()
	switch {
	case t.is("{"):
		return p.group()
	case t.kind == tNum && len(t.s) > 1 && isDigit(t.s[0]):
		p.splitNumber(1)
	case t.is("-"):
		p.i++
		return neg(p.texArgument())
	}
	return p.atom()
}

// splitNumber splits the number at the current position after n characters.
func (p *parser) splitNumber(n int) {
	t := p.peek()
	p.splice([]token{{kind: tNum, s: t.s[:n], spaced: t.spaced}, {kind: tNum, s: t.s[n:]}})
}
