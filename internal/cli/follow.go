package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/client"

	"multiattempt/workflows"
)

// pollEvery is how often a followed workflow is asked how far it is, and queryTimeout how long it may take to answer: a
// worker that is busy, or away, answers later.
const (
	pollEvery    = time.Second
	queryTimeout = 10 * time.Second
)

// follow shows a workflow's progress, and what holds it up, until it ends and decodes its result into out. When ctx ends
// first, the workflow goes on and the error matches errInterrupted. A full disk, or a service that stays away, ends the
// following, not the workflow.
func (a *app) follow(ctx context.Context, s *services, st stage, run client.WorkflowRun, kind string, out any) error {
	ended := make(chan error, 1)
	go func() { ended <- run.Get(ctx, out) }()
	d := newDisplay(a.stderr, st, time.Now)
	defer d.close()
	w := newWatch(run.GetID(), time.Now)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	warned := false
	show := func(p position) {
		if !warned && p.warnings != "" {
			warned = true
			d.note(p.warnings)
		}
		d.show(p)
	}
	for {
		select {
		case err := <-ended:
			if ctx.Err() != nil {
				return fmt.Errorf("%w while following %s", errInterrupted, run.GetID())
			}
			if err != nil && isAway(err) {
				return w.lost(s, err)
			}
			if p, perr := s.position(ctx, run.GetID(), kind); perr == nil && p.total > 0 {
				p.over = true
				show(p)
			}
			return outcome(err)
		case <-tick.C:
			if err := w.look(ctx, s, d.note); err != nil {
				return err
			}
			p, err := s.position(ctx, run.GetID(), kind)
			if err == nil && p.total > 0 {
				show(p)
			}
		}
	}
}

// position asks a workflow how far it is.
func (s *services) position(ctx context.Context, id, kind string) (position, error) {
	switch kind {
	case workflows.TrainName:
		var st workflows.Status
		err := s.status(ctx, id, &st)
		if err == nil && st.Phase == workflows.PhaseEvaluating {
			p, err := s.position(ctx, workflows.EvaluateWorkflowID(id, st.Step), workflows.EvaluateName)
			p.aside, p.detail, p.warnings = true, fmt.Sprintf("after step %d", st.Step), warnings(st)
			return p, err
		}
		p := position{phase: string(st.Phase), done: st.Step, total: st.Iterations, warnings: warnings(st)}
		if st.Step > 0 {
			p.detail = fmt.Sprintf("reward %+.3f  solved %.1f %%", st.RewardMean, 100*st.Solved)
		}
		return p, err
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

// experimentPosition is how far an experiment is, in runs, and how far the first of those under way is.
func (s *services) experimentPosition(ctx context.Context, st workflows.ExperimentStatus) position {
	p := position{phase: string(st.Phase), done: st.Done, total: len(st.Members)}
	for _, m := range st.Members {
		if m.State != workflows.MemberRunning {
			continue
		}
		p.detail = m.Run
		if run, err := s.position(ctx, m.Run, workflows.TrainName); err == nil && run.total > 0 {
			p.detail = fmt.Sprintf("%s %s %d/%d", m.Run, run.phase, run.done, run.total)
		}
		break
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
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	value, err := s.temporal.QueryWorkflow(ctx, id, "", workflows.QueryStatus)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w: %s; is one running? `multiattempt up` or `multiattempt worker` starts one", errNoAnswer, id)
	}
	if err != nil {
		return err
	}
	return value.Get(out)
}
