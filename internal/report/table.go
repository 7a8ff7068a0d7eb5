package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"multiattempt/internal/evaluate"
	"multiattempt/internal/rollout"
)

// Table is a rectangle of text with a heading.
type Table struct {
	Caption string
	Header  []string
	Rows    [][]string
}

// Tables returns the accuracy of every arm on every set, and the mean over sets when there are several.
func (r *Report) Tables() []Table {
	var tables []Table
	sets := r.sets()
	for _, set := range sets {
		tables = append(tables, r.accuracyTable(set))
	}
	if len(sets) > 1 {
		tables = append(tables, r.averageTable())
	}
	return tables
}

// accuracyTable shows accuracy in percent by attempts, each with its 95 % interval.
func (r *Report) accuracyTable(set string) Table {
	ks := r.attempts(set)
	t := Table{Header: []string{"k ="}}
	for _, k := range ks {
		t.Header = append(t.Header, strconv.Itoa(k))
	}
	n := 0
	for _, arm := range r.Arms {
		s, _ := arm.Result.Set(set)
		n = max(n, s.Problems)
		row := []string{arm.Name}
		for _, k := range ks {
			cell := "–"
			if score, ok := s.Score(k); ok {
				cell = percent(score.Accuracy, score.Interval)
			}
			row = append(row, cell)
		}
		t.Rows = append(t.Rows, row)
	}
	if optimum := r.optimum(set); optimum != nil {
		row := []string{"optimum"}
		for _, k := range ks {
			row = append(row, fmt.Sprintf("%.1f", 100*optimum[k]))
		}
		t.Rows = append(t.Rows, row)
	}
	t.Caption = fmt.Sprintf("%s: %% solved within k attempts, %d problems, 95 %% intervals", set, n)
	return t
}

