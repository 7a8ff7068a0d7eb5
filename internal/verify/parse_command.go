package verify

import (
	"strconv"
	"strings"
)

// commandAtom reads an operand that begins with a control sequence or a known name.
func (p *parser) commandAtom(name string) *node {
	switch name {
	case "frac":
		num := p.texArgument()
		return op(kDiv, num, p.texArgument())
	case "binom":
		if p.peek().is("(") {
			break
		}
		n := p.texArgument()
		return call("binom", n, p.texArgument())
	case "sqrt":
		return p.root()
	case "cbrt":
		return op(kPow, p.rootArgument(), op(kDiv, intNode(1), intNode(3)))
	case "pi", "infty":
		return constant(name)
	case "bbR", "bbZ", "bbQ", "bbN", "bbC":
		if p.peek().is("^") {
			p.fail()
		}
		return constant(name)
	case "emptyset":
		return op(kSet)
	case "sum", "prod", "lim", "int", "iint", "oint":
		return p.big(name)
	case "overline", "bar":
		if p.peek().is("{") && p.sumInside() {
			return call("conj", p.group())
		}
		return p.symbol(name + " " + p.rawArgument())
	case "hat", "tilde", "vec", "dot", "ddot", "dddot":
		return p.symbol(name + " " + p.rawArgument())
	case "angle", "triangle":
		return p.named(name)
	}
	if f, ok := functionNames[name]; ok {
		return p.function(f)
	}
	if strings.HasPrefix(name, "begin ") {
		return p.matrix(strings.TrimPrefix(name, "begin "))
	}
	p.fail()
	return nil
}

// sumInside reports whether the group that opens here holds a sum: then a bar over it conjugates.
func (p *parser) sumInside() bool {
	end := matching(p.t[p.i:])
	for k := 1; k < end; k++ {
		if t := p.at(k); t.is("+") || t.is("-") {
			return true
		}
	}
	return false
}

// root reads the index and the argument of a square root sign.
func (p *parser) root() *node {
	degree := intNode(2)
	if p.accept("[") {
		degree = p.sum()
		p.expect("]")
	}
	return op(kPow, p.rootArgument(), op(kDiv, intNode(1), degree))
}

// rootArgument reads the argument of a root. A number is read whole: \sqrt12 is meant as √12.
func (p *parser) rootArgument() *node {
	if p.peek().is("{") {
		return p.group()
	}
	return p.atom()
}

// rawArgument returns the text of a group or of one token.
func (p *parser) rawArgument() string {
	t := p.peek()
	if !t.is("{") {
		p.i++
		return t.s
	}
	end := matching(p.t[p.i:])
	if end < 0 {
		p.fail()
	}
	var b strings.Builder
	for _, t := range p.t[p.i : p.i+end] {
		b.WriteString(indexText(t))
	}
	p.i += end + 1
	return b.String()
}

// named reads an angle or a triangle named by letters: one quantity.
func (p *parser) named(name string) *node {
	for {
		t := p.peek()
		if t.kind != tLetter && t.kind != tWord {
			return p.symbol(name)
		}
		p.i++
		if name += " " + t.s; p.peek().is("_") {
			name += "_" + p.index().String()
		}
	}
}

// inverse maps a function to the one that its power -1 denotes.
var inverse = map[string]string{
	"sin": "arcsin", "cos": "arccos", "tan": "arctan", "cot": "arccot", "sec": "arcsec", "csc": "arccsc",
	"sinh": "arcsinh", "cosh": "arccosh", "tanh": "arctanh",
}

// function reads the base, the power and the argument of a function.
func (p *parser) function(name string) *node {
	var base, power *node
	if p.peek().is("_") {
		base = p.functionIndex()
	}
	if p.peek().is("^") {
		p.i++
		power = p.exponent()
		if base == nil && p.peek().is("_") {
			base = p.functionIndex()
		}
	}
	if power != nil && power.kind == kNeg && power.kids[0].kind == kNum && power.kids[0].rat.IsInt() &&
		power.kids[0].rat.Num().IsInt64() && power.kids[0].rat.Num().Int64() == 1 && inverse[name] != "" {
		name, power = inverse[name], nil
	}
	n := p.apply(name, base)
	if power != nil {
		n = op(kPow, n, power)
	}
	return n
}

