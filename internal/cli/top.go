package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"multiattempt/internal/printable"
	"multiattempt/internal/report"
	"multiattempt/internal/web"
)

const (
	topEvery  = 2 * time.Second // between two looks
	topAtOnce = 8               // runs that are asked at the same time
)

// topRun is one running run: what top --json prints.
type topRun struct {
	Run     string     `json:"run"`
	Kind    string     `json:"kind"`
	Phase   string     `json:"phase,omitempty"`
	Step    int        `json:"step"`
	Of      int        `json:"iterations,omitempty"`
	Reward  *float64   `json:"reward_mean,omitempty"`
	Best    *float64   `json:"best_score,omitempty"`
	Started time.Time  `json:"started"`
	Stages  []topStage `json:"stages,omitempty"`
	Trouble string     `json:"trouble,omitempty"` // an activity that fails and is tried again
	// Unanswered says why nobody says more of the run.
	Unanswered string `json:"unanswered,omitempty"`
}

type topStage struct {
	Name string `json:"name"`
	What string `json:"what,omitempty"`
	Done int    `json:"done"`
	Of   int    `json:"of,omitempty"`
}

func (a *app) newTop() *cobra.Command {
	var once, asJSON bool
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch all live runs",
		Long: `Shows every running run with its stages under way, renewed every two seconds until q or Ctrl-C. Where standard output is not
a terminal, and with --once, it prints the table once; with --json, the same as a JSON array.`,
		Example: "  multiattempt top\n  multiattempt top --once",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			s, err := a.connect(ctx)
			if err != nil {
				return err
			}
			defer s.Close()
			l, err := newLive(s)
			if err != nil {
				return err
			}
			t := &top{app: a, source: l, clock: time.Now}
			f, shown := terminal(a.stdout)
			switch {
			case asJSON:
				all, err := t.look(ctx)
				if err != nil {
					return err
				}
				return a.printJSON(all)
			case once || !shown:
				return t.print(ctx, a.stdout, 0, 0)
			default:
				return t.watch(ctx, f, os.Stdin)
			}
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "print the table once")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array, once")
	return cmd
}

// top is a table of the running runs.
type top struct {
	*app
	source interface {
		List(ctx context.Context) ([]web.LiveRun, error)
		Look(ctx context.Context, run string) (web.LiveRun, error)
	}
	clock func() time.Time
	paces map[string]*pace // by run
}

// What a terminal is told: to show another screen than the one with the shell's lines, without a cursor, and to begin at its
// top; and to return.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	fromTop     = "\x1b[H"
	eraseLine   = "\x1b[K"
	eraseBelow  = "\x1b[J"
)

// watch redraws the table in place until somebody types q or Ctrl-C. A service that is away shows as such; it may return.
func (t *top) watch(ctx context.Context, screen *os.File, keyboard *os.File) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if fd := int(keyboard.Fd()); term.IsTerminal(fd) {
		before, err := term.MakeRaw(fd)
		if err != nil {
			return err
		}
		defer term.Restore(fd, before) //nolint:errcheck // the process ends anyway
		go stopAtKey(keyboard, stop)
	}
	fmt.Fprint(screen, enterScreen)
	defer fmt.Fprint(screen, leaveScreen)
	tick := time.NewTicker(topEvery)
	defer tick.Stop()
	for {
		width, height := size(screen)
		var b bytes.Buffer
		if err := t.print(ctx, &b, width, height-2); err != nil {
			b.Reset()
			printable.Fprintf(&b, "%s\n", err)
		}
		if ctx.Err() != nil {
			return nil
		}
		text := b.String() + "\n" + newPalette(screen).faint("q leaves")
		// A raw terminal does not return to the first column by itself.
		fmt.Fprint(screen, fromTop+strings.ReplaceAll(text, "\n", eraseLine+"\r\n")+eraseLine+eraseBelow)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// stopAtKey calls stop when q or Ctrl-C is typed, or the keyboard is gone.
func stopAtKey(keyboard io.Reader, stop func()) {
	defer stop()
	const interrupt = 3 // what Ctrl-C sends to a raw terminal
	key := make([]byte, 1)
	for {
		if n, err := keyboard.Read(key); n == 0 || err != nil {
			return
		}
		if key[0] == 'q' || key[0] == 'Q' || key[0] == interrupt {
			return
		}
	}
}

// look asks for all running runs, newest first.
func (t *top) look(ctx context.Context) ([]topRun, error) {
	listed, err := t.source.List(ctx)
	if err != nil {
		return nil, err
	}
	all := []topRun{}
	for _, r := range listed {
		if r.Running() {
			all = append(all, newTopRun(r))
		}
	}
	slots := make(chan struct{}, topAtOnce)
	var wait sync.WaitGroup
	for i := range all {
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if r, err := t.source.Look(ctx, all[i].Run); err == nil && r.Running() {
				all[i] = newTopRun(r)
			}
		})
	}
	wait.Wait()
	return all, nil
}

