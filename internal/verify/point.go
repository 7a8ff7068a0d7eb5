package verify

import (
	"encoding/binary"
	"hash/fnv"
	"math/big"
	"sort"
	"strings"
)

// point assigns a value to every variable. It is a pure function of its fields and the variable's name, so
// verdicts repeat; a policy cannot know it from the text of an answer alone.
type point struct {
	index   int  // which of the points that are tried
	integer bool // coordinates are whole numbers
}

// constantPoint is the point at which expressions without variables are evaluated.
var constantPoint = point{index: -1}

func (p point) constant() bool { return p.index < 0 }

// hash mixes the point's index with a name.
func (p point) hash(name string) uint64 {
	h := fnv.New64a()
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(p.index)+0x9e3779b97f4a7c15)
	h.Write(b[:])
	h.Write([]byte(name))
	x := h.Sum64()
	// The finaliser of SplitMix64: FNV alone leaves close names close.
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// coordinate is a variable's value. The points go through ranges in turn, so that expressions defined on a
// part of the line are met there: (0,1), (1,5), negative numbers, tens, hundreds, and up to a million.
func (p point) coordinate(name string) *big.Rat {
	x := p.hash(name)
	if p.integer {
		spans := [...]uint64{9, 14, 6, 30}
		n := int64(1 + x%spans[p.index%len(spans)])
		if p.index%len(spans) == 2 { // where whole numbers may be negative
			n = -n
		}
		return big.NewRat(n, 1)
	}
	unit := big.NewRat(int64(x>>40)|1, 1<<24) // in (0, 1)
	switch max(p.index, 0) % 8 {
	case 1:
		return unit.Add(unit.Mul(unit, big.NewRat(4, 1)), big.NewRat(1, 1))
	case 2:
		unit.Mul(unit, big.NewRat(3, 1))
		if x&1 == 0 {
			return unit.Neg(unit)
		}
		return unit
	case 3:
		return unit.Neg(unit)
	case 4:
		return unit.Add(unit.Mul(unit, big.NewRat(90, 1)), big.NewRat(10, 1))
	case 5:
		return unit.Add(unit.Mul(unit, big.NewRat(900, 1)), big.NewRat(100, 1))
	case 6:
		return unit.Sub(unit.Mul(unit, big.NewRat(-90, 1)), big.NewRat(10, 1))
	case 7:
		return unit.Mul(unit, big.NewRat(1_000_000, 1))
	}
	return unit
}

// atom is the value of an expression that stands for itself: an unknown function, a limit, an integral.
// It depends on the expression up to equality of its polynomial parts.
func (p point) atom(n *node, bound map[string]*big.Rat, fuel *int) *big.Rat {
	return p.coordinate(atomKey(n, bound, fuel))
}

// atomKey describes an expression such that equal polynomial arguments give equal keys.
func atomKey(n *node, bound map[string]*big.Rat, fuel *int) string {
	var b strings.Builder
	b.WriteString(n.name)
	b.WriteByte('(')
	for _, k := range n.kids {
		b.WriteString(argumentKey(k, bound, fuel))
		b.WriteByte(',')
	}
	return b.String()
}

func argumentKey(k *node, bound map[string]*big.Rat, fuel *int) string {
	for name := range bound {
		if k.hasName(name) {
			k = k.replace(func(m *node) *node {
				if m.kind == kSym && bound[m.name] != nil {
					return ratNode(bound[m.name])
				}
				return nil
			})
			break
		}
	}
	if r, ok := residueKey(k, fuel); ok {
		return r
	}
	key := sortedString(k)
	*fuel -= len(key) / 256
	return key
}

// sortedString prints a tree with the kids of sums and products in order.
func sortedString(n *node) string {
	if len(n.kids) == 0 {
		return n.String()
	}
	parts := make([]string, len(n.kids))
	for i, k := range n.kids {
		parts[i] = sortedString(k)
	}
	if n.kind == kAdd || n.kind == kMul {
		sort.Strings(parts)
	}
	shell := *n
	shell.kids, shell.ops = nil, nil
	ops := make([]string, len(n.ops))
	for i, o := range n.ops {
		ops[i] = string(o)
	}
	return shell.String() + strings.Join(ops, " ") + "[" + strings.Join(parts, ",") + "]"
}
