package verify

import (
	"math/big"
	"strconv"
	"strings"
)

// maxExponent is the largest power of ten that a numeral in scientific notation is written out to.
const maxExponent = 400

// numeral makes the node of a numeral such as 12, 025, .5, 3., 1.50e-3. nil if it is none.
func numeral(s string) *node {
	mantissa, exponent := s, 0
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		e, err := strconv.Atoi(s[i+1:])
		if err != nil {
			return nil
		}
		mantissa, exponent = s[:i], e
	}
	whole, fraction, point := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	n := &node{
		kind:    kNum,
		decimal: point && fraction != "" || mantissa != s,
		digits:  len(digits),
		places:  len(fraction) - exponent,
		width:   len(whole),
	}
	v, ok := new(big.Int).SetString("0"+whole+fraction, 10)
	if !ok {
		return nil
	}
	if exponent > maxExponent || exponent < -maxExponent {
		power := op(kPow, intNode(10), intNode(int64(exponent-len(fraction))))
		return op(kMul, ratNode(new(big.Rat).SetInt(v)), power)
	}
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(n.places, -n.places))), nil)
	if n.places >= 0 {
		n.rat = new(big.Rat).SetFrac(v, scale)
	} else {
		n.rat = new(big.Rat).SetInt(v.Mul(v, scale))
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

// repeating reads the repeating digits after a decimal, as in 0.1\overline{6}.
func (p *parser) repeating(head string) *node {
	block := p.texArgumentDigits()
	_, fraction, _ := strings.Cut(head, ".")
	n := numeral(head)
	period, ok := new(big.Int).SetString(block, 10)
	if n == nil || !ok || len(block) == 0 || len(head)+len(block) > maxDigits {
		p.fail()
	}
	ten := big.NewInt(10)
	den := new(big.Int).Exp(ten, big.NewInt(int64(len(block))), nil)
	den.Sub(den, big.NewInt(1))
	den.Mul(den, new(big.Int).Exp(ten, big.NewInt(int64(len(fraction))), nil))
	return ratNode(n.rat.Add(n.rat, new(big.Rat).SetFrac(period, den)))
}

// texArgumentDigits reads {digits} or one digit.
func (p *parser) texArgumentDigits() string {
	braces := p.accept("{")
	t := p.peek()
	if t.kind != tNum || !allDigits(t.s) {
		p.fail()
	}
	if !braces && len(t.s) > 1 {
		p.splitNumber(1)
		t = p.peek()
	}
	p.i++
	if braces {
		p.expect("}")
	}
	return t.s
}

// mixedNumber reads an integer followed by a proper fraction of two integers: 1\frac{4}{5} or 1 4/5.
// It returns nil, and reads nothing, if something else follows.
func (p *parser) mixedNumber() *node {
	whole := p.peek()
	if whole.kind != tNum || !allDigits(whole.s) {
		return nil
	}
	var num, den string
	width := 0
	switch next := p.at(1); {
	case next.is("frac"):
		num, den, width = p.literalFraction(2)
	case next.kind == tNum && next.spaced && p.at(2).is("/") && p.at(3).kind == tNum:
		num, den, width = next.s, p.at(3).s, 3
	}
	if width == 0 || !allDigits(num) || !allDigits(den) {
		return nil
	}
	w, a, b := numeral(whole.s), numeral(num), numeral(den)
	if a.rat.Sign() == 0 || a.rat.Cmp(b.rat) >= 0 {
		return nil
	}
	p.i += 1 + width
	return &node{kind: kAdd, mixed: true, kids: []*node{w, op(kDiv, a, b)}}
}

// literalFraction reads ahead the two integers of a \frac whose arguments begin k tokens ahead. width is
// the number of tokens from \frac on, 0 if the arguments are not integers.
func (p *parser) literalFraction(k int) (num, den string, width int) {
	start := k - 1
	var args []string
	for len(args) < 2 {
		switch t := p.at(k); {
		case t.is("{") && p.at(k+1).kind == tNum && p.at(k+2).is("}"):
			args = append(args, p.at(k+1).s)
			k += 3
		case t.kind == tNum && len(t.s) == 1:
			args = append(args, t.s)
			k++
		case t.kind == tNum && len(t.s) == 2 && len(args) == 0:
			args = append(args, t.s[:1], t.s[1:])
			k++
		default:
			return "", "", 0
		}
	}
	return args[0], args[1], k - start
}

// postfix reads what may follow an operand: powers, factorials, per cent, degrees.
func (p *parser) postfix(n *node) *node {
	for count := 0; ; count++ {
		if count > maxDepth {
			panic(parseStop{errLimit})
		}
		switch t := p.peek(); {
		case t.is("^"):
			n = p.power(n)
		case t.is("!") && p.at(1).is("!"):
			p.i += 2
			n = call("factorial2", n)
		case t.is("!"):
			p.i++
			n = call("factorial", n)
		case t.is("%"):
			p.i++
			n = op(kPercent, n)
		case t.is("degree"):
			p.i++
			n = p.degrees(n)
		case t.is(`\$`) && p.i == len(p.t)-1:
			p.i++
			p.money = true
		default:
			return n
		}
	}
}

// power reads an exponent, which may also be the sign of degrees.
func (p *parser) power(base *node) *node {
	p.enter()
	defer p.leave()
	p.expect("^")
	if p.peek().is("{") && (p.at(1).is("circ") || p.at(1).is("degree")) && p.at(2).is("}") {
		p.i += 3
		return p.degrees(base)
	}
	if p.accept("circ") || p.accept("degree") {
		return p.degrees(base)
	}
	exponent := p.exponent()
	if p.peek().is("_") && base.kind == kSym {
		if index := p.index(); index.kind == kSym {
			base = sym(base.name + "_" + index.name)
		} else {
			base = call(base.name+"_", index)
		}
	}
	if base.kind == kSym && (base.name == "f" || base.name == "g" || base.name == "h") && p.peek().is("(") &&
		exponent.kind == kNeg && exponent.kids[0].kind == kNum {
		p.i++
		return call(base.name+"^"+exponent.String(), p.arguments(")")...)
	}
	return op(kPow, base, exponent)
}

// exponent reads what stands after ^: a group or one operand, to which a further power belongs.
func (p *parser) exponent() *node {
	p.enter()
	defer p.leave()
	var n *node
	switch {
	case p.accept("-"):
		return neg(p.exponent())
	case p.accept("+"):
		return p.exponent()
	case p.peek().is("{"):
		n = p.group()
	case p.peek().kind == tNum: // an index after it belongs to what is raised, as in v^2_0
		if n = numeral(p.peek().s); n == nil {
			p.fail()
		}
		p.i++
	default:
		n = p.atom()
	}
	if p.peek().is("^") && !p.at(1).is("circ") {
		p.i++
		n = op(kPow, n, p.exponent())
	}
	return n
}

// degrees reads the minutes of an angle and the scale of a temperature after the sign of degrees.
func (p *parser) degrees(n *node) *node {
	t := p.peek()
	if (t.kind == tLetter || t.kind == tRoman || t.kind == tText) && (t.s == "C" || t.s == "F") {
		p.i++
		return op(kDegree, n)
	}
	if t.kind == tNum && (p.at(1).is("'") || p.at(1).is("^") && p.at(2).is("'")) {
		if p.i++; p.accept("^") {
			p.i++
		} else {
			p.expect("'")
		}
		minutes := numeral(t.s)
		if minutes == nil {
			p.fail()
		}
		n = op(kAdd, n, op(kDiv, minutes, intNode(60)))
	}
	return op(kDegree, n)
}
