package verify

import (
	"errors"
	"math/big"
	"regexp"
	"strings"

	"multiattempt/internal/verify/ball"
)

// symbolic stands in for the paper's comparison by SymPy, with this package's parser and comparison. SymPy
// first reads an answer as Python, where ^ is the exclusive or; that is repeated here, since it decides
// many pairs.
func (c *paperComparer) symbolic(pred, ref string) bool {
	p, r := paperParse(pred), paperParse(ref)
	if p == nil || r == nil {
		return false
	}
	if p.kind == kMatrix && r.kind == kMatrix {
		return c.matrices(r, p).outcome == same
	}
	if p.kind == kRel || r.kind == kRel {
		return p.kind == kRel && r.kind == kRel && c.relation(r, p)
	}
	if !p.isScalar() || !r.isScalar() {
		return false
	}
	switch res := c.scalars(r, p); {
	case res.outcome == same:
		return true
	case res.outcome == undecided:
		c.bounded = true
		return false
	case res.rule == "undefined":
		return isUndefined(p) && isUndefined(r) // SymPy: zoo == zoo
	}
	return !p.hasSymbol() && !r.hasSymbol() && c.closeValues(r, p)
}

// isUndefined reports whether a constant has no value, as 1/0.
func isUndefined(n *node) bool {
	e := &evaluator{ctx: &ball.Context{Prec: pointPrecisions[0], Fuel: evalFuel}, point: constantPoint}
	_, err := e.eval(n)
	return errors.Is(err, errUndefined)
}

// relation compares equations up to sign, and inequalities side by side.
func (c *paperComparer) relation(ref, pred *node) bool {
	r, okR := links(ref)
	p, okP := links(pred)
	if okR && okP && len(r) == 1 && len(p) == 1 && r[0].op == p[0].op {
		return c.scalars(r[0].difference, p[0].difference).outcome == same ||
			r[0].op == relEq && c.scalars(r[0].difference, neg(p[0].difference)).outcome == same
	}
	return c.memberwise(ref, pred).outcome == same
}

// closeValues compares two constants to a relative tolerance of 1e-4.
func (c *paperComparer) closeValues(a, b *node) bool {
	e := &evaluator{ctx: &ball.Context{Prec: pointPrecisions[0], Fuel: c.fuel}, point: constantPoint}
	x, errX := e.eval(a)
	y, errY := e.eval(b)
	c.fuel = e.ctx.Fuel
	if errors.Is(errX, errLimit) || errors.Is(errY, errLimit) {
		c.bounded = true
	}
	if errX != nil || errY != nil {
		return false
	}
	zx, zy := e.complex(x), e.complex(y)
	if !zx.IsReal() || !zy.IsReal() {
		return false
	}
	fx, _ := zx.Re.Mid().Float64()
	fy, _ := zy.Re.Mid().Float64()
	return isClose(fx, fy)
}

var pythonExpression = regexp.MustCompile(`^[-+*/^() .\w]+$`)

// paperParse reads an answer as Python if it is Python, else as LaTeX. nil if it is neither.
func paperParse(s string) *node {
	if pythonExpression.MatchString(s) {
		if n := pythonParse(s); n != nil {
			return n
		}
	}
	a := parseStyle(s, texStyle)
	if a.opaque() || a.node.has(func(m *node) bool {
		return m.kind == kText || m.kind == kQuantity || m.kind == kDegree || m.kind == kPercent || m.kind == kChoice
	}) {
		return nil
	}
	n := foldMatrices(a.node)
	if n.kind == kRatio { // a colon divides
		for _, k := range n.kids[1:] {
			n = op(kDiv, n.kids[0], k)
		}
	}
	return n
}

// pythonToken is one token of the arithmetic part of Python's grammar.
var pythonToken = regexp.MustCompile(`\s*(\*\*|[-+*/^()]|\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|[A-Za-z_]\w*)`)

// pythonParse parses arithmetic in Python's syntax; nil if s is something else.
func pythonParse(s string) *node {
	var tokens []string
	for rest := strings.TrimSpace(s); rest != ""; rest = strings.TrimSpace(rest) {
		m := pythonToken.FindStringSubmatchIndex(rest)
		if m == nil || m[0] != 0 || len(tokens) > maxTokens {
			return nil
		}
		tokens = append(tokens, rest[m[2]:m[3]])
		rest = rest[m[1]:]
	}
	p := &python{t: tokens, fuel: 512}
	n := p.xor(0)
	if n == nil || p.i != len(p.t) {
		return nil
	}
	return n
}

// python is a parser of Python's arithmetic.
type python struct {
	t    []string
	i    int
	fuel int
}

func (p *python) peek() string {
	if p.i < len(p.t) {
		return p.t[p.i]
	}
	return ""
}

// xor is the lowest level: a ^ b of two integers.
func (p *python) xor(depth int) *node {
	n := p.binary(depth)
	for n != nil && p.peek() == "^" {
		p.i++
		m := p.binary(depth)
		if m == nil || n.hasSymbol() || m.hasSymbol() {
			return nil
		}
		a, b := rationalValue(n, &p.fuel), rationalValue(m, &p.fuel)
		if a == nil || b == nil || !a.IsInt() || !b.IsInt() {
			return nil
		}
		n = ratNode(new(big.Rat).SetInt(new(big.Int).Xor(a.Num(), b.Num())))
	}
	return n
}

// binary reads sums of products, left to right.
func (p *python) binary(depth int) *node {
	n := p.product(depth)
	for n != nil && (p.peek() == "+" || p.peek() == "-") {
		minus := p.peek() == "-"
		p.i++
		m := p.product(depth)
		if m == nil {
			return nil
		}
		if minus {
			m = neg(m)
		}
		n = op(kAdd, n, m)
	}
	return n
}

func (p *python) product(depth int) *node {
	n := p.unary(depth)
	for n != nil && (p.peek() == "*" || p.peek() == "/") {
		k := kMul
		if p.peek() == "/" {
			k = kDiv
		}
		p.i++
		m := p.unary(depth)
		if m == nil {
			return nil
		}
		n = op(k, n, m)
	}
	return n
}

func (p *python) unary(depth int) *node {
	if depth > maxDepth {
		return nil
	}
	switch p.peek() {
	case "-":
		p.i++
		if n := p.unary(depth + 1); n != nil {
			return neg(n)
		}
		return nil
	case "+":
		p.i++
		return p.unary(depth + 1)
	}
	base := p.operand(depth + 1)
	if base != nil && p.peek() == "**" {
		p.i++
		exponent := p.unary(depth + 1)
		if exponent == nil {
			return nil
		}
		return op(kPow, base, exponent)
	}
	return base
}

func (p *python) operand(depth int) *node {
	t := p.peek()
	p.i++
	switch {
	case t == "(":
		n := p.xor(depth + 1)
		if n == nil || p.peek() != ")" {
			return nil
		}
		p.i++
		return n
	case t == "" || strings.Contains("+-*/^)", t):
		return nil
	case isDigit(t[0]) || t[0] == '.':
		return numeral(t)
	case t == "pi":
		return constant("pi")
	case t == "E":
		return constant("e")
	case t == "I":
		return constant("i")
	case t == "sqrt" && p.peek() == "(":
		if n := p.operand(depth); n != nil {
			return op(kPow, n, op(kDiv, intNode(1), intNode(2)))
		}
		return nil
	case p.peek() == "(":
		return nil
	}
	return sym(t)
}
