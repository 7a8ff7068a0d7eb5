package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
	"github.com/spf13/cobra"

	"multiattempt/internal/engine"
	"multiattempt/internal/spec"
	"multiattempt/workflows"
)

// quickstart trains two arms from one base model, scores all three and reports.
type quickstart struct {
	*app
	seed               uint64
	small, keep, fresh bool
	set                []string // assignments for every arm
	out                string
	ports              ports
	dialogues          int // as for stage
	began              time.Time
	backend            string
}

func (a *app) newQuickstart() *cobra.Command {
	q := &quickstart{app: a}
	cmd := &cobra.Command{
		Use:   "quickstart",
		Short: "Watch a small model learn to use its failures, and see the effect",
		Long: `Starts Temporal, its UI, an S3 store and a worker in this process, and from the built-in base model trains two arms on the
same number of episodes: "multi" (1 to 5 attempts) and "single" (one). Then it scores base, single and multi with 1 to 7
attempts on 1,000 held-out problems (--small: 250), prints the table and writes report.html, figure.svg and summary.json.

Interrupted, it goes on when the same command is given again. --fresh removes all of --out's state, every seed's, first.`,
		Example: "  multiattempt quickstart\n  multiattempt quickstart --seed 2 --keep",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if startStack == nil {
				return fmt.Errorf("%w: this build has no services inside; use the all-in-one binary (make quickstart)", errServices)
			}
			var err error
			if q.out, err = filepath.Abs(q.out); err != nil {
				return err
			}
			if !cmd.Flags().Changed("state-dir") {
				a.cfg.StateDir = filepath.Join(q.out, "data")
			}
			return q.run(cmd)
		},
	}
	f := cmd.Flags()
	f.Uint64Var(&q.seed, "seed", 1, "seed of every random draw")
	f.BoolVar(&q.small, "small", false, "a quarter of the episodes and held-out problems, for machines without the fast backend")
	f.BoolVar(&q.keep, "keep", false, "leave services and Temporal UI up until Ctrl-C")
	f.BoolVar(&q.fresh, "fresh", false, "start over: remove what earlier quickstarts left")
	f.StringArrayVar(&q.set, "set", nil, "one setting of every arm, as for train; may be repeated")
	addDialogues(cmd, &q.dialogues)
	f.StringVar(&q.out, "out", filepath.Join("out", "quickstart"), "folder for the report and, in data, all state")
	f.IntVar(&q.ports.ui, "ui-port", 0, "port of the Temporal UI; 0 takes any free one")
	return cmd
}

func (q *quickstart) run(cmd *cobra.Command) error {
	q.began = time.Now()
	if err := q.announce(); err != nil {
		return err
	}
	arms, err := q.plan()
	if err != nil {
		return err
	}
	if q.fresh {
		if err := q.clear(); err != nil {
			return err
		}
	}
	e, err := q.embed(cmd.Context(), q.ports, everything)
	if err != nil {
		return err
	}
	q.notef("Temporal UI %s\n", e.stack.UIURL)
	if err := q.work(cmd.Context(), e, arms); err != nil {
		if errors.Is(err, errInterrupted) {
			err = fmt.Errorf("%w; nothing is lost: the same command goes on", err)
		}
		return q.shutDown(e, err)
	}
	q.printf("Temporal UI  %s\n", e.stack.UIURL)
	if q.keep {
		q.printf("Everything stays up; Ctrl-C stops it.\n")
		return q.untilStopped(cmd, e)
	}
	return e.Close()
}

// experience is how long the whole quickstart takes on two cores.
type experience struct {
	minutes  int
	measured bool // docs/LOG.md has the measurement; otherwise it is estimated
}

// quickstartMinutes is the experience by backend.
var quickstartMinutes = map[string]experience{
	engine.XLA:    {minutes: 6, measured: true},
	engine.PureGo: {minutes: 15},
}

// Times of the stages after one, as multiples of its own, as measured for the XLA backend: base 0.2 minutes, multi 3.6,
// single 2.0.
const (
	baseLater  = 28
	multiLater = 0.55
)

// scaled is the experience with --small, which makes a quarter of everything, rounded up for what does not shrink.
func (e experience) scaled(small bool) experience {
	if small {
		e.minutes = (e.minutes + 3) / 4
	}
	return e
}

// expected stands in for an estimate while only the base is evaluated; 0 when nothing was measured.
func (e experience) expected() time.Duration {
	if !e.measured {
		return 0
	}
	return time.Duration(e.minutes) * time.Minute
}

// duration says in sentences how long the quickstart takes on a backend, empty when nothing is known.
func duration(backend string, small bool) string {
	e, known := quickstartMinutes[backend]
	if !known {
		return ""
	}
	source := ""
	if !e.measured {
		source = " (estimated, not measured)"
	}
	text := fmt.Sprintf("This takes about %d minutes on two cores%s.\n", e.scaled(small).minutes, source)
	if backend == engine.PureGo && !small {
		text += fmt.Sprintf("--small takes about %d minutes%s, with wider intervals.\n", e.scaled(true).minutes, source)
	}
	return text
}

