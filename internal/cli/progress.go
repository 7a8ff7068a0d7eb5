package cli

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/cwriter"
	"github.com/vbauerster/mpb/v8/decor"
)

// position is how far a workflow has got.
type position struct {
	phase       string
	done, total int    // iterations, steps, or rollouts of an evaluation
	detail      string // facts of the newest one
	warnings    string // what a person should know about the run's data, a line each
	over        bool   // nothing follows
	aside       bool   // a training's evaluation: its speed says nothing of later stages
}

// display shows one workflow's progress, with the time that is left.
type display interface {
	show(p position)
	// note writes whole lines that stay.
	note(text string)
	close()
}

// newDisplay draws a bar where w is a terminal, and otherwise writes a line now and then.
func newDisplay(w io.Writer, st stage, clock func() time.Time) display {
	p := pace{clock: clock, stage: st}
	if f, ok := w.(*os.File); ok && cwriter.IsTerminal(int(f.Fd())) {
		return newBar(f, p)
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

// lines writes one line whenever the phase changes, at most one in lineEvery otherwise, and the last one always.
type lines struct {
	w    io.Writer
	pace pace
	last position
	at   time.Time
}

const lineEvery = 5 * time.Second

func (l *lines) show(p position) {
	now := l.pace.clock()
	left, known := l.pace.left(p)
	if p == l.last || p.phase == l.last.phase && p.done < p.total && !p.over && now.Sub(l.at) < lineEvery {
		return
	}
	l.last, l.at = p, now
	text := fmt.Sprintf("%s  %s  %d/%d", l.pace.stage.title, p.phase, p.done, p.total)
	if p.detail != "" {
		text += "  " + p.detail
	}
	if known {
		text += "  " + inWords(left) + " left"
	}
	fmt.Fprintln(l.w, text)
}

func (l *lines) note(text string) { fmt.Fprintln(l.w, text) }

func (l *lines) close() {}

// bar redraws one line of a terminal.
type bar struct {
	progress *mpb.Progress
	bar      *mpb.Bar
	pace     pace
	text     chan string // the newest detail, replaced as needed
}

func newBar(w io.Writer, p pace) *bar {
	b := &bar{progress: mpb.New(mpb.WithOutput(w), mpb.WithWidth(30)), pace: p, text: make(chan string, 1)}
	detail := ""
	b.bar = b.progress.AddBar(0,
		mpb.PrependDecorators(decor.Name(p.stage.title+" "), decor.CountersNoUnit("%d/%d", decor.WCSyncSpace)),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
			select {
			case detail = <-b.text:
			default:
			}
			return "  " + detail
		})),
	)
	return b
}

func (b *bar) show(p position) {
	text := p.phase
	if p.detail != "" {
		text += "  " + p.detail
	}
	if left, known := b.pace.left(p); known {
		text += "  " + inWords(left) + " left"
	}
	select {
	case <-b.text:
	default:
	}
	b.text <- text
	b.bar.SetTotal(int64(p.total), false)
	b.bar.SetCurrent(int64(p.done))
}

func (b *bar) note(text string) { fmt.Fprintln(b.progress, text) }

func (b *bar) close() {
	b.bar.Abort(false)
	b.progress.Wait()
}
