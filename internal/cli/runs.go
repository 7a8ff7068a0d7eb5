package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"

	"multiattempt/internal/printable"
	"multiattempt/internal/report"
	"multiattempt/internal/telemetry"
	"multiattempt/workflows"
)

// listedRun is one line of the list of runs.
type listedRun struct {
	Run       string    `json:"run"`
	Kind      string    `json:"kind"`
	Status    string    `json:"status"` // of the workflow
	Phase     string    `json:"phase,omitempty"`
	Step      int64     `json:"step"`
	BestScore *float64  `json:"best_score,omitempty"`
	Model     string    `json:"model,omitempty"`
	Started   time.Time `json:"started"`
}

func (a *app) newRuns() *cobra.Command {
	var asJSON, all bool
	var query string
	cmd := &cobra.Command{
		Use:     "runs",
		Short:   "List runs, newest first",
		Example: "  multiattempt runs\n  multiattempt runs --query 'Phase = \"paused\"'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer s.Close()
			runs, err := s.list(cmd.Context(), listQuery(all, query))
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(runs)
			}
			return a.printRuns(runs)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	cmd.Flags().BoolVar(&all, "all", false, "also list the evaluations that runs made by themselves")
	cmd.Flags().StringVar(&query, "query", "", "a Temporal list filter over RunName, Phase, Step, BestScore, Model …")
	return cmd
}

// listQuery is the visibility query of the list of runs.
func listQuery(all bool, filter string) string {
	kinds := []string{workflows.TrainName, workflows.FinetuneName, workflows.EvaluateName, workflows.ExperimentName}
	q := fmt.Sprintf("WorkflowType IN ('%s')", strings.Join(kinds, "', '"))
	if !all { // an experiment's runs are runs like others
		q += fmt.Sprintf(" AND (ParentWorkflowId IS NULL OR WorkflowType = '%s')", workflows.TrainName)
	}
	if filter != "" {
		q += " AND (" + filter + ")"
	}
	return q
}

// list returns the newest execution of every matching run.
func (s *services) list(ctx context.Context, query string) ([]listedRun, error) {
	runs := []listedRun{}
	seen := map[string]bool{}
	var next []byte
	for {
		page, err := s.temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
			Namespace: s.cfg.Temporal.Namespace, Query: query, NextPageToken: next,
		})
		if err != nil {
			return nil, err
		}
		for _, w := range page.Executions {
			if id := w.Execution.WorkflowId; !seen[id] { // executions come newest first
				seen[id] = true
				runs = append(runs, listed(w))
			}
		}
		if next = page.NextPageToken; len(next) == 0 {
			return runs, nil
		}
	}
}

func listed(w *workflowpb.WorkflowExecutionInfo) listedRun {
	r := listedRun{
		Run: w.Execution.WorkflowId, Kind: w.Type.Name, Status: statusWord(w.Status), Started: w.StartTime.AsTime().UTC(),
	}
	attribute := func(name string, into any) {
		if payload, ok := w.SearchAttributes.GetIndexedFields()[name]; ok {
			// An attribute of another type than ours was not set by us: the column stays empty.
			_ = converter.GetDefaultDataConverter().FromPayload(payload, into)
		}
	}
	attribute(telemetry.Phase.GetName(), &r.Phase)
	attribute(telemetry.Step.GetName(), &r.Step)
	attribute(telemetry.Model.GetName(), &r.Model)
	attribute(telemetry.BestScore.GetName(), &r.BestScore)
	return r
}

// statusWord is a workflow status in lower case: running, completed, failed, canceled, terminated, timed_out …
func statusWord(s enumspb.WorkflowExecutionStatus) string {
	var word strings.Builder
	for i, c := range s.String() {
		if i > 0 && 'A' <= c && c <= 'Z' {
			word.WriteByte('_')
		}
		word.WriteRune(c)
	}
	return strings.ToLower(word.String())
}

func (a *app) printRuns(runs []listedRun) error {
	t := report.Table{Header: []string{"run", "kind", "status", "phase", "step", "best", "started"}}
	for _, r := range runs {
		best := ""
		if r.BestScore != nil {
			best = fmt.Sprintf("%.1f %%", 100**r.BestScore)
		}
		t.Rows = append(t.Rows, []string{r.Run, r.Kind, r.Status, r.Phase, fmt.Sprint(r.Step), best, r.Started.Local().Format("2006-01-02 15:04")})
	}
	return a.writeTable(a.stdout, t)
}

// printJSON writes one indented JSON value.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(printable.JSON(a.stdout))
	e.SetIndent("", "  ")
	return e.Encode(v)
}
