package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"multiattempt/internal/printable"
)

const (
	barWidth = 24
	// fullBar is the length of a bar in the library's own counts; what people see is written beside it.
	fullBar = 1000
	// roomForStages is the least height of a terminal, in lines, that has a bar for each stage: they leave room for what
	// scrolls above them.
	roomForStages = 14
)

// bars draws a terminal's last lines again and again: how far the workflow is, and below it each stage of the iteration
// under way.
type bars struct {
	progress *mpb.Progress
	screen   *screen // whose other lines go above; nil: none of ours
	whole    bar
	stages   []bar // none where the terminal is low, or before stages are known
	room     bool
	pace     pace
	paint    palette
}

// bar is one of them; text is what stands behind it now.
type bar struct {
	*mpb.Bar
	name, text *atomic.Pointer[string]
}

func newBars(w io.Writer, f *os.File, p pace) *bars {
	b := &bars{progress: mpb.New(mpb.WithOutput(f), mpb.WithWidth(barWidth)), pace: p, paint: newPalette(w)}
	if b.screen, _ = w.(*screen); b.screen != nil {
		b.screen.over(b.progress)
	}
	_, height := size(f)
	b.room = height >= roomForStages
	b.whole = b.add(printable.Line(p.stage.title, 40), b.paint.bold)
	return b
}

// add puts a bar below the others.
func (b *bars) add(name string, paint func(string) string) bar {
	x := bar{name: new(atomic.Pointer[string]), text: new(atomic.Pointer[string])}
	x.name.Store(&name)
	x.text.Store(new(string))
	x.Bar = b.progress.New(0, mpb.BarStyle().Tip("="),
		mpb.PrependDecorators(decor.Meta(decor.Any(func(decor.Statistics) string { return *x.name.Load() }, decor.WC{C: decor.DindentRight | decor.DSyncWidth}), paint)),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return *x.text.Load() })),
	)
	x.SetTotal(fullBar, false)
	return x
}

func (x bar) set(share float64, text string) {
	x.text.Store(&text)
	// A bar that is full would count as ended.
	x.SetCurrent(int64(min(share, 1) * (fullBar - 1)))
}

func (b *bars) show(p position) {
	done, total, text := p.done, p.total, p.phase
	if p.iterations > 0 {
		done, total = p.step, p.iterations
		if p.aside && len(p.stages) > 0 {
			p.detail = ""
		}
	}
	if p.detail != "" {
		text += "  " + p.detail
	}
	if left, known := b.pace.left(p); known {
		text += "  " + inWords(left) + " left"
	}
	share := 0.0
	if total > 0 {
		share = float64(done) / float64(total)
	}
	b.whole.set(share, fmt.Sprintf("%d/%d  %s", done, total, text))
	if p.stages == nil || !b.room || p.over {
		return
	}
	for len(b.stages) < len(p.stages) {
		b.stages = append(b.stages, b.add("", b.paint.faint))
	}
	for i, s := range p.stages {
		name := "  " + s.name
		b.stages[i].name.Store(&name)
		b.stages[i].set(s.share, s.String())
	}
}

func (b *bars) step(text string) { b.note(text) }

func (b *bars) note(text string) {
	printable.Fprintf(b.progress, "%s\n", strings.TrimSuffix(text, "\n"))
}

func (b *bars) quote(text printable.Trusted) { printable.Fprintf(b.progress, "%s\n", text) }

func (b *bars) close() {
	for _, s := range b.stages {
		s.Abort(true)
	}
	b.whole.Abort(false)
	b.progress.Wait()
	if b.screen != nil {
		b.screen.over(nil)
	}
}
