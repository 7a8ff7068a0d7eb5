package evaluate

import (
	"fmt"
	"slices"
	"strings"
)

// Comparison is how a second arm differs from a first one on the same problems.
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

// Difference is B − A at k attempts, paired by problem; with several seeds an arm, of the means over seeds.
type Difference struct {
	Attempts   int        `json:"attempts"`
	N          int        `json:"n"`
	A          float64    `json:"a"` // accuracies
	B          float64    `json:"b"`
	Difference float64    `json:"difference"` // B − A
	Interval   [2]float64 `json:"ci95"`       // percentile bootstrap over problems
	OnlyA      int        `json:"only_a"`     // problems that A solved more often than B: with one run an arm, that only A solved
	OnlyB      int        `json:"only_b"`
	PValue     float64    `json:"mcnemar_p,omitempty"` // exact, two-sided; one greedy run an arm; left out of averages
	// SeedsInterval and TTest are over seeds: paired by seed where both arms have the same seeds, else Welch's. They are left
	// out when an arm has one run only.
	SeedsInterval *[2]float64 `json:"ci95_over_seeds,omitempty"`
	TTest         float64     `json:"t_test_p,omitempty"`
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
	return CompareGroups(Group{Name: nameA, Results: []*Result{a}}, Group{Name: nameB, Results: []*Result{b}})
}

// CompareGroups is Compare for arms of one or several runs.
func CompareGroups(a, b Group) (Comparison, error) {
	for _, g := range []Group{a, b, {Name: a.Name, Results: append(slices.Clip(a.Results), b.Results...)}} {
		if err := g.Check(); err != nil {
			return Comparison{}, err
		}
	}
	c := Comparison{A: a.Name, B: b.Name}
	pairs := map[int][][]float64{} // by k: one slice of paired differences a set
	for _, set := range a.Results[0].Sets {
		sc := SetComparison{Name: set.Name}
		for _, s := range set.Scores {
			x, inA := a.at(set.Name, s.Attempts)
			y, inB := b.at(set.Name, s.Attempts)
			if inA && inB {
				row, paired := difference(x, y, sameSeeds(a, b))
				sc.Rows = append(sc.Rows, row)
				pairs[s.Attempts] = append(pairs[s.Attempts], paired)
			}
		}
		if len(sc.Rows) > 0 {
			c.Sets = append(c.Sets, sc)
		}
	}
	c.average(pairs)
	return c, nil
}

// incomparable returns every reason not to compare.
func incomparable(a, b *Result) []string {
	reasons := OtherKind(a, b)
	common := false
	for _, x := range a.Sets {
		y, _ := b.Set(x.Name)
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

// OtherKind returns what two evaluations differ in that scores depend on: grading, sampling, or the problems of a set. None:
// their scores at the same number of attempts may be set side by side.
func OtherKind(a, b *Result) []string {
	var reasons []string
	differ := func(what string, x, y any) {
		if x != y {
			reasons = append(reasons, fmt.Sprintf("%s %v and %v", what, x, y))
		}
	}
	differ("grading modes", a.Mode, b.Mode)
	differ("settings of unboxed answers", a.Unboxed, b.Unboxed)
	differ("temperatures", a.Temperature, b.Temperature)
	differ("top_p", a.TopP, b.TopP)
	differ("no_repeat_ngram_size", a.NoRepeat, b.NoRepeat)
	differ("token budgets", fmt.Sprintf("%d (%s)", a.MaxNewTokens, a.Budget), fmt.Sprintf("%d (%s)", b.MaxNewTokens, b.Budget))
	for _, x := range a.Sets {
		if y, ok := b.Set(x.Name); ok && x.Digest != y.Digest {
			reasons = append(reasons, fmt.Sprintf("set %s holds other problems (%d with sha256 %s and %d with %s)",
				x.Name, x.Problems, x.Digest.Short(), y.Problems, y.Digest.Short()))
		}
	}
	return reasons
}

// difference compares the scores of two arms' runs on the same problems and returns the paired differences, [P].
func difference(a, b []Score, sameSeeds bool) (Difference, []float64) {
	d := Difference{Attempts: a[0].Attempts, N: a[0].N}
	before, paired := perProblem(a), perProblem(b)
	d.A, d.B = mean(before), mean(paired)
	d.Difference = d.B - d.A
	for i, x := range before {
		paired[i] -= x
		switch {
		case paired[i] < -rounding:
			d.OnlyA++
		case paired[i] > rounding:
			d.OnlyB++
		}
	}
	d.Interval = bootstrap([][]float64{paired}, "difference")
	if len(a) == 1 && len(b) == 1 && a[0].Samples == 1 && b[0].Samples == 1 {
		d.PValue = McNemar(d.OnlyA, d.OnlyB)
	}
	if interval, p, ok := seedDifference(accuracies(a), accuracies(b), sameSeeds); ok {
		d.SeedsInterval, d.TTest = &interval, p
	}
	return d, paired
}

// rounding is less than any difference between shares of solved episodes, and more than their rounding errors.
const rounding = 1e-9

func accuracies(scores []Score) []float64 {
	values := make([]float64, len(scores))
	for i, s := range scores {
		values[i] = s.Accuracy
	}
	return values
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