// announce says which backend will compute and how long it will take.
func (q *quickstart) announce() error {
	b, err := engine.Open(q.cfg.Backend.Choice)
	if err != nil {
		return err
	}
	defer b.Close()
	q.backend = b.Name()
	q.notef("Backend: %s\n", b.Describe())
	q.notef("%s", duration(q.backend, q.small))
	if q.backend == engine.PureGo {
		q.notef("%s\n", b.Note())
	}
	return nil
}

// clear removes the state of earlier quickstarts, unless a process is using it.
func (q *quickstart) clear() error {
	state := q.cfg.StateDir
	if _, err := os.Stat(endpointsFile(state)); errors.Is(err, os.ErrNotExist) {
		if entries, err := os.ReadDir(state); err == nil && len(entries) > 0 {
			return usage("--fresh: %s holds other things than a quickstart's state; remove it yourself", state)
		}
		return nil
	}
	lock := flock.New(filepath.Join(state, "lock"))
	free, err := lock.TryLock()
	if err != nil {
		return err
	}
	if !free {
		return fmt.Errorf("%w: --fresh: another process runs on %s; stop it first", errServices, state)
	}
	return errors.Join(os.RemoveAll(state), lock.Unlock())
}

// arm is one policy of the comparison; the base is scored, not trained.
type arm struct {
	training
	name  string
	stage stage
}

const baseArm = "base"

// plan checks the settings of every arm, in the order in which they are made.
func (q *quickstart) plan() ([]arm, error) {
	name := "quickstart"
	if q.small {
		name = "quickstart-small"
	}
	var arms []arm
	for _, p := range []struct {
		arm, preset string
		stage       stage
	}{
		{baseArm, name, stage{title: "[1/3] base  ", later: baseLater, expected: quickstartMinutes[q.backend].scaled(q.small).expected()}},
		{"multi", name, stage{title: "[2/3] multi ", later: multiLater}},
		{"single", name + "-single", stage{title: "[3/3] single"}},
	} {
		settings := append([]string{"preset=" + p.preset, fmt.Sprintf("seed=%d", q.seed)}, q.set...)
		doc, err := spec.Override(nil, spec.Run{}, settings)
		if err != nil {
			return nil, err
		}
		t, err := q.checkTraining(doc)
		if err != nil {
			return nil, err
		}
		t.id = fmt.Sprintf("%s-%s-seed%d", name, p.arm, q.seed)
		p.stage.dialogues = q.dialogues
		arms = append(arms, arm{training: t, name: p.arm, stage: p.stage})
	}
	return arms, nil
}

// scored is an arm that is done.
type scored struct {
	arm
	// train is the training's result, zero for the base; evaluation is of its end.
	train      workflows.TrainOutput
	evaluation workflows.EvaluateOutput
	found      bool // it had ended before this command
}

// work makes, or finds, every arm and writes the report.
func (q *quickstart) work(ctx context.Context, e *embedded, arms []arm) error {
	var done []scored
	found := true
	for _, a := range arms {
		s, err := q.make(ctx, e.services, a)
		if err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		done = append(done, s)
		found = found && s.found
	}
	if err := q.report(ctx, e.services, done); err != nil {
		return err
	}
	if found {
		q.printf("\nSeed %d had been run before; --fresh starts over, --seed chooses another.\n", q.seed)
	}
	return nil
}

// make trains and scores one arm, or finds it.
func (q *quickstart) make(ctx context.Context, s *services, a arm) (scored, error) {
	out := scored{arm: a}
	var err error
	if out.doc, err = q.upload(ctx, s, a.doc, spec.Run{}, a.folder); err != nil {
		return scored{}, err
	}
	o, err := out.order()
	if err != nil {
		return scored{}, err
	}
	o.retry, o.conflict = true, "--fresh starts over, --out or --seed keeps apart"
	into := any(&out.train)
	if a.name == baseArm {
		o.kind, o.input, o.summary = workflows.EvaluateName, workflows.EvaluateInput{Spec: out.doc}, "the base model"
		into = &out.evaluation
	}
	st, err := s.start(ctx, o)
	if err != nil {
		return scored{}, err
	}
	switch {
	case st.closed:
		q.notef("%s  exists already\n", a.stage.title)
	case st.found:
		q.notef("%s  goes on\n", a.stage.title)
	}
	out.found = st.closed
	if err := q.follow(ctx, s, a.stage, st.run, o.kind, into); err != nil {
		return scored{}, err
	}
	if out.train.Evaluation != nil {
		out.evaluation = *out.train.Evaluation
	}
	if out.evaluation.Result.IsZero() {
		return scored{}, usage("run %s was stopped before its evaluation; --fresh starts over", a.id)
	}
	return out, nil
}
