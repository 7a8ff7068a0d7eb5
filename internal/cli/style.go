package cli

import (
	"io"
	"os"
	"slices"
	"sync"

	"github.com/fatih/color"
	"github.com/vbauerster/mpb/v8/cwriter"

	"multiattempt/internal/report"
	"multiattempt/internal/rollout"
	"multiattempt/workflows"
)

// terminal returns w's file when a person sits before it and it obeys cursor movements.
func terminal(w io.Writer) (*os.File, bool) {
	if s, ok := w.(*screen); ok {
		w = s.out
	}
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" || !cwriter.IsTerminal(int(f.Fd())) {
		return nil, false
	}
	return f, true
}

// size is how many columns and lines a terminal has; 0 and 0 where that is not known.
func size(f *os.File) (width, height int) {
	width, height, err := cwriter.GetSize(int(f.Fd()))
	if err != nil {
		return 0, 0
	}
	return width, height
}

// palette colours text for one stream, or leaves it as it is.
type palette struct{ on bool }

// newPalette colours what goes to a terminal, unless NO_COLOR (no-color.org) or a dumb terminal forbids it.
func newPalette(w io.Writer) palette {
	_, seen := terminal(w)
	return palette{on: seen && os.Getenv("NO_COLOR") == ""}
}

func (p palette) paint(text string, attributes ...color.Attribute) string {
	if !p.on || text == "" {
		return text
	}
	c := color.New(attributes...)
	c.EnableColor()
	return c.Sprint(text)
}

func (p palette) good(text string) string  { return p.paint(text, color.FgGreen) }
func (p palette) bad(text string) string   { return p.paint(text, color.FgRed) }
func (p palette) warn(text string) string  { return p.paint(text, color.FgYellow) }
func (p palette) faint(text string) string { return p.paint(text, color.Faint) }
func (p palette) bold(text string) string  { return p.paint(text, color.Bold) }

// state colours the state of a workflow, its phase, or a member of an experiment.
func (p palette) state(word string) string {
	switch word {
	case "running", string(workflows.PhaseTraining), string(workflows.PhaseEvaluating), "completed":
		return p.good(word)
	case string(workflows.PhasePaused), string(workflows.PhaseStopped), "canceled", "continued_as_new":
		return p.warn(word)
	case "failed", "terminated", "timed_out":
		return p.bad(word)
	default:
		return word
	}
}

// writeTable writes a table to w, coloured for standard output.
func (a *app) writeTable(w io.Writer, t report.Table) error {
	p := newPalette(a.stdout)
	if p.on {
		t.Paint = func(row, column int, cell string) string {
			switch {
			case row < 0:
				return p.bold(cell)
			case slices.Contains([]string{"status", "phase", "state"}, t.Header[column]):
				return p.state(cell)
			default:
				return cell
			}
		}
	}
	return t.WriteText(w)
}

// outcome colours what an attempt ended in.
func (p palette) outcome(o rollout.Outcome, text string) string {
	switch o {
	case rollout.Correct:
		return p.good(text)
	case rollout.Wrong:
		return p.bad(text)
	default:
		return p.warn(text)
	}
}

// screen is a stream that others write lines to, logs for example, while bars are drawn on it: those go above the bars.
type screen struct {
	mu    sync.Mutex
	out   io.Writer
	above io.Writer // nil: no bars
}

func newScreen(w io.Writer) *screen { return &screen{out: w} }

// Write implements io.Writer.
func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	above := s.above
	s.mu.Unlock()
	if above != nil {
		if n, err := above.Write(b); err == nil {
			return n, nil
		} // the bars have just ended
	}
	return s.out.Write(b)
}

// over sends what is written to w, which draws bars on the screen; nil ends that.
func (s *screen) over(w io.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.above = w
}
