package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"multiattempt/internal/printable"
	"multiattempt/worker"
	"multiattempt/workflows"
)

// pollEvery is how often a followed workflow is asked how far it is, and queryTimeout how long it may take to answer: a
// worker that is busy, or away, answers later.
const (
	pollEvery    = time.Second
	queryTimeout = 10 * time.Second
)

// following is a workflow that is being followed.
type following struct {
	*app
	services *services
	stage    stage
	id, kind string
	display  display
	watch    *watch
	payloads converter.DataConverter
	warned   bool
	// By training run, of which an experiment has several: its stages, what was told of it, and whether it was under way at
	// the last look.
	stages   map[string]*stageTracker
	journals map[string]*journal
	running  map[string]bool
}

// follow shows a workflow's progress, and what holds it up, until it ends and decodes its result into out. When ctx ends
// first, the workflow goes on and the error matches errInterrupted. A full disk, or a service that stays away, ends the
// following, not the workflow.
func (a *app) follow(ctx context.Context, s *services, st stage, run client.WorkflowRun, kind string, out any) error {
	payloads, err := worker.DataConverter(s.cfg.Temporal.Codec)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- run.Get(ctx, out) }()
	f := &following{
		app: a, services: s, stage: st, id: run.GetID(), kind: kind, display: newDisplay(a.stderr, st, time.Now),
		watch: newWatch(run.GetID(), time.Now), payloads: payloads,
		stages: map[string]*stageTracker{}, journals: map[string]*journal{}, running: map[string]bool{},
	}
	defer f.display.close()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			if ctx.Err() != nil {
				return fmt.Errorf("%w while following %s", errInterrupted, f.id)
			}
			if err != nil && isAway(err) {
				return f.watch.lost(s, err)
			}
			f.show(ctx, true)
			return outcome(err)
		case <-tick.C:
			if err := f.watch.look(ctx, s, f.display.note); err != nil {
				return err
			}
			f.show(ctx, false)
		}
	}
}

// show asks the workflow how far it is and shows it. Without an answer nothing changes.
func (f *following) show(ctx context.Context, over bool) {
	p, err := f.services.position(ctx, f.id, f.kind)
	if err != nil || p.total == 0 {
		return
	}
	p.over = over
	if !f.warned && p.warnings != "" {
		f.warned = true
		f.display.note(p.warnings)
	}
	switch {
	case p.status != nil:
		p.stages = f.look(p)
	case len(p.members) > 0:
		p.stages = f.look(p.members[0])
	case f.kind == workflows.EvaluateName:
		p.stages = f.tracker(f.id).see(nil, f.watch.pending[f.id], p.done, p.total)[stageEvaluate:]
	}
	f.display.show(p)
	f.tell(ctx, p)
}

// look finds out how far the stages of a training run are.
func (f *following) look(p position) []stageAt {
	done, of := 0, 0
	if p.aside {
		done, of = p.done, p.total
	}
	run := p.status.Run
	return f.tracker(run).see(f.watch.pending[run], f.watch.pending[workflows.EvaluateWorkflowID(run, p.step)], done, of)
}

func (f *following) tracker(run string) *stageTracker {
	if f.stages[run] == nil {
		f.stages[run] = &stageTracker{clock: time.Now, payloads: f.payloads}
	}
	return f.stages[run]
}

// tell writes the iterations that are new: of the run, or of an experiment's runs, once more after one has ended.
func (f *following) tell(ctx context.Context, p position) {
	if p.status != nil {
		f.journal(p.status.Run, "").tell(ctx, *p.status, f.display)
		return
	}
	ended := f.running
	f.running = map[string]bool{}
	for _, m := range p.members {
		f.running[m.status.Run] = true
		delete(ended, m.status.Run)
		f.journal(m.status.Run, m.status.Run+"  ").tell(ctx, *m.status, f.display)
	}
	for run := range ended {
		var st workflows.Status
		if f.services.status(ctx, run, &st) == nil {
			f.journal(run, run+"  ").tell(ctx, st, f.display)
		}
	}
}

func (f *following) journal(run, prefix string) *journal {
	if f.journals[run] == nil {
		f.journals[run] = newJournal(f.app, f.services.store, run, f.stage.dialogues)
		f.journals[run].prefix = prefix
	}
	return f.journals[run]
}

