package cli

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8/cwriter"

	"multiattempt/internal/printable"
	"multiattempt/internal/report"
	"multiattempt/internal/web"
)

// topEvery is how often top looks.
const topEvery = 2 * time.Second

func (a *app) newTop() *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch all live runs",
		Long: `Shows every running run with its stages under way, renewed every two seconds until Ctrl-C. Where standard output is not a
terminal, and with --once, it prints the table once.`,
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
			f, ok := a.stdout.(*os.File)
			if once || !ok || !cwriter.IsTerminal(int(f.Fd())) {
				text, err := liveTable(ctx, l, math.MaxInt)
				if err == nil {
					a.printf("%s", text)
				}
				return err
			}
			return a.top(ctx, l, f)
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "print the table once")
	return cmd
}

// top redraws the table in place.
func (a *app) top(ctx context.Context, l *live, f *os.File) error {
	const clear = "\x1b[H\x1b[J" // cursor home, erase below
	tick := time.NewTicker(topEvery)
	defer tick.Stop()
	for {
		_, height, err := cwriter.GetSize(int(f.Fd()))
		if err != nil {
			height = math.MaxInt
		}
		text, err := liveTable(ctx, l, height-1)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		a.printf("%s%s", clear, text)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// liveTable lists the running runs on at most so many lines.
func liveTable(ctx context.Context, l *live, lines int) (string, error) {
	all, err := l.List(ctx)
	if err != nil {
		return "", err
	}
	t := report.Table{Caption: time.Now().Format("15:04:05") + "  live runs", Header: []string{"run", "kind", "phase", "step", "best", "for", "under way"}}
	for _, r := range all {
		if !r.Running() {
			continue
		}
		if detailed, err := l.Look(ctx, r.Run); err == nil {
			r = detailed
		}
		t.Rows = append(t.Rows, topRow(r))
	}
	if len(t.Rows) == 0 {
		return t.Caption + ": none. `multiattempt runs` lists those that ended.\n", nil
	}
	var b bytes.Buffer
	if err := t.WriteText(&b); err != nil {
		return "", err
	}
	rows := strings.SplitAfter(b.String(), "\n")
	return strings.Join(rows[:min(len(rows), lines)], ""), nil
}

func topRow(r web.LiveRun) []string {
	step, best := fmt.Sprint(r.Step), ""
	if r.Of > 0 {
		step += fmt.Sprintf("/%d", r.Of)
	}
	if r.Best != nil {
		best = fmt.Sprintf("%.1f %%", 100**r.Best)
	}
	var stages []string
	for _, s := range r.Stages {
		text := s.Name
		if s.Of > 0 {
			text += fmt.Sprintf(" %d/%d", s.Done, s.Of)
		}
		stages = append(stages, text)
	}
	if len(r.Troubles) > 0 {
		stages = append(stages, "! "+r.Troubles[0])
	}
	const width = 60
	return []string{printable.Line(r.Run, 40), r.Kind, r.Phase, step, best, inWords(time.Since(r.Started)), printable.Line(strings.Join(stages, ", "), width)}
}
