package report

import (
	"encoding/csv"
	"io"
	"slices"
	"strconv"

	"multiattempt/internal/evaluate"
	"multiattempt/internal/verify"
)

// WriteCSV writes one line per arm, set and k, all numbers as shares of 1.
func (r *Report) WriteCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	rows := [][]string{{"run", "seed", "set", "attempts", "n", "correct", "accuracy", "ci95_low", "ci95_high", "optimum",
		"samples", "accuracy_typed", "accuracy_paper", "repeat_share", "recovered", "recovered_share", "tokens_sampled", "bounded", "opaque",
		"paper_disagrees", "pass_at_k", "majority_at_k"}}
	share := func(x float64) string { return strconv.FormatFloat(x, 'f', 6, 64) }
	for _, arm := range r.Arms {
		for _, result := range arm.Group().Results {
			for _, set := range result.Sets {
				for _, s := range set.Scores {
					row := []string{arm.Name, strconv.FormatUint(result.Seed, 10), set.Name, strconv.Itoa(s.Attempts),
						strconv.Itoa(s.N), strconv.Itoa(s.Correct), share(s.Accuracy), share(s.Interval[0]), share(s.Interval[1]),
						share(s.Optimum), strconv.Itoa(s.Samples), share(s.Modes[verify.ModeTyped].Accuracy), share(s.Modes[verify.ModePaper].Accuracy),
						share(s.RepeatShare), strconv.Itoa(s.Recovered), share(s.RecoveredShare), strconv.Itoa(s.TokensSampled),
						strconv.Itoa(s.Bounded), strconv.Itoa(s.Opaque), strconv.Itoa(s.PaperDisagrees), "", ""}
					if p, ok := set.Beside(s.Attempts); ok {
						row[len(row)-2], row[len(row)-1] = share(p.Pass), share(p.Majority)
					}
					rows = append(rows, row)
				}
			}
		}
	}
	return c.WriteAll(rows)
}

// WriteDifferencesCSV writes one line per comparison, set and k, all numbers as shares of 1.
func WriteDifferencesCSV(w io.Writer, comparisons []evaluate.Comparison) error {
	rows := [][]string{{"a", "b", "set", "attempts", "n", "accuracy_a", "accuracy_b", "difference", "ci95_low", "ci95_high", "only_a", "only_b",
		"mcnemar_p", "seeds_ci95_low", "seeds_ci95_high", "t_test_p"}}
	number := func(x float64) string { return strconv.FormatFloat(x, 'g', 6, 64) }
	for _, c := range comparisons {
		for _, set := range append(slices.Clone(c.Sets), evaluate.SetComparison{Name: "mean of the sets", Rows: c.Average}) {
			for _, d := range set.Rows {
				row := []string{c.A, c.B, set.Name, strconv.Itoa(d.Attempts), strconv.Itoa(d.N), number(d.A), number(d.B), number(d.Difference),
					number(d.Interval[0]), number(d.Interval[1]), strconv.Itoa(d.OnlyA), strconv.Itoa(d.OnlyB), "", "", "", ""}
				if d.PValue > 0 {
					row[12] = number(d.PValue)
				}
				if s := d.SeedsInterval; s != nil {
					row[13], row[14], row[15] = number(s[0]), number(s[1]), number(d.TTest)
				}
				rows = append(rows, row)
			}
		}
	}
	return csv.NewWriter(w).WriteAll(rows)
}
