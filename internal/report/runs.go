package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"

	"gonum.org/v1/plot/plotter"

	"multiattempt/internal/evaluate"
	"multiattempt/internal/printable"
	"multiattempt/internal/rollout"
)

// Runs is a report about training runs, to be sent to somebody: one file, HTML or Markdown.
type Runs struct {
	Title       string
	Lead        string
	Parts       []RunPart
	Curves      []Curves // figures over all runs
	Scores      Table    // of the figures: what they show, as numbers
	Evaluated   Report   // of the runs that were evaluated
	Comparisons []evaluate.Comparison
	Notices     []string // what could not be read
}

// RunPart is what the report says of one run.
type RunPart struct {
	Name      string
	Facts     [][2]string // name and value
	Warnings  []string
	Settings  Table
	Changed   Table // settings that differ from the preset
	Dialogues []rollout.Episode
}

// Curves is a figure of lines over iterations.
type Curves struct {
	Title, Unit string
	Lines       []Curved
}

// Curved is one line; Steps and Values are as long as each other.
type Curved struct {
	Label  string
	Steps  []int
	Values []float64
}

// SVG draws the figure; nil when it has no point.
func (c Curves) SVG() ([]byte, error) {
	p := newFigure("iteration", c.Unit)
	p.Title.Text = c.Title
	drawn := 0
	for _, l := range c.Lines {
		if len(l.Steps) == 0 {
			continue
		}
		points := make(plotter.XYs, len(l.Steps))
		for i, step := range l.Steps {
			points[i] = plotter.XY{X: float64(step), Y: l.Values[i]}
		}
		if err := addLine(p, l.Label, points, armColor(drawn+1), false); err != nil {
			return nil, fmt.Errorf("figure %s: %w", c.Title, err)
		}
		drawn++
	}
	if drawn == 0 {
		return nil, nil
	}
	return p.svg()
}

//go:embed runs.html.tmpl
var runsSource string

var runsPage = template.Must(template.New("runs").Funcs(template.FuncMap{
	"shown": shown, "inc": func(n int) int { return n + 1 }, "words": words,
}).Parse(runsSource))

// mostShown bounds one text of a dialogue in a report. Unit: bytes.
const mostShown = 6000

// shown makes a text safe to show, and cuts one that is long.
func shown(text string) string {
	head, left := printable.Cut(printable.Text(text), mostShown)
	if left > 0 {
		head += fmt.Sprintf(" … [%d bytes more]", left)
	}
	return head
}

func words(o rollout.Outcome) string { return strings.ReplaceAll(string(o), "_", " ") }

// WriteHTML writes one self-contained page: no script, no request.
func (r *Runs) WriteHTML(w io.Writer) error {
	data := struct {
		*Runs
		Figures  []drawing
		Accuracy []drawing
		Tables   []Table
	}{Runs: r, Tables: r.tables()}
	for _, c := range r.Curves {
		svg, err := c.SVG()
		if err != nil {
			return err
		}
		if svg != nil {
			data.Figures = append(data.Figures, inline(c.Title, svg))
		}
	}
	for _, set := range r.Evaluated.sets() {
		svg, err := r.Evaluated.Figure(set)
		if err != nil {
			return err
		}
		data.Accuracy = append(data.Accuracy, inline("Accuracy by attempts on "+set, svg))
	}
	if err := runsPage.Execute(w, data); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// tables are accuracies, outcomes and paired differences.
func (r *Runs) tables() []Table {
	if len(r.Evaluated.Arms) == 0 {
		return nil
	}
	tables := append(r.Evaluated.Tables(), r.Evaluated.Details())
	for _, c := range r.Comparisons {
		tables = append(tables, Differences(c)...)
	}
	return tables
}

// WriteMarkdown writes the same in GitHub's Markdown, its figures as numbers.
func (r *Runs) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s\n\n", escapeMarkdown(printable.Line(r.Title, 200)), escapeMarkdown(printable.Text(r.Lead)))
	for _, n := range r.Notices {
		fmt.Fprintf(&b, "> %s\n\n", escapeMarkdown(printable.Line(n, 400)))
	}
	for _, p := range r.Parts {
		fmt.Fprintf(&b, "## %s\n\n", escapeMarkdown(printable.Line(p.Name, 200)))
		for _, f := range p.Facts {
			fmt.Fprintf(&b, "- %s: %s\n", f[0], escapeMarkdown(printable.Line(f[1], 200)))
		}
		for _, warning := range p.Warnings {
			fmt.Fprintf(&b, "- **Warning:** %s\n", escapeMarkdown(printable.Line(warning, 400)))
		}
		b.WriteString("\n")
	}
	var changed []Table
	for _, p := range r.Parts {
		changed = append(changed, p.Changed)
	}
	for _, section := range []struct {
		title  string
		tables []Table
	}{{"Accuracy by attempts", r.tables()}, {"Learning", []Table{r.Scores}}, {"Settings", changed}} {
		if err := writeSection(&b, section.title, section.tables); err != nil {
			return err
		}
	}
	for _, p := range r.Parts {
		writeDialogues(&b, p)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeSection writes the tables that have rows, and a heading if any has.
func writeSection(b *strings.Builder, title string, tables []Table) error {
	headed := false
	for _, t := range tables {
		if len(t.Rows) == 0 {
			continue
		}
		if !headed {
			fmt.Fprintf(b, "## %s\n\n", title)
			headed = true
		}
		if err := t.WriteMarkdown(b); err != nil {
			return err
		}
	}
	return nil
}

func writeDialogues(b *strings.Builder, p RunPart) {
	if len(p.Dialogues) == 0 {
		return
	}
	fmt.Fprintf(b, "## Dialogues of %s\n\n", escapeMarkdown(printable.Line(p.Name, 200)))
	for _, e := range p.Dialogues {
		fmt.Fprintf(b, "### %s, step %d\n\n", escapeMarkdown(printable.Line(e.ProblemID, 100)), e.Step+1)
		fence(b, e.Question)
		fmt.Fprintf(b, "Gold answer %s, %d of %d attempts.\n\n", code(e.Gold), len(e.Attempts), e.MaxTries)
		for i, a := range e.Attempts {
			fmt.Fprintf(b, "**Attempt %d: %s**\n\n", i+1, words(a.Outcome))
			fence(b, a.Text)
		}
	}
}

// fence writes text as a block of code whose fence it cannot close.
func fence(b *strings.Builder, text string) {
	mark := "```"
	for strings.Contains(text, mark) {
		mark += "`"
	}
	fmt.Fprintf(b, "%stext\n%s\n%s\n\n", mark, shown(text), mark)
}

// code writes text as code on one line.
func code(text string) string {
	return "`" + strings.ReplaceAll(printable.Line(text, 100), "`", "'") + "`"
}
