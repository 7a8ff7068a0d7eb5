package cli

import (
	"context"
	"errors"
	"fmt"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"

	"multiattempt/internal/blob"
	"multiattempt/internal/evaluate"
	"multiattempt/internal/report"
	"multiattempt/workflows"
)

// describe returns what Temporal knows of a workflow; an unknown one is the user's mistake.
func (s *services) describe(ctx context.Context, id string) (*workflowpb.WorkflowExecutionInfo, error) {
	d, err := s.temporal.DescribeWorkflowExecution(ctx, id, "")
	var notFound *serviceerror.NotFound
	if errors.As(err, &notFound) {
		return nil, usage("no run is called %s; `multiattempt runs` lists them", id)
	}
	if err != nil {
		return nil, err
	}
	return d.WorkflowExecutionInfo, nil
}

// loadResult reads an evaluation's score table.
func (s *services) loadResult(ctx context.Context, ref blob.Ref) (*evaluate.Result, error) {
	b, err := blob.Load(ctx, s.store, ref)
	if err != nil {
		return nil, err
	}
	return evaluate.Decode(b)
}

// errNotEvaluated: a run has no result to show.
var errNotEvaluated = errors.New("has not been evaluated")

// resultOf finds the newest evaluation of a run, or the result of an evaluation.
func (s *services) resultOf(ctx context.Context, id string) (*evaluate.Result, error) {
	info, err := s.describe(ctx, id)
	if err != nil {
		return nil, err
	}
	var ref blob.Ref
	completed := info.Status == enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED
	switch kind := info.Type.Name; {
	case kind == workflows.EvaluateName && !completed:
		return nil, fmt.Errorf("evaluation %s has not ended", id)
	case kind == workflows.EvaluateName:
		var out workflows.EvaluateOutput
		if err := s.temporal.GetWorkflow(ctx, id, "").Get(ctx, &out); err != nil {
			return nil, outcome(err)
		}
		ref = out.Result
	case kind == workflows.TrainName && completed:
		var out workflows.TrainOutput
		if err := s.temporal.GetWorkflow(ctx, id, "").Get(ctx, &out); err != nil {
			return nil, outcome(err)
		}
		if out.Evaluation != nil {
			ref = out.Evaluation.Result
		}
	case kind == workflows.TrainName:
		st, err := s.trainStatus(ctx, id, completed)
		if err != nil {
			return nil, err
		}
		if st.Evaluation != nil {
			ref = st.Evaluation.Result
		}
	}
	if ref.IsZero() {
		return nil, usage("run %s %w; `multiattempt eval --run %s` does it", id, errNotEvaluated, id)
	}
	return s.loadResult(ctx, ref)
}

// trainStatus is a run's status as a worker answers it from the history; once the run completed and where no worker is
// there, what its result says.
func (s *services) trainStatus(ctx context.Context, id string, completed bool) (workflows.Status, error) {
	var st workflows.Status
	if err := s.status(ctx, id, &st); err == nil || !completed || !errors.Is(err, errNoAnswer) {
		return st, err
	}
	var out workflows.TrainOutput
	if err := s.temporal.GetWorkflow(ctx, id, "").Get(ctx, &out); err != nil {
		return workflows.Status{}, outcome(err)
	}
	return workflows.Status{
		Run: out.Run, Name: out.Run, Phase: out.Phase, Step: out.Step, RewardMean: out.RewardMean,
		LatestCheckpoint: out.LatestCheckpoint, Policy: out.Policy, Best: out.Best, Evaluation: out.Evaluation,
	}, nil
}

// printScores writes an evaluation's tables.
func (a *app) printScores(ctx context.Context, s *services, ref blob.Ref) error {
	result, err := s.loadResult(ctx, ref)
	if err != nil {
		return err
	}
	r := report.Report{Arms: []report.Arm{{Name: result.Run, Result: result}}}
	for _, t := range r.Tables() {
		a.printf("\n")
		if err := a.writeTable(a.stdout, t); err != nil {
			return err
		}
	}
	return nil
}