// functionIndex reads the base of a logarithm: a group, or one digit unless the number is 10.
func (p *parser) functionIndex() *node {
	p.expect("_")
	if t := p.peek(); t.kind == tNum && len(t.s) > 1 && t.s != "10" {
		p.splitNumber(1)
	}
	if p.peek().is("{") {
		return p.group()
	}
	return p.atom()
}

// apply reads a function's argument and builds its node.
func (p *parser) apply(name string, base *node) *node {
	args := p.functionArguments()
	x := args[0]
	multi := name == "gcd" || name == "lcm" || name == "max" || name == "min" || name == "mod" || name == "binom"
	if len(args) > 1 && !multi && name != "log" || (name == "mod" || name == "binom") && len(args) != 2 {
		p.fail()
	}
	switch name {
	case "exp":
		return op(kPow, constant("e"), x)
	case "sqrt":
		return op(kPow, x, op(kDiv, intNode(1), intNode(2)))
	case "cbrt":
		return op(kPow, x, op(kDiv, intNode(1), intNode(3)))
	case "log10":
		return op(kDiv, call("ln", x), call("ln", intNode(10)))
	case "log", "ln":
		if len(args) == 2 { // log(x, b)
			base = args[1]
		}
		if base == nil {
			return call("ln", x)
		}
		return op(kDiv, call("ln", x), call("ln", base))
	case "gcd", "lcm", "max", "min":
		if len(args) == 1 && x.kind == kSet {
			args = x.kids
		}
		if base != nil {
			p.fail()
		}
		return call(name, args...)
	}
	if base != nil {
		p.fail()
	}
	return call(name, args...)
}

// functionArguments reads what a function applies to: the contents of a bracket, or else the product that
// follows up to the next sign or function.
func (p *parser) functionArguments() []*node {
	switch t := p.peek(); {
	case t.is("("):
		p.i++
		return p.arguments(")")
	case t.is("["):
		p.i++
		return p.arguments("]")
	case t.is(`\{`):
		p.i++
		return p.arguments(`\}`)
	case t.is("{"):
		return []*node{p.group()}
	case t.is("-"):
		p.i++
		return []*node{neg(p.bareArgument())}
	}
	return []*node{p.bareArgument()}
}

func (p *parser) bareArgument() *node {
	n := p.factor()
	for {
		t := p.peek()
		_, isFunction := functionNames[t.s]
		stop := t.kind == tCmd && isFunction && t.s != "sqrt" && t.s != "cbrt" ||
			t.is("(") || t.is("[") || t.is("{") || t.is("|") || t.is("||") || t.is("|(") || t.is(`\{`)
		if stop || !p.startsFactor() {
			return n
		}
		n = product(n, p.factor())
	}
}

// big reads a sum, product, limit or integral: its bounds and the term that it governs.
func (p *parser) big(name string) *node {
	n := &node{kind: kBig, name: name}
	var from, to *node
	if p.accept("_") {
		from = p.boundary()
	}
	if p.accept("^") {
		to = p.boundary()
	}
	if from == nil && p.accept("_") {
		from = p.boundary()
	}
	p.sums++
	body := p.term()
	p.sums--
	if from != nil && from.kind == kRel && len(from.kids) == 2 && from.kids[0].isName() {
		name := from.kids[0].name
		n.sub = "#" + strconv.Itoa(p.sums) // the same for every name of the bound variable
		body = bindVariable(body, name, n.sub)
		from = from.kids[1]
	}
	n.kids = []*node{body}
	for _, b := range [...]*node{from, to} {
		if b != nil {
			n.kids = append(n.kids, b)
		}
	}
	return n
}

// isName reports whether n is a plain variable; i may be one where a sum binds it.
func (n *node) isName() bool { return n.kind == kSym || n.kind == kConst && n.name == "i" }

// bindVariable renames a bound variable; where it is an index, as in a_k, it becomes an argument.
func bindVariable(body *node, name, bound string) *node {
	return body.replace(func(m *node) *node {
		if m.isName() && m.name == name {
			return sym(bound)
		}
		if m.kind == kSym {
			if head, ok := strings.CutSuffix(m.name, "_"+name); ok {
				return call(head+"_", sym(bound))
			}
		}
		return nil
	})
}

// boundary reads a bound of a sum: a group, which may hold a relation, or one operand.
func (p *parser) boundary() *node {
	if !p.peek().is("{") {
		return p.exponent()
	}
	return p.group()
}
