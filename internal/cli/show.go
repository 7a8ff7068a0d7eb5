package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"

	"multiattempt/activities"
	"multiattempt/internal/report"
	"multiattempt/workflows"
)

// shown is what show --json prints of a training run: the status, and how the workflow fares.
type shown struct {
	workflows.Status
	// Checkpoint takes the place of the status's in JSON: the key is there before there is a checkpoint, as null.
	Checkpoint *activities.CheckpointRef `json:"latest_checkpoint"`

	Kind     string `json:"kind"`
	Workflow string `json:"workflow_status"`
	URL      string `json:"url,omitempty"`
	Failure  string `json:"failure,omitempty"`
}

func (a *app) newShow() *cobra.Command {
	var asJSON, follow bool
	var dialogues int
	cmd := &cobra.Command{
		Use:     "show RUN",
		Short:   "Show where a run stands",
		Example: "  multiattempt show quickstart-seed1\n  multiattempt show quickstart-seed1 --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			s, err := a.connect(ctx)
			if err != nil {
				return err
			}
			defer s.Close()
			info, err := s.describe(ctx, args[0])
			if err != nil {
				return err
			}
			if follow && info.Status == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
				if err := a.follow(ctx, s, stage{title: args[0], dialogues: dialogues}, s.temporal.GetWorkflow(ctx, args[0], ""), info.Type.Name, nil); err != nil {
					return goesOn(err, args[0])
				}
				if info, err = s.describe(ctx, args[0]); err != nil {
					return err
				}
			}
			if info.Type.Name == workflows.ExperimentName {
				return a.showExperiment(ctx, s, info, asJSON)
			}
			if info.Type.Name != workflows.TrainName {
				return a.showOther(ctx, s, info, asJSON)
			}
			return a.showTraining(ctx, s, info, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().BoolVar(&follow, "follow", false, "show progress until the run ends")
	addDialogues(cmd, &dialogues)
	return cmd
}

func (a *app) showTraining(ctx context.Context, s *services, info *workflowpb.WorkflowExecutionInfo, asJSON bool) error {
	id := info.Execution.WorkflowId
	out := shown{Kind: info.Type.Name, Workflow: statusWord(info.Status), URL: s.runURL(id)}
	out.Run = id
	switch info.Status {
	case enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED:
		st, err := s.trainStatus(ctx, id, info.Status == enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED)
		if err != nil {
			return err
		}
		out.Status = st
	default:
		if err := s.temporal.GetWorkflow(ctx, id, "").Get(ctx, nil); err != nil {
			out.Failure = outcome(err).Error()
		}
		// A worker may still answer from the history where the run got to; without one, what is known is shown.
		var st workflows.Status
		if s.status(ctx, id, &st) == nil {
			out.Status = st
		}
	}
	if !out.LatestCheckpoint.IsZero() {
		out.Checkpoint = &out.LatestCheckpoint
	}
	if asJSON {
		return a.printJSON(out)
	}
	return a.printRun(ctx, s, out)
}

// printRun writes a training run for people.
func (a *app) printRun(ctx context.Context, s *services, r shown) error {
	a.printf("Run         %s  (%s, %s)\nStep        %d", r.Run, r.Workflow, r.Phase, r.Step)
	if r.Iterations > 0 {
		a.printf(" of %d", r.Iterations)
	}
	a.printf("%s\n", intention(r.Status))
	if r.Model != "" {
		a.printf("Model       %s\n", r.Model)
	}
	if r.Step > 0 {
		a.printf("Reward      %+.3f mean per episode\n", r.RewardMean)
	}
	if c := r.LatestCheckpoint; !c.IsZero() {
		a.printf("Checkpoint  step %d  %s\n            sha256 %s\n", c.Step, c.Key, c.SHA256)
	}
	if r.Best != nil {
		a.printf("Best        %.1f %% %s at step %d\n", 100*r.Best.Score, r.Best.Metric, r.Best.Checkpoint.Step)
	}
	if !r.Data.IsZero() {
		a.printf("Data        %s\n", r.Data.Key)
	}
	for _, w := range r.Warnings {
		a.printf("Warning     %s\n", w)
	}
	if r.URL != "" {
		a.printf("Temporal UI %s\n", r.URL)
	}
	if r.Failure != "" {
		a.printf("Failure     %s\n", r.Failure)
	}
	if len(r.Recent) > 0 {
		t := report.Table{Header: []string{"step", "reward", "solved %", "KL", "learning rate"}}
		for _, it := range r.Recent {
			t.Rows = append(t.Rows, []string{fmt.Sprint(it.Step), fmt.Sprintf("%+.3f", it.RewardMean), fmt.Sprintf("%.1f", 100*it.Solved),
				fmt.Sprintf("%.4f", it.KL), fmt.Sprintf("%.2g", it.PolicyLR)})
		}
		a.printf("\n")
		if err := a.writeTable(a.stdout, t); err != nil {
			return err
		}
	}
	if r.Evaluation == nil {
		return nil
	}
	return a.printScores(ctx, s, r.Evaluation.Result)
}

// showExperiment shows an experiment's runs, and compares the arms as far as runs have been evaluated.
func (a *app) showExperiment(ctx context.Context, s *services, info *workflowpb.WorkflowExecutionInfo, asJSON bool) error {
	st, err := s.experimentStatus(ctx, info.Execution.WorkflowId)
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(newShownExperiment(st, info))
	}
	return a.printExperiment(ctx, s, st)
}