// position asks a workflow how far it is.
func (s *services) position(ctx context.Context, id, kind string) (position, error) {
	switch kind {
	case workflows.TrainName:
		return s.trainPosition(ctx, id)
	case workflows.FinetuneName:
		var st workflows.FinetuneState
		err := s.status(ctx, id, &st)
		p := position{phase: string(st.Phase), done: st.Step, total: st.Resolved.Steps}
		if st.Step > 0 {
			p.detail = fmt.Sprintf("loss %.4f", st.Loss)
		}
		return p, err
	case workflows.ExperimentName:
		var st workflows.ExperimentStatus
		err := s.status(ctx, id, &st)
		return s.experimentPosition(ctx, st), err
	case workflows.EvaluateName:
		var st workflows.EvaluateStatus
		err := s.status(ctx, id, &st)
		return position{phase: string(workflows.PhaseEvaluating), done: st.Done, total: st.Of}, err
	}
	return position{}, usage("%s is a workflow of type %s, not one of ours", id, kind)
}

// trainPosition is how far a training run is or, while it is evaluated, its evaluation.
func (s *services) trainPosition(ctx context.Context, id string) (position, error) {
	var st workflows.Status
	if err := s.status(ctx, id, &st); err != nil {
		return position{}, err
	}
	p := position{phase: string(st.Phase), done: st.Step, total: st.Iterations}
	if st.Step > 0 {
		p.detail = fmt.Sprintf("reward %+.3f  solved %.1f %%", st.RewardMean, 100*st.Solved)
	}
	if st.Phase == workflows.PhaseEvaluating {
		e, err := s.position(ctx, workflows.EvaluateWorkflowID(id, st.Step), workflows.EvaluateName)
		if err != nil {
			return position{}, err
		}
		p = e
		p.aside, p.detail = true, fmt.Sprintf("after step %d", st.Step)
	}
	p.warnings, p.status, p.step, p.iterations = warnings(st), &st, st.Step, st.Iterations
	return p, nil
}

// experimentPosition is how far an experiment is, in runs, and how far those under way are.
func (s *services) experimentPosition(ctx context.Context, st workflows.ExperimentStatus) position {
	p := position{phase: string(st.Phase), done: st.Done, total: len(st.Members)}
	for _, m := range st.Members {
		if m.State != workflows.MemberRunning {
			continue
		}
		run, err := s.position(ctx, m.Run, workflows.TrainName)
		if err == nil && run.total > 0 {
			p.members = append(p.members, run)
		}
		if p.detail != "" {
			continue
		}
		p.detail = printable.Line(m.Run, 60)
		if err == nil && run.total > 0 {
			p.detail += fmt.Sprintf(" %s %d/%d", run.phase, run.done, run.total)
		}
	}
	return p
}

// warnings are what a training run warns of, a line each.
func warnings(st workflows.Status) string {
	if len(st.Warnings) == 0 {
		return ""
	}
	return "Warning: " + strings.Join(st.Warnings, "\nWarning: ")
}

// errNoAnswer: no worker answered a query in time.
var errNoAnswer = errors.New("no worker answers for this run")

// status queries a workflow's status into out.
func (s *services) status(ctx context.Context, id string, out any) error {
	asked, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	value, err := s.temporal.QueryWorkflow(asked, id, "", workflows.QueryStatus)
	switch {
	case err == nil:
		return value.Get(out)
	case ctx.Err() == nil && (isLate(err) || isUnpolled(err)):
		return s.unanswered(ctx, id)
	}
	return err
}

// isUnpolled reports whether Temporal did not even wait for an answer, because nobody has polled the task queue for minutes.
func isUnpolled(err error) bool {
	var unpolled *serviceerror.FailedPrecondition
	return errors.As(err, &unpolled) && strings.Contains(unpolled.Message, "no poller")
}

// unanswered names the task queue that nobody polls, if Temporal says which it is.
func (s *services) unanswered(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	queue := s.cfg.Temporal.Queue
	if d, err := s.temporal.DescribeWorkflowExecution(ctx, id, ""); err == nil {
		if name := d.GetExecutionConfig().GetTaskQueue().GetName(); name != "" {
			queue = name
		}
	}
	start := "`multiattempt up` or `multiattempt worker` starts one"
	if queue != s.cfg.Temporal.Queue {
		start = "`multiattempt worker --queue " + printable.Line(queue, 100) + "` starts one"
	}
	return fmt.Errorf("%w: %s, of task queue %s; is one running? %s", errNoAnswer, id, printable.Line(queue, 100), start)
}
