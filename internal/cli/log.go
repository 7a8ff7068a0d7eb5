package cli

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"

	"multiattempt/internal/report"
	"multiattempt/worker"
)

// request is something that a person asked of a run.
type request struct {
	Time time.Time `json:"time"`
	What string    `json:"what"` // start, continued, an update, cancel or terminate
	Args string    `json:"arguments,omitempty"`
	Who  string    `json:"who"`
}

func (a *app) newLog() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "log RUN",
		Short:   "List who asked what of a run, from its history",
		Example: "  multiattempt log quickstart-seed1",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer s.Close()
			info, err := s.describe(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			all, err := s.requests(cmd.Context(), args[0], info.Execution.RunId)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(all)
			}
			t := report.Table{Header: []string{"time", "what", "who", "arguments"}}
			for _, r := range all {
				t.Rows = append(t.Rows, []string{r.Time.Local().Format(time.DateTime), r.What, r.Who, r.Args})
			}
			return a.writeTable(a.stdout, t)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

// requests reads the histories of a run that the server still has, all parts of all its executions, the oldest first.
func (s *services) requests(ctx context.Context, id, newest string) ([]request, error) {
	payloads, err := worker.DataConverter(s.cfg.Temporal.Codec)
	if err != nil {
		return nil, err
	}
	parts := []string{newest}
	for token := []byte(nil); ; {
		page, err := s.temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
			Namespace: s.cfg.Temporal.Namespace, NextPageToken: token,
			Query: "WorkflowId = '" + strings.ReplaceAll(id, "'", "\\'") + "'",
		})
		if err != nil {
			return nil, err
		}
		for _, e := range page.Executions {
			if part := e.Execution.RunId; part != newest { // which the list may not have yet
				parts = append(parts, part)
			}
		}
		if token = page.NextPageToken; len(token) == 0 {
			break
		}
	}
	var all []request
	for _, part := range parts {
		of, err := s.requestsOf(ctx, id, part, payloads)
		var gone *serviceerror.NotFound
		if err != nil && (part == newest || !errors.As(err, &gone)) { // others may be older than the server keeps
			return nil, err
		}
		all = append(all, of...)
	}
	slices.SortStableFunc(all, func(a, b request) int { return a.Time.Compare(b.Time) })
	return all, nil
}

// requestsOf reads the history of one part of a run.
func (s *services) requestsOf(ctx context.Context, id, part string, payloads converter.DataConverter) (all []request, err error) {
	events := s.temporal.GetWorkflowHistory(ctx, id, part, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		e, err := events.Next()
		if err != nil {
			return nil, err
		}
		if r, ok := asRequest(e, payloads); ok {
			all = append(all, r)
		}
	}
	return all, nil
}

// asRequest reads an event that a person caused.
func asRequest(e *historypb.HistoryEvent, payloads converter.DataConverter) (r request, ok bool) {
	r.Time = e.EventTime.AsTime()
	if a := e.GetWorkflowExecutionStartedEventAttributes(); a != nil && a.ContinuedExecutionRunId == "" {
		r.What, r.Who = "start", a.Identity
		return r, true
	}
	if a := e.GetWorkflowExecutionUpdateAcceptedEventAttributes(); a != nil {
		in := a.AcceptedRequest.GetInput()
		r.What, r.Who = in.GetName(), a.AcceptedRequest.GetMeta().GetIdentity()
		r.Args = strings.Join(payloads.ToStrings(in.GetArgs()), " ")
		return r, true
	}
	if a := e.GetWorkflowExecutionCancelRequestedEventAttributes(); a != nil {
		r.What, r.Who = "cancel", a.Identity
		return r, true
	}
	if a := e.GetWorkflowExecutionTerminatedEventAttributes(); a != nil {
		r.What, r.Args, r.Who = "terminate", a.Reason, a.Identity
		return r, true
	}
	return r, false
}
