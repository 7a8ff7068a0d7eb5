package verify

import (
	"errors"
	"strings"
)

// answer is a parsed answer, or an opaque one: tokens only.
type answer struct {
	node   *node  // nil if the answer is opaque
	tokens string // the normalised tokens
	typ    string // the name of its type
	merged bool   // commas were read as separators of thousands
	err    error  // why node is nil
}

// opaque reports whether only tokens can be compared.
func (a answer) opaque() bool { return a.node == nil }

// parse reads an answer. Every token must be consumed, or the answer is opaque.
func parse(s string) answer { return parseStyle(s, plainStyle) }

// parseStyle reads an answer in a style.
func parseStyle(s string, style style) answer {
	tokens, err := lex(s, style)
	if err != nil {
		return answer{tokens: squeeze(s), typ: "opaque", err: err}
	}
	tokens = trimTokens(tokens)
	a := answer{tokens: joinTokens(tokens)}
	for _, t := range tokens {
		a.merged = a.merged || t.merged
	}
	a.node, a.err = parseTokens(tokens, style)
	if a.node == nil {
		a.typ = "opaque"
		return a
	}
	a.typ = typeName(a.node)
	return a
}

// squeeze is the normal form of an answer that has no tokens: without white space, at most maxAnswerBytes.
func squeeze(s string) string {
	if len(s) > maxAnswerBytes {
		s = s[:maxAnswerBytes]
	}
	return strings.Join(strings.Fields(s), "")
}

// joinTokens is the normal form that opaque answers are compared by.
func joinTokens(tokens []token) string {
	var b strings.Builder
	for _, t := range tokens {
		if t.kind == tCmd {
			b.WriteByte('\\')
		}
		s := t.s
		if t.kind == tText {
			s = plainWords(s)
		}
		b.WriteString(s)
		b.WriteByte(' ')
	}
	return b.String()
}

// trimTokens drops punctuation around an answer, and braces that enclose all of it.
func trimTokens(t []token) []token {
	for {
		n := len(t)
		for len(t) > 0 && (t[len(t)-1].is(".") || t[len(t)-1].is(",") || t[len(t)-1].is(";") || t[len(t)-1].is(`\\`)) {
			t = t[:len(t)-1]
		}
		for len(t) > 0 && (t[0].is("=") || t[0].is("≈") || t[0].is(":") || t[0].is(`\\`)) {
			t = t[1:]
		}
		if len(t) > 2 && t[0].is("{") && t[len(t)-1].is("}") && matching(t) == len(t)-1 && !topComma(t[1:len(t)-1]) {
			t = t[1 : len(t)-1]
		}
		if len(t) == n {
			return t
		}
	}
}