// averageTable shows the unweighted mean over the sets.
func (r *Report) averageTable() Table {
	at := map[int]bool{}
	for _, arm := range r.Arms {
		for _, m := range arm.Result.Average {
			at[m.Attempts] = true
		}
	}
	ks := ascending(at)
	t := Table{Caption: "mean of the sets: % solved within k attempts, 95 % intervals", Header: []string{"k ="}}
	for _, k := range ks {
		t.Header = append(t.Header, strconv.Itoa(k))
	}
	for _, arm := range r.Arms {
		row := append([]string{arm.Name}, slices.Repeat([]string{"–"}, len(ks))...)
		for _, m := range arm.Result.Average {
			row[1+slices.Index(ks, m.Attempts)] = percent(m.Accuracy, m.Interval)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// outcomes are the columns of the detail table, in this order.
var outcomes = []rollout.Outcome{rollout.Correct, rollout.Wrong, rollout.NoAnswer, rollout.Truncated, rollout.Bounded}

// Details returns, by arm, set and k, what attempts ended in and what retries were worth.
func (r *Report) Details() Table {
	t := Table{
		Caption: "attempts by outcome in %; repeats: % of retries that give an earlier answer again; recovered: problems solved after a failure",
		Header: []string{"run", "set", "k", "correct", "wrong", "no answer", "truncated", "bounded", "repeats", "recovered",
			"tokens/episode", "text only", "paper differs"},
	}
	for _, arm := range r.Arms {
		for _, set := range arm.Result.Sets {
			for _, s := range set.Scores {
				row := []string{arm.Name, set.Name, strconv.Itoa(s.Attempts)}
				for _, o := range outcomes {
					row = append(row, fmt.Sprintf("%.1f", 100*s.Shares[o]))
				}
				repeats := "–"
				if s.Retries > 0 {
					repeats = fmt.Sprintf("%.1f", 100*s.RepeatShare)
				}
				t.Rows = append(t.Rows, append(row, repeats, strconv.Itoa(s.Recovered),
					fmt.Sprintf("%.1f", s.TokensPerEpisodeMean), strconv.Itoa(s.Opaque), strconv.Itoa(s.PaperDisagrees)))
			}
		}
	}
	return t
}

// Differences returns the tables of a comparison, one a set and the mean over sets.
func Differences(c evaluate.Comparison) []Table {
	sets := c.Sets
	if len(c.Average) > 0 {
		sets = append(slices.Clone(sets), evaluate.SetComparison{Name: "mean of the sets", Rows: c.Average})
	}
	tables := make([]Table, 0, len(sets))
	for _, set := range sets {
		t := Table{
			Caption: fmt.Sprintf("%s: %s − %s in points of %%, paired by problem, 95 %% intervals", set.Name, c.B, c.A),
			Header:  []string{"k", "n", c.A, c.B, "difference", "only " + c.A, "only " + c.B, "McNemar p"},
		}
		for _, d := range set.Rows {
			p := "–"
			if d.PValue > 0 {
				p = strconv.FormatFloat(d.PValue, 'g', 2, 64)
			}
			t.Rows = append(t.Rows, []string{strconv.Itoa(d.Attempts), strconv.Itoa(d.N), fmt.Sprintf("%.1f", 100*d.A),
				fmt.Sprintf("%.1f", 100*d.B), fmt.Sprintf("%+.1f (%+.1f to %+.1f)", 100*d.Difference, 100*d.Interval[0], 100*d.Interval[1]),
				strconv.Itoa(d.OnlyA), strconv.Itoa(d.OnlyB), p})
		}
		tables = append(tables, t)
	}
	return tables
}

// WriteText writes the table for a terminal: columns aligned, an interval in parentheses on a line of its own so that
// seven attempts fit into 90 columns; an empty line behind it.
func (t Table) WriteText(w io.Writer) error {
	rows := [][]string{t.Header}
	for _, row := range t.Rows {
		first, second := make([]string, len(row)), make([]string, len(row))
		for i, cell := range row {
			var rest string
			first[i], rest, _ = strings.Cut(cell, " (")
			second[i] = strings.TrimSuffix(rest, ")")
		}
		rows = append(rows, first)
		if strings.Join(second, "") != "" {
			rows = append(rows, second)
		}
	}
	width := make([]int, len(t.Header))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	b.WriteString(t.Caption + "\n")
	for _, row := range rows {
		line := ""
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				line += cell + pad
			} else {
				line += "  " + pad + cell
			}
		}
		b.WriteString("  " + strings.TrimRight(line, " ") + "\n")
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteMarkdown writes the table in GitHub's Markdown, an empty line behind it.
func (t Table) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	b.WriteString(escapeMarkdown(t.Caption) + "\n\n")
	line := func(cells []string) {
		for _, c := range cells {
			b.WriteString("| " + escapeMarkdown(c) + " ")
		}
		b.WriteString("|\n")
	}
	line(t.Header)
	b.WriteString("|---" + strings.Repeat("|---:", len(t.Header)-1) + "|\n")
	for _, row := range t.Rows {
		line(row)
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}

var escapeMarkdown = strings.NewReplacer("|", `\|`, "\n", " ", "*", `\*`, "_", `\_`, "<", `\<`, "`", "\\`").Replace

// WriteCSV writes one line per arm, set and k, all numbers as shares of 1.
func (r *Report) WriteCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	rows := [][]string{{"run", "seed", "set", "attempts", "n", "correct", "accuracy", "ci95_low", "ci95_high", "optimum",
		"repeat_share", "recovered", "tokens_sampled", "bounded", "opaque", "paper_disagrees"}}
	share := func(x float64) string { return strconv.FormatFloat(x, 'f', 6, 64) }
	for _, arm := range r.Arms {
		for _, set := range arm.Result.Sets {
			for _, s := range set.Scores {
				rows = append(rows, []string{arm.Name, strconv.FormatUint(arm.Seed, 10), set.Name, strconv.Itoa(s.Attempts),
					strconv.Itoa(s.N), strconv.Itoa(s.Correct), share(s.Accuracy), share(s.Interval[0]), share(s.Interval[1]),
					share(s.Optimum), share(s.RepeatShare), strconv.Itoa(s.Recovered), strconv.Itoa(s.TokensSampled),
					strconv.Itoa(s.Bounded), strconv.Itoa(s.Opaque), strconv.Itoa(s.PaperDisagrees)})
			}
		}
	}
	return c.WriteAll(rows)
}

// percent writes a share with its interval: "33.1 (30.3–36.1)".
func percent(share float64, interval [2]float64) string {
	return fmt.Sprintf("%.1f (%.1f–%.1f)", 100*share, 100*interval[0], 100*interval[1])
}

func ascending(set map[int]bool) []int { return slices.Sorted(maps.Keys(set)) }
