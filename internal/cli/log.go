package cli

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/converter"

	"multiattempt/internal/report"
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

// requests reads the histories of all parts of a run that the server still has, the oldest first.
func (s *services) requests(ctx context.Context, id, part string) (all []request, err error) {
	for part != "" {
		var of []request
		before := ""
		events := s.temporal.GetWorkflowHistory(ctx, id, part, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
		for events.HasNext() {
			e, err := events.Next()
			var gone *serviceerror.NotFound
			if errors.As(err, &gone) && len(all) > 0 {
				return all, nil // older than the server keeps
			}
			if err != nil {
				return nil, err
			}
			if st := e.GetWorkflowExecutionStartedEventAttributes(); st != nil {
				before = st.ContinuedExecutionRunId
			}
			if r, ok := asRequest(e); ok {
				of = append(of, r)
			}
		}
		all = append(of, all...)
		part = before
	}
	return all, nil
}

// asRequest reads an event that a person caused.
func asRequest(e *historypb.HistoryEvent) (r request, ok bool) {
	r.Time = e.EventTime.AsTime()
	if a := e.GetWorkflowExecutionStartedEventAttributes(); a != nil && a.ContinuedExecutionRunId == "" {
		r.What, r.Who = "start", a.Identity
		return r, true
	}
	if a := e.GetWorkflowExecutionUpdateAcceptedEventAttributes(); a != nil {
		in := a.AcceptedRequest.GetInput()
		r.What, r.Who = in.GetName(), a.AcceptedRequest.GetMeta().GetIdentity()
		r.Args = strings.Join(converter.GetDefaultDataConverter().ToStrings(in.GetArgs()), " ")
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