// shownExperiment is what show --json prints of an experiment: its status, and every run by its name.
type shownExperiment struct {
	Experiment string          `json:"experiment"`
	Phase      workflows.Phase `json:"phase"`
	Parallel   int             `json:"parallel"`
	Done       int             `json:"done"`
	Members    []shownMember   `json:"members"`
	Kind       string          `json:"kind"`
	Workflow   string          `json:"workflow_status"`
}

type shownMember struct {
	Run string `json:"run"`
	workflows.Member
}

func newShownExperiment(st workflows.ExperimentStatus, info *workflowpb.WorkflowExecutionInfo) shownExperiment {
	shown := shownExperiment{Experiment: st.Experiment, Phase: st.Phase, Parallel: st.Parallel, Done: st.Done, Kind: info.Type.Name, Workflow: statusWord(info.Status)}
	for _, m := range st.Members {
		shown.Members = append(shown.Members, shownMember{m.Run, m})
	}
	return shown
}

// showOther shows a fine-tuning or an evaluation.
func (a *app) showOther(ctx context.Context, s *services, info *workflowpb.WorkflowExecutionInfo, asJSON bool) error {
	id, kind := info.Execution.WorkflowId, info.Type.Name
	out := map[string]any{}
	var err error
	if info.Status == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
		err = s.status(ctx, id, &out)
	} else {
		err = outcome(s.temporal.GetWorkflow(ctx, id, "").Get(ctx, &out))
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", kind, id, err)
	}
	out["run"], out["kind"], out["workflow_status"] = id, kind, statusWord(info.Status)
	if _, has := out["latest_checkpoint"]; !has && kind == workflows.FinetuneName {
		out["latest_checkpoint"] = nil
	}
	if asJSON {
		return a.printJSON(out)
	}
	a.printf("%s %s  (%s)\n", kind, id, statusWord(info.Status))
	if info.Status == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
		p, err := s.position(ctx, id, kind)
		if err != nil {
			return err
		}
		a.printf("%s %d of %d %s\n", p.phase, p.done, p.total, p.detail)
		return nil
	}
	if kind != workflows.EvaluateName {
		return a.printJSON(out)
	}
	var done workflows.EvaluateOutput
	if err := s.temporal.GetWorkflow(ctx, id, "").Get(ctx, &done); err != nil {
		return outcome(err)
	}
	return a.printScores(ctx, s, done.Result)
}
