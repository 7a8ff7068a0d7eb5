package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	updatepb "go.temporal.io/api/update/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/types/known/timestamppb"

	"multiattempt/internal/blob"
	"multiattempt/internal/evaluate"
	"multiattempt/internal/telemetry"
	"multiattempt/workflows"
)

// spiteful is a Temporal in which everything that somebody else wrote is hostile.
type spiteful struct{ client.Client }

func (spiteful) Close() {}

func (spiteful) info() *workflowpb.WorkflowExecutionInfo {
	model, _ := converter.GetDefaultDataConverter().ToPayload(wellFormed(hostile)) // a text always has a payload
	return &workflowpb.WorkflowExecutionInfo{
		Execution: &commonpb.WorkflowExecution{WorkflowId: wellFormed(hostile), RunId: "r"}, Type: &commonpb.WorkflowType{Name: workflows.TrainName},
		Status: enumspb.WORKFLOW_EXECUTION_STATUS_FAILED, StartTime: timestamppb.New(time.Unix(0, 0)),
		SearchAttributes: &commonpb.SearchAttributes{IndexedFields: map[string]*commonpb.Payload{telemetry.Model.GetName(): model, telemetry.Phase.GetName(): model}},
	}
}

// wellFormed is what a text becomes on its way through Temporal.
func wellFormed(text string) string { return strings.ToValidUTF8(text, "\ufffd") }

func (s spiteful) ListWorkflow(context.Context, *workflowservice.ListWorkflowExecutionsRequest) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	return &workflowservice.ListWorkflowExecutionsResponse{Executions: []*workflowpb.WorkflowExecutionInfo{s.info()}}, nil
}

func (s spiteful) DescribeWorkflowExecution(context.Context, string, string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	return &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: s.info()}, nil
}

func (spiteful) QueryWorkflow(context.Context, string, string, string, ...any) (converter.EncodedValue, error) {
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(workflows.Status{
		Run: hostile, Name: hostile, Model: hostile, Phase: workflows.Phase(hostile), Warnings: []string{hostile}, Step: 1,
		Best: &workflows.Best{Metric: hostile}, Recent: []workflows.Iteration{{Step: 1}},
	})
	return client.NewValue(payloads), err
}

func (spiteful) GetWorkflow(context.Context, string, string) client.WorkflowRun { return ill{} }

// ill is a run that failed.
type ill struct{ client.WorkflowRun }

func (ill) Get(context.Context, any) error { return errors.New(hostile) }

func (spiteful) GetWorkflowHistory(context.Context, string, string, bool, enumspb.HistoryEventFilterType) client.HistoryEventIterator {
	args, _ := converter.GetDefaultDataConverter().ToPayloads(wellFormed(hostile)) // a text always has a payload
	return &chronicle{events: []*historypb.HistoryEvent{
		{EventTime: timestamppb.New(time.Unix(0, 0)), Attributes: &historypb.HistoryEvent_WorkflowExecutionUpdateAcceptedEventAttributes{
			WorkflowExecutionUpdateAcceptedEventAttributes: &historypb.WorkflowExecutionUpdateAcceptedEventAttributes{AcceptedRequest: &updatepb.Request{
				Meta: &updatepb.Meta{Identity: hostile}, Input: &updatepb.Input{Name: hostile, Args: args},
			}},
		}},
	}}
}

// chronicle is a history.
type chronicle struct{ events []*historypb.HistoryEvent }

func (p *chronicle) HasNext() bool { return len(p.events) > 0 }

func (p *chronicle) Next() (*historypb.HistoryEvent, error) {
	e := p.events[0]
	p.events = p.events[1:]
	return e, nil
}

// command runs a command line against services and returns everything that it printed.
func command(t *testing.T, s *services, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	a := &app{stdout: &out, stderr: &out, connected: func(context.Context) (*services, error) { return s, nil }}
	root := a.newRoot()
	root.SetArgs(append([]string{"--state-dir", t.TempDir()}, args...))
	root.SetOut(io.Discard)
	root.SetErr(io.Discard)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestNothingThatIsPrintedIsObeyed(t *testing.T) {
	s := &services{temporal: spiteful{}, store: blob.NewMemory()}
	for _, args := range [][]string{{"runs"}, {"show", "x"}, {"log", "x"}, {"top", "--once"}} {
		text, err := command(t, s, args...)
		require.NoError(t, err, "%v", args)
		require.NotEmpty(t, text, "%v", args)
		require.False(t, strings.ContainsAny(text, obeyed), "%v: %.2000q", args, text)
		require.Less(t, len(text), 200_000, "%v: long texts are cut", args)
		if args[0] != "top" { // which shows running ones
			require.Contains(t, text, "<U+001B>[2J", "%v: and shown for what they are", args)
		}
	}
	// In JSON nothing is lost, and nothing is obeyed either.
	for _, args := range [][]string{{"runs", "--json"}, {"show", "x", "--json"}, {"log", "x", "--json"}} {
		text, err := command(t, s, args...)
		require.NoError(t, err, "%v", args)
		require.False(t, strings.ContainsAny(text, obeyed), "%v", args)
		require.Greater(t, len(text), 1<<20, "%v", args)
	}
}

func TestHostileScoreTables(t *testing.T) {
	files := make([]string, 2)
	for i := range files {
		set := evaluate.Set{Name: "set " + wellFormed(hostile), Problems: 2, Scores: []evaluate.Score{{Attempts: 1, Samples: 1, Correct: 1, N: 2, Accuracy: 0.5, SolvedAt: []int{0, -1}}}}
		result := evaluate.Result{Run: wellFormed(hostile), Sets: []evaluate.Set{set}}
		result.Finish()
		b, err := result.Encode()
		require.NoError(t, err)
		files[i] = filepath.Join(t.TempDir(), "table.json")
		require.NoError(t, os.WriteFile(files[i], b, 0o600))
	}
	for _, format := range []string{"text", "markdown"} {
		code, out, errs := invoke(t, "compare", files[0], files[1], "--format", format)
		require.Zero(t, code, "%.1000s", errs)
		require.Contains(t, out, "U+001B>[2J")
		require.False(t, strings.ContainsAny(out, obeyed), format)
		require.Less(t, len(out), 50_000)
	}
}

func TestErrorsAreNotObeyed(t *testing.T) {
	hostile := hostile[:1000] // as much as somebody might paste
	for _, args := range [][]string{{"show", "--" + hostile}, {hostile}, {"train", "--preset", hostile}, {"train", "--set", "model.source=" + hostile}} {
		_, _, errs := invoke(t, args...)
		require.NotEmpty(t, errs)
		require.False(t, strings.ContainsAny(errs, obeyed), "%.300q", errs)
		require.Less(t, len(errs), 100_000)
	}
}
