package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"multiattempt/internal/printable"
	"multiattempt/workflows"
)

// position is how far a workflow has got.
type position struct {
	phase       string
	done, total int    // iterations, steps, or rollouts of an evaluation
	detail      string // facts of the newest one
	warnings    string // what a person should know about the run's data, a line each
	over        bool   // nothing follows
	aside       bool   // a training's evaluation: its speed says nothing of later stages
	// Of a training run: its iterations, which an evaluation does not hide.
	step, iterations int
	stages           []stageAt         // of a training run or an evaluation
	status           *workflows.Status // of a training run
	members          []position        // of an experiment: its runs under way
}

// display shows one workflow's progress, with the time that is left.
type display interface {
	show(p position)
	// step writes what an iteration came to, and stays.
	step(text string)
	// note writes whole lines that stay; quote does, in colours of our own.
	note(text string)
	quote(text printable.Trusted)
	close()
}

// newDisplay draws bars where w is a terminal, and otherwise writes a line now and then.
func newDisplay(w io.Writer, st stage, clock func() time.Time) display {
	p := pace{clock: clock, stage: st}
	if f, ok := terminal(w); ok {
		return newBars(w, f, p)
	}
	return &lines{w: w, pace: p}
}

// stage is one workflow of those that a command follows one after the other.
type stage struct {
	title string
	later float64 // time that the stages after this one take, as a multiple of this one's
	// expected is the time that this and all later stages take by experience; it stands in for an estimate where this
	// stage's speed says nothing of the later ones.
	expected time.Duration
	// dialogues is the number of iterations between those of which a dialogue is shown; 0: none is.
	dialogues int
}

// pace estimates the time left, that of later stages included, from the speed since the first position of a phase: what
// came before, compilation above all, says nothing about what comes.
type pace struct {
	clock func() time.Time
	stage stage
	began time.Time // the first position; zero before it
	from  position  // the phase's first
	since time.Time
	later time.Duration // that the stages after this one will take
}

// left returns the estimate, or false while there is nothing to go by.
func (c *pace) left(p position) (time.Duration, bool) {
	now := c.clock()
	if c.began.IsZero() {
		c.began = now
	}
	if c.since.IsZero() || p.phase != c.from.phase || p.total != c.from.total {
		c.from, c.since = p, now
	}
	if c.stage.expected > 0 {
		left := c.stage.expected - now.Sub(c.began)
		return left, left > 0
	}
	done := p.done - c.from.done
	if done <= 0 || p.over {
		return 0, false
	}
	each := now.Sub(c.since) / time.Duration(done)
	if !p.aside {
		c.later = time.Duration(c.stage.later * float64(each) * float64(p.total))
	}
	left := each*time.Duration(p.total-p.done) + c.later
	return left, left > 0
}

// inWords rounds a duration as one would say it.
func inWords(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()+0.5))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	default:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
}

// lines writes a line for each iteration; for what has none, one whenever the phase changes, at most one in lineEvery
// otherwise, and the last one always.
type lines struct {
	w     io.Writer
	pace  pace
	last  position
	at    time.Time
	newer string // time left, as of the newest position
}

const lineEvery = 5 * time.Second

func (l *lines) show(p position) {
	now := l.pace.clock()
	left, known := l.pace.left(p)
	l.newer = ""
	if known {
		l.newer = "  " + inWords(left) + " left"
	}
	same := p.phase == l.last.phase && p.done == l.last.done && p.total == l.last.total && p.detail == l.last.detail && p.over == l.last.over
	told := p.iterations > 0 && !p.aside // by step
	if same || p.phase == l.last.phase && !p.over && (told || p.done < p.total && now.Sub(l.at) < lineEvery) {
		return
	}
	l.last, l.at = p, now
	text := fmt.Sprintf("%s  %s  %d/%d", l.pace.stage.title, p.phase, p.done, p.total)
	if p.detail != "" {
		text += "  " + p.detail
	}
	printable.Fprintf(l.w, "%s\n", text+l.newer)
}

func (l *lines) step(text string) {
	printable.Fprintf(l.w, "%s\n", l.pace.stage.title+"  "+text+l.newer)
}

func (l *lines) note(text string) { printable.Fprintf(l.w, "%s\n", text) }

func (l *lines) quote(text printable.Trusted) { printable.Fprintf(l.w, "%s\n", text) }

func (l *lines) close() {}

// addDialogues registers how often a followed training shows what is said.
func addDialogues(cmd *cobra.Command, every *int) {
	cmd.Flags().IntVar(every, "sample-every", 10, "iterations between those of which progress shows a dialogue; 0 shows none")
}
