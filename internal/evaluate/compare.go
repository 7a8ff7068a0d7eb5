package evaluate

import (
	"fmt"
	"strings"
)

// Comparison is how a second policy differs from a first one on the same problems.
type Comparison struct {
	A       string          `json:"a"`
	B       string          `json:"b"`
	Sets    []SetComparison `json:"sets"`
	Average []Difference    `json:"average,omitempty"` // unweighted over sets; counts are sums, no PValue
}

// SetComparison compares on one set.
type SetComparison struct {
	Name string       `json:"set"`
	Rows []Difference `json:"differences"` // ascending k
}

// Difference is B − A at k attempts, paired by problem.
type Difference struct {
	Attempts   int        `json:"attempts"`
	N          int        `json:"n"`
	A          float64    `json:"a"` // accuracies
	B          float64    `json:"b"`
	Difference float64    `json:"difference"` // B − A
	Interval   [2]float64 `json:"ci95"`       // percentile bootstrap over problems
	OnlyA      int        `json:"only_a"`     // problems that only A solved
	OnlyB      int        `json:"only_b"`
	PValue     float64    `json:"mcnemar_p,omitempty"` // exact, two-sided; left out of averages
}

// IncomparableError says why two results cannot be compared; every reason is named. It matches ErrResult.
type IncomparableError struct{ Reasons []string }

func (e *IncomparableError) Error() string {
	return "these evaluations cannot be compared: " + strings.Join(e.Reasons, "; ")
}

// Unwrap makes errors.Is(err, ErrResult) hold.
func (e *IncomparableError) Unwrap() error { return ErrResult }

// Compare pairs two results problem by problem, on the sets and numbers of attempts that both have. It refuses results
// of other problems, another grading mode or other sampling.
func Compare(nameA string, a *Result, nameB string, b *Result) (Comparison, error) {
	if reasons := incomparable(a, b); len(reasons) > 0 {
		return Comparison{}, &IncomparableError{Reasons: reasons}
	}
	c := Comparison{A: nameA, B: nameB}
	pairs := map[int][][]float64{} // by k: one slice of paired differences a set
	for _, setA := range a.Sets {
		setB, ok := b.Set(setA.Name)
		if !ok {
			continue
		}
		sc := SetComparison{Name: setA.Name}
		for _, x := range setA.Scores {
			if y, ok := setB.Score(x.Attempts); ok {
				row, paired := difference(x, y)
				sc.Rows = append(sc.Rows, row)
				pairs[x.Attempts] = append(pairs[x.Attempts], paired)
			}
		}
		c.Sets = append(c.Sets, sc)
	}
	c.average(pairs)
	return c, nil
}

// incomparable returns every reason not to compare.
func incomparable(a, b *Result) []string {
	var reasons []string
	differ := func(what string, x, y any) {
		if x != y {
			reasons = append(reasons, fmt.Sprintf("%s %v and %v", what, x, y))
		}
	}
	differ("grading modes", a.Mode, b.Mode)
	differ("settings of unboxed answers", a.Unboxed, b.Unboxed)
	differ("temperatures", a.Temperature, b.Temperature)
	differ("token budgets", a.MaxNewTokens, b.MaxNewTokens)
	common := false
	for _, x := range a.Sets {
		y, ok := b.Set(x.Name)
		if !ok {
			continue
		}
		if x.Digest != y.Digest {
			reasons = append(reasons, fmt.Sprintf("set %s holds other problems (%d with sha256 %s and %d with %s)",
				x.Name, x.Problems, x.Digest.Short(), y.Problems, y.Digest.Short()))
		}
		for _, s := range x.Scores {
			if _, ok := y.Score(s.Attempts); ok {
				common = true
			}
		}
	}
	if !common {
		reasons = append(reasons, "no set has the same number of attempts in both")
	}
	return reasons
}

// difference compares two scores of the same problems and returns the paired differences, [P].
func difference(a, b Score) (Difference, []float64) {
	d := Difference{Attempts: a.Attempts, N: a.N, A: a.Accuracy, B: b.Accuracy, Difference: b.Accuracy - a.Accuracy}
	paired := b.solved()
	for i, x := range a.solved() {
		paired[i] -= x
		switch {
		case paired[i] < 0:
			d.OnlyA++
		case paired[i] > 0:
			d.OnlyB++
		}
	}
	d.Interval = bootstrap([][]float64{paired}, "difference")
	d.PValue = McNemar(d.OnlyA, d.OnlyB)
	return d, paired
}

// average adds the unweighted mean over sets, for the numbers of attempts that every set has.
func (c *Comparison) average(pairs map[int][][]float64) {
	if len(c.Sets) < 2 {
		return
	}
	for _, first := range c.Sets[0].Rows {
		paired := pairs[first.Attempts]
		if len(paired) != len(c.Sets) {
			continue
		}
		mean := Difference{Attempts: first.Attempts, Interval: bootstrap(paired, "difference")}
		for _, set := range c.Sets {
			for _, row := range set.Rows {
				if row.Attempts != first.Attempts {
					continue
				}
				mean.N, mean.OnlyA, mean.OnlyB = mean.N+row.N, mean.OnlyA+row.OnlyA, mean.OnlyB+row.OnlyB
				mean.A += row.A / float64(len(c.Sets))
				mean.B += row.B / float64(len(c.Sets))
				mean.Difference += row.Difference / float64(len(c.Sets))
			}
		}
		c.Average = append(c.Average, mean)
	}
}
