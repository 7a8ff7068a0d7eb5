package verify

import (
	"math/big"
	"strings"
)

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

// numberAtom makes the node of a numeral, with its base or its repeating digits.
func (p *parser) numberAtom(t token) *node {
	if p.peek().is("_") && !strings.Contains(t.s, ".") {
		if base := p.base(); base != nil {
			return &node{kind: kBaseN, name: t.s, rat: base}
		}
	}
	if strings.Contains(t.s, ".") && (p.peek().is("overline") || p.peek().is("dot") || p.peek().is("bar")) {
		p.i++
		return p.repeating(t.s)
	}
	n := numeral(t.s)
	if n == nil {
		p.fail()
	}
	return n
}

// base reads the base of a number: an index that is an integer from 2 to 36.
func (p *parser) base() *big.Rat {
	t := p.at(1)
	width := 2
	if t.is("{") && p.at(3).is("}") {
		t, width = p.at(2), 4
	}
	if t.kind == tText || t.kind == tRoman || t.kind == tWord {
		if v, ok := wordNumbers[strings.ToLower(t.s)]; ok {
			t = token{kind: tNum, s: big.NewInt(v).String()}
		}
	}
	n := numeral(t.s)
	if t.kind != tNum || n == nil || !n.rat.IsInt() || n.rat.Cmp(big.NewRat(2, 1)) < 0 || n.rat.Cmp(big.NewRat(36, 1)) > 0 {
		p.fail()
	}
	p.i += width
	return n.rat
}
