package verify_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/verify"
)

// expr is a random answer that can be printed in two notations.
type expr struct {
	op    string // "int", "var", "+", "-", "*", "/", "^", "sqrt", "sin", "ln", "tuple", "set", "list", "interval", "matrix", "percent", "unit"
	n     int64
	name  string
	close byte
	kids  []*expr
}

// latex prints an expression the way mathematicians typeset it.
func (e *expr) latex() string {
	k := func(i int) string { return e.kids[i].latex() }
	switch e.op {
	case "int":
		return strconv.FormatInt(e.n, 10)
	case "var":
		return e.name
	case "+":
		return k(0) + "+" + k(1)
	case "-":
		return k(0) + `-\left(` + k(1) + `\right)`
	case "*":
		return `\left(` + k(0) + `\right)\left(` + k(1) + `\right)`
	case "/":
		return `\dfrac{` + k(0) + "}{" + k(1) + "}"
	case "^":
		return "{(" + k(0) + ")}^{" + strconv.FormatInt(e.n, 10) + "}"
	case "sqrt":
		return `\sqrt{` + k(0) + "}"
	case "sin", "ln":
		return `\` + e.op + `\left(` + k(0) + `\right)`
	case "tuple":
		return `\left(` + e.join((*expr).latex, `,\;`) + `\right)`
	case "interval":
		return `\left[` + k(0) + "," + k(1) + `\right` + string(e.close)
	case "set":
		return `\left\{` + e.join((*expr).latex, ", ") + `\right\}`
	case "list":
		return e.join((*expr).latex, ", ")
	case "matrix":
		return `\begin{pmatrix}` + k(0) + " & " + k(1) + ` \\ ` + k(2) + " & " + k(3) + `\end{pmatrix}`
	case "percent":
		return strconv.FormatInt(e.n, 10) + `\%`
	default:
		return strconv.FormatInt(e.n, 10) + `\text{ ` + e.name + "}"
	}
}

// plain prints the same value another way: as typed, with factors and items in reverse order.
func (e *expr) plain() string {
	k := func(i int) string { return e.kids[i].plain() }
	switch e.op {
	case "int":
		return strconv.FormatInt(e.n, 10) + ".0"
	case "var":
		return e.name
	case "+":
		return "(" + k(1) + ") + " + k(0)
	case "-":
		return "-(" + k(1) + ")+" + k(0)
	case "*":
		return "(" + k(1) + ") * (" + k(0) + ")"
	case "/":
		return "((" + k(0) + ")/(" + k(1) + "))"
	case "^":
		return strings.TrimSuffix(strings.Repeat("("+k(0)+")*", int(e.n)), "*")
	case "sqrt":
		return "(" + k(0) + ")^(1/2)"
	case "sin", "ln":
		return e.op + "(" + k(0) + ")"
	case "tuple":
		return "(" + e.join((*expr).plain, ",") + ")"
	case "interval":
		return "[" + k(0) + ", " + k(1) + string(e.close)
	case "set", "list":
		parts := make([]string, len(e.kids))
		for i := range e.kids {
			parts[len(parts)-1-i] = e.kids[i].plain()
		}
		return strings.Join(parts, ", ")
	case "matrix":
		return `\begin{bmatrix}` + k(0) + "&" + k(1) + `\\` + k(2) + "&" + k(3) + `\\\end{bmatrix}`
	case "percent":
		return strconv.FormatInt(e.n, 10) + " percent"
	default:
		return strconv.FormatInt(e.n, 10)
	}
}

func (e *expr) join(print func(*expr) string, sep string) string {
	parts := make([]string, len(e.kids))
	for i, k := range e.kids {
		parts[i] = print(k)
	}
	return strings.Join(parts, sep)
}

// scalar makes a random expression that is positive for positive variables, so that it is defined everywhere
// it is compared. Its subtractions take a smaller integer from a larger one.
func scalar(r *rand.Rand, depth int) *expr {
	if depth == 0 || r.IntN(5) == 0 {
		if r.IntN(3) == 0 {
			return &expr{op: "var", name: string("xyabn"[r.IntN(5)])}
		}
		return &expr{op: "int", n: 2 + r.Int64N(40)}
	}
	kid := func() *expr { return scalar(r, depth-1) }
	switch r.IntN(8) {
	case 0, 1:
		return &expr{op: "+", kids: []*expr{kid(), kid()}}
	case 2:
		return &expr{op: "-", kids: []*expr{{op: "int", n: 50 + r.Int64N(50)}, {op: "int", n: 2 + r.Int64N(40)}}}
	case 3:
		return &expr{op: "*", kids: []*expr{kid(), kid()}}
	case 4:
		return &expr{op: "/", kids: []*expr{kid(), kid()}}
	case 5:
		return &expr{op: "^", n: 2 + r.Int64N(2), kids: []*expr{kid()}}
	case 6:
		return &expr{op: "sqrt", kids: []*expr{kid()}}
	}
	return &expr{op: []string{"sin", "ln"}[r.IntN(2)], kids: []*expr{kid()}}
}

// typed makes a random answer of a random type.
func typed(r *rand.Rand) *expr {
	list := func(op string, n int) *expr {
		e := &expr{op: op}
		for i := range n {
			// Different summands keep the items of sets apart.
			e.kids = append(e.kids, &expr{op: "+", kids: []*expr{{op: "int", n: int64(1000 * (i + 1))}, scalar(r, 1)}})
		}
		return e
	}
	switch r.IntN(9) {
	case 0:
		return list("tuple", 2+r.IntN(3))
	case 1:
		return list("set", 2+r.IntN(3))
	case 2:
		return list("list", 2+r.IntN(3))
	case 3:
		e := list("interval", 2)
		e.close = ")]"[r.IntN(2)]
		return e
	case 4:
		return list("matrix", 4)
	case 5:
		return &expr{op: "percent", n: 1 + r.Int64N(99)}
	case 6:
		return &expr{op: "unit", n: 1 + r.Int64N(99), name: []string{"cm", "hours", "miles", "dollars"}[r.IntN(4)]}
	}
	return scalar(r, 3)
}

// leaves collects the integers and variables of an answer.
func (e *expr) leaves() []*expr {
	if len(e.kids) == 0 {
		return []*expr{e}
	}
	var out []*expr
	for _, k := range e.kids {
		out = append(out, k.leaves()...)
	}
	return out
}

const answersTried = 600

func TestTwoNotationsOfAnAnswerAreEqual(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range answersTried {
		e := typed(r)
		gold, pred := e.latex(), e.plain()
		v := verify.Compare(gold, pred, verify.Options{})
		require.Equal(t, verify.StatusEqual, v.Status, "gold %s answer %s: %s", gold, pred, v.Rule)
		require.False(t, v.Opaque)
		if e.op != "unit" && e.op != "percent" {
			w := verify.Compare(pred, gold, verify.Options{})
			require.NotEqual(t, verify.StatusBounded, w.Status)
			if e.op != "list" && e.op != "set" && e.op != "matrix" {
				require.Equal(t, verify.StatusEqual, w.Status, "gold %s answer %s: %s", pred, gold, w.Rule)
			}
		}
	}
}

func TestOneChangedLeafMakesAnswersUnequal(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range answersTried {
		e := typed(r)
		gold := e.latex()
		leaves := e.leaves()
		leaf := leaves[r.IntN(len(leaves))]
		if leaf.op == "var" {
			// A variable of another name may still give an equal answer only if it cancels, so use a new one.
			leaf.name = "w"
		} else {
			leaf.n += 1 + r.Int64N(3)
		}
		pred := e.plain()
		v := verify.Compare(gold, pred, verify.Options{})
		if cancels(gold, leaf) {
			continue
		}
		require.Equal(t, verify.StatusUnequal, v.Status, "gold %s answer %s: %s", gold, pred, v.Rule)
	}
}

// cancels reports whether the changed leaf has no influence, such as x in x - x; answers made here never do,
// save for a factor that divides itself.
func cancels(gold string, leaf *expr) bool {
	return leaf.op == "var" && strings.Count(gold, `\dfrac{x}{x}`)+strings.Count(gold, `\dfrac{y}{y}`)+
		strings.Count(gold, `\dfrac{a}{a}`)+strings.Count(gold, `\dfrac{b}{b}`)+strings.Count(gold, `\dfrac{n}{n}`) > 0
}

func TestVerdictsDependOnTheInputsAlone(t *testing.T) {
	type pair struct{ gold, pred string }
	r := rand.New(rand.NewPCG(5, 6))
	var pairs []pair
	for range 100 {
		pairs = append(pairs, pair{typed(r).latex(), typed(r).plain()})
	}
	want := make([]string, len(pairs))
	for i, p := range pairs {
		want[i] = fmt.Sprintf("%+v", verify.Compare(p.gold, p.pred, verify.Options{}))
	}
	t.Run("in parallel", func(t *testing.T) {
		for range 4 {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for i := len(pairs) - 1; i >= 0; i-- {
					require.Equal(t, want[i], fmt.Sprintf("%+v", verify.Compare(pairs[i].gold, pairs[i].pred, verify.Options{})))
				}
			})
		}
	})
}
