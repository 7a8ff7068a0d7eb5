package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/mattn/go-runewidth"

	"multiattempt/internal/evaluate"
	"multiattempt/internal/printable"
	"multiattempt/internal/rollout"
	"multiattempt/internal/verify"
)

// Table is a rectangle of text with a heading.
type Table struct {
	Caption string
	Header  []string
	Rows    [][]string
	// Paint, when not nil, colours a cell for a terminal; row -1 is the header.
	Paint func(row, column int, cell string) string
	// Words are further columns that a terminal's table aligns left, as the first one.
	Words []int
	// Width is how many columns a terminal has, 0: any number; the last column of the table gives way.
	Width int
}

const (
	mostCaption = 400 // characters
	mostCell    = 200
)

// safe is the table with cells that show what they hold, on one line.
func (t Table) safe() Table {
	out := t
	out.Caption, out.Rows = printable.Line(t.Caption, mostCaption), nil
	line := func(cells []string) []string {
		all := make([]string, len(cells))
		for i, c := range cells {
			all[i] = printable.Line(c, mostCell)
		}
		return all
	}
	out.Header = line(t.Header)
	for _, row := range t.Rows {
		out.Rows = append(out.Rows, line(row))
	}
	return out
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
		scores := byAttempts(arm.Group().Scores(set))
		for _, k := range ks {
			cell := "–"
			if score, ok := scores[k]; ok {
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
	t.Caption = fmt.Sprintf("%s: %% solved within k attempts, %d problems, %s", set, n, r.intervals())
	return t
}

func byAttempts(scores []evaluate.GroupScore) map[int]evaluate.GroupScore {
	at := make(map[int]evaluate.GroupScore, len(scores))
	for _, s := range scores {
		at[s.Attempts] = s
	}
	return at
}

// Gains returns, for each set, what more attempts than the fewest are worth to every arm.
func (r *Report) Gains() []Table {
	var tables []Table
	for _, set := range r.sets() {
		t := Table{Header: []string{"k ="}}
		var ks []int
		for _, arm := range r.Arms {
			gains := arm.Group().Gains(set)
			if len(gains) == 0 {
				continue
			}
			if ks == nil {
				t.Caption = fmt.Sprintf("%s: points of %% gained from k = %d, %s", set, gains[0].From, r.intervals())
				for _, g := range gains {
					ks, t.Header = append(ks, g.To), append(t.Header, strconv.Itoa(g.To))
				}
			}
			row := append([]string{arm.Name}, slices.Repeat([]string{"–"}, len(ks))...)
			for _, g := range gains {
				if at := slices.Index(ks, g.To); at >= 0 {
					row[1+at] = points(g.Gain, g.Interval)
				}
			}
			t.Rows = append(t.Rows, row)
		}
		if len(t.Rows) > 0 {
			tables = append(tables, t)
		}
	}
	return tables
}

// ParallelTables shows k attempts in a dialogue beside k independent samples, for the sets that have both.
func (r *Report) ParallelTables() []Table {
	var tables []Table
	for _, set := range r.sets() {
		t := Table{
			Caption: set + ": % solved by k attempts in a dialogue, beside k independent samples; tokens are sampled ones of a problem",
			Header:  []string{"run", "k", "dialogue", "tokens", "pass@k", "tokens", "pass at equal tokens", "majority vote"},
		}
		for _, arm := range r.Arms {
			names, results := arm.runs()
			for i, result := range results {
				t.Rows = append(t.Rows, parallelRows(names[i], result, set)...)
			}
		}
		if len(t.Rows) > 0 {
			tables = append(tables, t)
		}
	}
	return tables
}

func parallelRows(name string, result *evaluate.Result, set string) (rows [][]string) {
	s, ok := result.Set(set)
	if !ok || s.Parallel == nil {
		return nil
	}
	for _, p := range s.Parallel.Scores {
		score, _ := s.Score(p.Attempts)
		rows = append(rows, []string{name, strconv.Itoa(p.Attempts), percent(score.Accuracy, score.Interval),
			fmt.Sprintf("%.1f", score.TokensPerEpisodeMean), percent(p.Pass, p.PassInterval), fmt.Sprintf("%.1f", p.TokensPerProblemMean),
			fmt.Sprintf("%.1f (%d samples)", 100*p.PassEqual, p.EqualSamples), percent(p.Majority, p.MajorityInterval)})
	}
	return rows
}

// averageTable shows the unweighted mean over the sets; of several seeds, the mean over them.
func (r *Report) averageTable() Table {
	at := map[int]bool{}
	for _, arm := range r.Arms {
		for _, m := range arm.Group().Average() {
			at[m.Attempts] = true
		}
	}
	ks := ascending(at)
	t := Table{Caption: "mean of the sets: % solved within k attempts, " + r.intervals(), Header: []string{"k ="}}
	for _, k := range ks {
		t.Header = append(t.Header, strconv.Itoa(k))
	}
	for _, arm := range r.Arms {
		row := append([]string{arm.Name}, slices.Repeat([]string{"–"}, len(ks))...)
		for _, m := range arm.Group().Average() {
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
		Caption: "attempts by outcome in %; repeats: % of retries that give an earlier answer again; recovered: % of failed first attempts " +
			"that were solved later; % solved under either grading mode",
		Header: []string{"run", "set", "k", "correct", "wrong", "no answer", "truncated", "bounded", "repeats", "recovered",
			"tokens/episode", "text only", "typed", "paper", "modes differ"},
	}
	for _, arm := range r.Arms {
		names, results := arm.runs()
		for i, result := range results {
			for _, set := range result.Sets {
				for _, s := range set.Scores {
					t.Rows = append(t.Rows, append([]string{names[i], set.Name, strconv.Itoa(s.Attempts)}, details(s)...))
				}
			}
		}
	}
	return t
}

// details are the cells of one score.
func details(s evaluate.Score) []string {
	var row []string
	for _, o := range outcomes {
		row = append(row, fmt.Sprintf("%.1f", 100*s.Shares[o]))
	}
	share := func(x float64, of int) string {
		if of == 0 {
			return "–"
		}
		return fmt.Sprintf("%.1f", 100*x)
	}
	return append(row, share(s.RepeatShare, s.Retries), share(s.RecoveredShare, s.FailedFirst), fmt.Sprintf("%.1f", s.TokensPerEpisodeMean),
		strconv.Itoa(s.Opaque), share(s.Modes[verify.ModeTyped].Accuracy, s.N), share(s.Modes[verify.ModePaper].Accuracy, s.N), strconv.Itoa(s.PaperDisagrees))
}

// Differences returns the tables of a comparison, one a set and the mean over sets.
func Differences(c evaluate.Comparison) []Table {
	sets := c.Sets
	if len(c.Average) > 0 {
		sets = append(slices.Clone(sets), evaluate.SetComparison{Name: "mean of the sets", Rows: c.Average})
	}
	tables := make([]Table, 0, len(sets))
	for _, set := range sets {
		tables = append(tables, differenceTable(c, set))
	}
	return tables
}

func differenceTable(c evaluate.Comparison, set evaluate.SetComparison) Table {
	t := Table{
		Caption: fmt.Sprintf("%s: %s − %s in points of %%, paired by problem, 95 %% intervals", set.Name, c.B, c.A),
		Header:  []string{"k", "n", c.A, c.B, "difference", "only " + c.A, "only " + c.B, "McNemar p"},
	}
	seeds := len(set.Rows) > 0 && set.Rows[0].SeedsInterval != nil
	if seeds {
		t.Caption = fmt.Sprintf("%s: %s − %s in points of %%, means over seeds, 95 %% intervals over problems and over seeds", set.Name, c.B, c.A)
		t.Header = append(t.Header[:4:4], "over problems", "over seeds", "t-test p")
	}
	for _, d := range set.Rows {
		row := []string{strconv.Itoa(d.Attempts), strconv.Itoa(d.N), fmt.Sprintf("%.1f", 100*d.A), fmt.Sprintf("%.1f", 100*d.B),
			points(d.Difference, d.Interval)}
		if seeds && d.SeedsInterval != nil {
			row = append(row, points(d.Difference, *d.SeedsInterval), probability(d.TTest))
		} else {
			row = append(row, strconv.Itoa(d.OnlyA), strconv.Itoa(d.OnlyB), probability(d.PValue))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func probability(p float64) string {
	if p <= 0 {
		return "–"
	}
	return strconv.FormatFloat(p, 'g', 2, 64)
}

// points writes a difference of shares with its interval: "+4.0 (+1.2 to +6.8)".
func points(difference float64, interval [2]float64) string {
	return fmt.Sprintf("%+.1f (%+.1f to %+.1f)", 100*difference, 100*interval[0], 100*interval[1])
}

// WriteText writes the table for a terminal: columns aligned, an interval in parentheses on a line of its own so that
// seven attempts fit into 90 columns; an empty line behind it. Whatever a cell holds, it is shown on its line, not obeyed.
func (t Table) WriteText(w io.Writer) error {
	t = t.safe()
	lines, width := t.layOut()
	var b strings.Builder
	if t.Caption != "" {
		b.WriteString(t.Caption + "\n")
	}
	for _, line := range lines {
		end := len(line.cells)
		for end > 0 && line.cells[end-1] == "" {
			end--
		}
		b.WriteString("  ")
		for i, cell := range line.cells[:end] {
			pad := strings.Repeat(" ", width[i]-runewidth.StringWidth(cell))
			if t.Paint != nil {
				cell = t.Paint(line.row, i, cell)
			}
			if i > 0 {
				b.WriteString("  ")
			}
			switch left := i == 0 || slices.Contains(t.Words, i); {
			case !left:
				b.WriteString(pad + cell)
			case i < end-1:
				b.WriteString(cell + pad)
			default:
				b.WriteString(cell)
			}
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}

// textLine is a line of a table for a terminal, and the row that it is part of.
type textLine struct {
	row   int
	cells []string
}

// layOut breaks cells into lines, and measures the columns.
func (t Table) layOut() (lines []textLine, width []int) {
	lines = []textLine{{row: -1, cells: t.Header}}
	for r, row := range t.Rows {
		first, second := make([]string, len(row)), make([]string, len(row))
		for i, cell := range row {
			first[i] = cell
			if whole, rest, found := strings.Cut(cell, " ("); found && strings.HasSuffix(rest, ")") && !strings.Contains(rest, " (") {
				first[i], second[i] = whole, strings.TrimSuffix(rest, ")")
			}
		}
		lines = append(lines, textLine{r, first})
		if strings.Join(second, "") != "" {
			lines = append(lines, textLine{r, second})
		}
	}
	width = make([]int, len(t.Header))
	for _, line := range lines {
		for i, cell := range line.cells {
			width[i] = max(width[i], runewidth.StringWidth(cell))
		}
	}
	t.narrow(lines, width)
	return lines, width
}

// leastColumn is how narrow the last column may become.
const leastColumn = 8

// narrow cuts the last column to what the terminal has room for.
func (t Table) narrow(lines []textLine, width []int) {
	last, whole := len(width)-1, 0
	for _, w := range width {
		whole += w + 2
	}
	if t.Width <= 0 || last < 0 || whole <= t.Width {
		return
	}
	width[last] = max(leastColumn, width[last]-(whole-t.Width))
	for _, line := range lines {
		if last < len(line.cells) {
			line.cells[last] = runewidth.Truncate(line.cells[last], width[last], "…")
		}
	}
}

// WriteMarkdown writes the table in GitHub's Markdown, an empty line behind it.
func (t Table) WriteMarkdown(w io.Writer) error {
	t = t.safe()
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

// percent writes a share with its interval: "33.1 (30.3–36.1)".
func percent(share float64, interval [2]float64) string {
	return fmt.Sprintf("%.1f (%.1f–%.1f)", 100*share, 100*interval[0], 100*interval[1])
}

func ascending(set map[int]bool) []int { return slices.Sorted(maps.Keys(set)) }
