package verify

import (
	"math/big"
	"strconv"
	"strings"
)

// kind is the type of a node of a parsed answer.
type kind uint8

const (
	kNum      kind = iota // a literal: rat, digits, places
	kSym                  // a variable or named quantity: name
	kConst                // π, e, i, ∞: name
	kAdd                  // sum of kids
	kMul                  // product of kids
	kNeg                  // -kids[0]
	kDiv                  // kids[0]/kids[1]
	kPow                  // kids[0]^kids[1]
	kCall                 // function name of kids; the ones of knownFunctions have a value
	kBig                  // \sum, \prod, \lim, \int: name; kids: body, then from, to; bound variable in sub
	kPM                   // kids[0] ± kids[1]: name "pm" or "mp"
	kTuple                // kids between brackets open and close: also an interval, if there are two
	kSet                  // {kids}
	kList                 // kids separated by commas, without brackets; name holds a common left side
	kSetOp                // kids joined by name: "cup", "cap", "setminus"
	kMatrix               // rows × cols kids, row by row
	kRel                  // kids joined by ops
	kPercent              // kids[0] per cent
	kDegree               // kids[0] degrees
	kQuantity             // kids[0] of a unit
	kBaseN                // digits name in base rat
	kRatio                // kids[0] : kids[1] …
	kText                 // words: name; kids[0], if any, is its reading as mathematics
	kChoice               // a multiple-choice letter name with its text, if any, in kids[0]
)

// node is a parsed answer or a part of one. Nodes are not modified after they were parsed.
type node struct {
	kind kind
	name string
	sub  string // kBig: the bound variable
	kids []*node
	ops  []relation // kRel: one fewer than kids

	rat     *big.Rat // kNum: the value; kBaseN: the base
	decimal bool     // kNum: written with a decimal point or an exponent
	digits  int      // kNum: significant digits as written
	places  int      // kNum: the last digit stands for 10^-places
	width   int      // kNum: digits before the point as written, leading zeros included
	mixed   bool     // kAdd: a mixed number; kNum: nothing

	open, close byte // kTuple
	rows, cols  int  // kMatrix
	unit        unit // kQuantity
}

// relation is a comparison sign.
type relation string

const (
	relEq     relation = "="
	relApprox relation = "≈"
	relEquiv  relation = "≡"
	relLess   relation = "<"
	relLessEq relation = "<="
	relMore   relation = ">"
	relMoreEq relation = ">="
	relNotEq  relation = "!="
	relIn     relation = "in"
	relNotIn  relation = "notin"
)

// equates reports whether the relation states a value: = and ≈.
func (r relation) equates() bool { return r == relEq || r == relApprox }

// orders reports whether the relation is an inequality other than !=.
func (r relation) orders() bool {
	return r == relLess || r == relLessEq || r == relMore || r == relMoreEq
}

func intNode(n int64) *node { return &node{kind: kNum, rat: big.NewRat(n, 1), digits: 1} }

func ratNode(r *big.Rat) *node { return &node{kind: kNum, rat: r, digits: 1} }

func sym(name string) *node { return &node{kind: kSym, name: name} }

func constant(name string) *node { return &node{kind: kConst, name: name} }

func op(k kind, kids ...*node) *node { return &node{kind: k, kids: kids} }

func call(name string, kids ...*node) *node { return &node{kind: kCall, name: name, kids: kids} }

func neg(n *node) *node {
	if n.kind == kNeg {
		return n.kids[0]
	}
	return op(kNeg, n)
}

// walk calls f for n and its descendants while f returns true.
func (n *node) walk(f func(*node) bool) bool {
	if !f(n) {
		return false
	}
	for _, k := range n.kids {
		if !k.walk(f) {
			return false
		}
	}
	return true
}

// has reports whether some node of the tree satisfies f.
func (n *node) has(f func(*node) bool) bool {
	return !n.walk(func(m *node) bool { return !f(m) })
}

// hasSymbol reports whether the tree has a variable, a function without a known value, or the like.
func (n *node) hasSymbol() bool {
	return n.has(func(m *node) bool {
		return m.kind == kSym || m.kind == kBig || m.kind == kCall && !knownFunctions[m.name]
	})
}

// hasName reports whether the tree has the variable name.
func (n *node) hasName(name string) bool {
	return n.has(func(m *node) bool { return m.kind == kSym && m.name == name })
}

// isScalar reports whether the tree stands for one number or expression, so that it can be evaluated.
func (n *node) isScalar() bool {
	return n.walk(func(m *node) bool {
		switch m.kind {
		case kNum, kSym, kConst, kAdd, kMul, kNeg, kDiv, kPow, kCall, kBig, kPercent, kDegree, kQuantity:
			return true
		}
		return false
	})
}

// replace returns the tree with every node for which f gives a substitute replaced.
func (n *node) replace(f func(*node) *node) *node {
	if r := f(n); r != nil {
		return r
	}
	var kids []*node
	for i, k := range n.kids {
		r := k.replace(f)
		if r != k && kids == nil {
			kids = append([]*node(nil), n.kids...)
		}
		if kids != nil {
			kids[i] = r
		}
	}
	if kids == nil {
		return n
	}
	m := *n
	m.kids = kids
	return &m
}

// knownFunctions are the functions that have a value. Others stand for themselves.
var knownFunctions = map[string]bool{
	"sin": true, "cos": true, "tan": true, "cot": true, "sec": true, "csc": true,
	"arcsin": true, "arccos": true, "arctan": true, "arccot": true, "arcsec": true, "arccsc": true,
	"sinh": true, "cosh": true, "tanh": true, "coth": true, "sech": true, "csch": true,
	"arcsinh": true, "arccosh": true, "arctanh": true,
	"ln": true, "abs": true, "floor": true, "ceil": true, "factorial": true, "factorial2": true,
	"binom": true, "gcd": true, "lcm": true, "max": true, "min": true, "mod": true,
	"Re": true, "Im": true, "conj": true, "arg": true, "sgn": true,
}

// String prints the tree in a canonical form: equal strings mean equal trees up to the order of sums and
// products of atoms.
func (n *node) String() string {
	var b strings.Builder
	n.print(&b)
	return b.String()
}

func (n *node) print(b *strings.Builder) {
	switch n.kind {
	case kNum:
		b.WriteString(n.rat.RatString())
		return
	case kSym, kConst:
		b.WriteString(n.name)
		return
	}
	b.WriteString(strconv.Itoa(int(n.kind)))
	b.WriteString(n.name)
	b.WriteString(n.sub)
	if n.rat != nil {
		b.WriteString(n.rat.RatString())
	}
	if n.kind == kTuple {
		b.WriteByte(n.open)
		b.WriteByte(n.close)
	}
	if n.kind == kMatrix {
		b.WriteString(strconv.Itoa(n.cols))
	}
	b.WriteByte('(')
	for i, k := range n.kids {
		if i > 0 {
			b.WriteByte(',')
		}
		if i > 0 && i <= len(n.ops) {
			b.WriteString(string(n.ops[i-1]))
		}
		k.print(b)
	}
	b.WriteByte(')')
}