func newTopRun(r web.LiveRun) topRun {
	row := topRun{
		Run: r.Run, Kind: r.Kind, Phase: r.Phase, Step: r.Step, Of: r.Of, Reward: r.Reward, Best: r.Best, Started: r.Started,
		Unanswered: r.Unanswered,
	}
	for _, s := range r.Stages {
		row.Stages = append(row.Stages, topStage(s))
	}
	if len(r.Troubles) > 0 {
		row.Trouble = r.Troubles[0]
	}
	return row
}

// print writes the table, on at most so many columns and lines; 0: any number.
func (t *top) print(ctx context.Context, w io.Writer, width, height int) error {
	all, err := t.look(ctx)
	if err != nil {
		return err
	}
	caption := t.clock().Format("15:04:05") + "  "
	if len(all) == 0 {
		printable.Fprintf(w, "%sno run is running; `multiattempt runs` lists those that ended\n", caption)
		return nil
	}
	table := report.Table{
		Caption: caption + fmt.Sprintf("%d running", len(all)), Width: width, Words: []int{1, 2, 8},
		Header: []string{"run", "kind", "phase", "step", "reward", "best", "for", "left", "under way"},
	}
	const around = 3 // lines: caption, header and the last one
	rows := all
	if height > around && len(rows) > height-around {
		rows = rows[:height-around]
		table.Caption += fmt.Sprintf(", the newest %d", len(rows))
	}
	for _, r := range rows {
		table.Rows = append(table.Rows, t.row(r))
	}
	return t.writeTable(w, table)
}

func (t *top) row(r topRun) []string {
	cells := []string{printable.Line(r.Run, 40), r.Kind, r.Phase, fmt.Sprint(r.Step), "", "", inWords(t.clock().Sub(r.Started)), "", r.underWay()}
	if r.Of > 0 {
		cells[3] += fmt.Sprintf("/%d", r.Of)
	}
	if r.Reward != nil {
		cells[4] = fmt.Sprintf("%+.3f", *r.Reward)
	}
	if r.Best != nil {
		cells[5] = fmt.Sprintf("%.1f %%", 100**r.Best)
	}
	if left, known := t.pace(r.Run).left(position{phase: r.Phase, done: r.Step, total: r.Of}); known {
		cells[7] = inWords(left)
	}
	return cells
}

func (t *top) pace(run string) *pace {
	if t.paces == nil {
		t.paces = map[string]*pace{}
	}
	if t.paces[run] == nil {
		t.paces[run] = &pace{clock: t.clock}
	}
	return t.paces[run]
}

// underWay says what a run does now, or what holds it up.
func (r topRun) underWay() string {
	if r.Trouble != "" {
		return "! " + r.Trouble
	}
	var words []string
	for _, s := range r.Stages {
		text := s.Name
		if s.Of > 0 {
			text += fmt.Sprintf(" %d/%d", s.Done, s.Of)
		}
		if s.What != "" {
			text += " " + s.What
		}
		words = append(words, text)
	}
	if len(words) == 0 {
		return r.Unanswered
	}
	return strings.Join(words, ", ")
}