// matching returns the index of the brace that closes the one at t[0].
func matching(t []token) int {
	depth := 0
	for i := range t {
		switch {
		case t[i].is("{"):
			depth++
		case t[i].is("}"):
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// topComma reports whether a comma stands outside all brackets.
func topComma(t []token) bool {
	depth := 0
	for i := range t {
		if t[i].kind != tPunct {
			continue
		}
		switch t[i].s {
		case "{", "(", "[", `\{`:
			depth++
		case "}", ")", "]", `\}`:
			depth--
		case ",":
			if depth == 0 {
				return true
			}
		}
	}
	return false
}

// parseTokens reads a whole answer: a choice, words, or mathematics.
func parseTokens(tokens []token, style style) (n *node, err error) {
	if len(tokens) == 0 {
		return nil, errSyntax
	}
	if n := parseChoice(tokens); n != nil {
		return n, nil
	}
	return parsePlain(tokens, style)
}

// parsePlain reads an answer that is no multiple-choice one.
func parsePlain(tokens []token, style style) (n *node, err error) {
	n, err = parseMath(tokens, style)
	if text := parseText(tokens); text != nil {
		if err == nil && n.isScalar() && text.kind == kText {
			text.kids = []*node{n}
		}
		return text, nil
	}
	return n, err
}

// parseMath reads tokens as mathematics.
func parseMath(tokens []token, style style) (n *node, err error) {
	return (&parser{t: splitTokens(tokens), tex: style == texStyle}).run()
}

// splitTokens splits words that are products of letters, and the digits of \frac12, beforehand: one by one
// it would cost more.
func splitTokens(tokens []token) []token {
	var out []token
	for i, t := range tokens {
		var parts []token
		switch {
		case t.kind == tWord && isLetterProduct(t.s) && !isUnit(t.s):
			parts = letterTokens(t.s)
		case t.kind == tNum && len(t.s) > 1 && allDigits(t.s) && i > 0 && tokens[i-1].is("frac"):
			parts = []token{{kind: tNum, s: t.s[:1]}, {kind: tNum, s: t.s[1:2]}}
			if len(t.s) > 2 {
				parts = append(parts, token{kind: tNum, s: t.s[2:]})
			}
		}
		if parts != nil && out == nil {
			out = append(make([]token, 0, 2*len(tokens)), tokens[:i]...)
		}
		switch {
		case parts != nil:
			parts[0].spaced = t.spaced
			out = append(out, parts...)
		case out != nil:
			out = append(out, t)
		}
	}
	if out == nil {
		return tokens
	}
	return out
}

// isLetterProduct reports whether a word inside mathematics is a product of one-letter variables, as in ab
// or SRMC: if it is short, or not long and all capitals.
func isLetterProduct(s string) bool {
	if len(s) > 8 || !isASCII(s) || len(s) > 3 && s != strings.ToUpper(s) || isProse(s) {
		return false
	}
	_, number := wordNumbers[strings.ToLower(s)]
	return !number
}

func letterTokens(s string) []token {
	letters := make([]token, len(s))
	for i := range letters {
		letters[i] = token{kind: tLetter, s: s[i : i+1]}
	}
	return letters
}

// inner reads tokens inside an answer by themselves, at the cost of the same parse; nil if they are no
// mathematics.
func (p *parser) inner(tokens []token) *node {
	q := &parser{t: tokens, tex: p.tex, depth: p.depth + 1, nodes: p.nodes, splices: p.splices, sums: p.sums}
	n, err := q.run()
	if isLimit(err) {
		panic(parseStop{err})
	}
	p.nodes, p.splices = q.nodes, q.splices
	return n
}

// run reads all tokens.
func (p *parser) run() (n *node, err error) {
	defer func() {
		if r := recover(); r != nil {
			stop, ok := r.(parseStop)
			if !ok {
				panic(r)
			}
			n, err = nil, stop.err
		}
	}()
	n = p.answer()
	if p.i < len(p.t) {
		return nil, errSyntax
	}
	return n, nil
}

// parser is a recursive-descent parser. Its methods panic with parseStop, which parseMath recovers.
type parser struct {
	t       []token
	i       int
	depth   int
	nodes   int
	bars    int // open absolute values
	signs   int // signs ±
	splices int // tokens that were split
	sums    int // open sums, products, limits and integrals
	money   bool
	tex     bool // texStyle: a letter before a parenthesis is a function; square brackets do not group
}

type parseStop struct{ err error }

func (p *parser) fail() { panic(parseStop{errSyntax}) }

// enter counts a level of nesting and a node, which also bounds the time of the parse.
func (p *parser) enter() {
	p.depth++
	p.nodes++
	if p.depth > maxDepth || p.nodes > 8*maxNodes {
		panic(parseStop{errLimit})
	}
}

func (p *parser) leave() { p.depth-- }

func (p *parser) peek() token { return p.at(0) }

func (p *parser) at(k int) token {
	if p.i+k < len(p.t) {
		return p.t[p.i+k]
	}
	return token{}
}

func (p *parser) accept(s string) bool {
	if p.peek().is(s) {
		p.i++
		return true
	}
	return false
}

func (p *parser) expect(s string) {
	if !p.accept(s) {
		p.fail()
	}
}

// answer reads items separated by commas, semicolons, line breaks and conjunctions.
func (p *parser) answer() *node {
	groups := [][]*node{nil}
	for {
		for p.accept("=") || p.accept("≈") { // "≈ 3.14" and a second line that begins with "="
			continue
		}
		last := len(groups) - 1
		groups[last] = append(groups[last], p.stacked())
		if len(groups[last]) > maxItems || len(groups) > maxItems {
			panic(parseStop{errLimit})
		}
		weak, ok := p.separator()
		if !ok || p.i >= len(p.t) {
			break
		}
		if weak {
			groups = append(groups, nil)
		}
	}
	return assemble(groups)
}

// stacked reads an item, or two joined by \over or \choose.
func (p *parser) stacked() *node {
	n := p.item()
	if p.accept("choose") {
		return call("binom", n, p.item())
	}
	if p.accept("over") {
		return op(kDiv, n, p.item())
	}
	return n
}

// separator reads what stands between two items. weak tells that it is not just a comma: ";", "and", "or".
func (p *parser) separator() (weak, ok bool) {
	for {
		switch {
		case p.accept(","), p.accept("&"):
		case p.accept(";"), p.accept("and"), p.accept("or"), p.accept(`\\`):
			weak = true
		default:
			return weak, ok
		}
		ok = true
	}
}

var relations = map[string]relation{
	"=": relEq, "≈": relApprox, "≡": relEquiv, "<": relLess, "<=": relLessEq, ">": relMore, ">=": relMoreEq,
	"!=": relNotEq, "in": relIn, "notin": relNotIn, "to": "to",
}

// item reads a chain of relations between operands.
func (p *parser) item() *node {
	p.enter()
	defer p.leave()
	first := p.operand()
	var n *node
	for {
		t := p.peek()
		rel, ok := relations[t.s]
		if !ok || t.kind != tPunct && t.kind != tCmd {
			return orElse(n, first)
		}
		p.i++
		p.accept("&")
		if n == nil {
			n = &node{kind: kRel, kids: []*node{first}}
		}
		n.ops = append(n.ops, rel)
		n.kids = append(n.kids, p.operand())
		if p.accept("pmod") {
			n.kids = append(n.kids, p.texArgument())
			n.ops = append(n.ops, "mod")
		}
	}
}

func orElse(n, other *node) *node {
	if n != nil {
		return n
	}
	return other
}

// isLimit reports whether an answer exceeded a bound, so that it is neither right nor wrong.
func isLimit(err error) bool { return errors.Is(err, errLimit) }
