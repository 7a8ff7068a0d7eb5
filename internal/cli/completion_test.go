package cli

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/types/known/timestamppb"

	"multiattempt/internal/blob"
	"multiattempt/internal/runs/runstest"
)

// listed is a Temporal that lists runs.
type listedRuns struct {
	client.Client
	runs  map[string]string // type by id
	asked string
}

func (l *listedRuns) Close() {}

func (l *listedRuns) ListWorkflow(_ context.Context, r *workflowservice.ListWorkflowExecutionsRequest) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	l.asked = r.Query
	out := &workflowservice.ListWorkflowExecutionsResponse{}
	for id, kind := range l.runs {
		out.Executions = append(out.Executions, &workflowpb.WorkflowExecutionInfo{
			Execution: &commonpb.WorkflowExecution{WorkflowId: id}, Type: &commonpb.WorkflowType{Name: kind},
			Status: enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, StartTime: timestamppb.New(time.Unix(0, 0)),
		})
	}
	return out, nil
}

// tab presses Tab behind a command line and returns what is offered, without explanations.
func tab(t *testing.T, a *app, args ...string) (offered []string) {
	t.Helper()
	var out bytes.Buffer
	root := a.newRoot()
	root.SetArgs(append([]string{"__complete", "--state-dir", t.TempDir()}, args...))
	root.SetOut(&out)
	root.SetErr(&bytes.Buffer{})
	require.NoError(t, root.ExecuteContext(t.Context()))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for _, line := range lines[:len(lines)-1] { // the last one is the directive
		name, _, _ := strings.Cut(line, "\t")
		offered = append(offered, name)
	}
	return offered
}

func TestCompletionWithoutServices(t *testing.T) {
	a := &app{}
	t.Setenv("MULTIATTEMPT_ACTIVE_HELP", "0") // the scripts of fish set it
	require.Contains(t, tab(t, a, "train", "--preset", "quick"), "quickstart-small")
	require.Equal(t, []string{"quickstart-base"}, tab(t, a, "finetune", "--preset", ""))
	require.Contains(t, tab(t, a, "chat", "bu"), "builtin:smudged-base")
	require.Contains(t, tab(t, a, "eval", "--sets", "math500,aime"), "math500,aime2024")
	require.Equal(t, []string{"smudged"}, tab(t, a, "eval", "--preset", "quickstart", "--sets", ""))
	require.Subset(t, tab(t, a, "train", "--preset", "quickstart", "--arms", "multi,"), []string{"multi,single", "multi,grpo"})
	require.Equal(t, []string{"debug"}, tab(t, a, "runs", "--log-level", "d"))
	require.Equal(t, []string{"worker"}, tab(t, a, "up", "--only", "w"))
	require.Empty(t, tab(t, a, "show", ""))
	require.Empty(t, tab(t, a, "runs", ""))
}

func TestCompletionAsksTheServices(t *testing.T) {
	store := blob.NewMemory()
	require.NoError(t, runstest.Make(t.Context(), store, runstest.Options{Run: "my-run", Steps: 1, Problems: 1, Group: 1}))
	temporal := &listedRuns{runs: map[string]string{"my-run": "Train", "your-run": "Train", "my\x1b[2J": "Train"}}
	a := &app{connected: func(context.Context) (*services, error) { return &services{temporal: temporal, store: store}, nil }}
	require.Equal(t, []string{"my-run"}, tab(t, a, "show", "my"))
	require.Equal(t, []string{"my-run"}, tab(t, a, "pause", "my"))
	require.Contains(t, temporal.asked, "ExecutionStatus = 'Running'")
	require.Equal(t, []string{"your-run"}, tab(t, a, "compare", "my-run", ""))
	require.Equal(t, []string{"my-run"}, tab(t, a, "eval", "--run", "my"))
	require.Equal(t, []string{"run:my-run"}, tab(t, a, "chat", "run:my"))
	require.Equal(t, []string{"my-run"}, tab(t, a, "fork", "my"))
	require.Empty(t, tab(t, a, "fork", "my-run@"), "it has no checkpoint")
	require.Equal(t, []string{"my-run@latest", "my-run@best"}, tab(t, a, "export", "my-run@"))
	require.Empty(t, tab(t, a, "show", "my-run", ""), "one run is enough")
	require.NotEmpty(t, tab(t, a, "eval", "--run", "my-run", "--sets", ""))
}

func TestCompletionDoesNotWaitForServices(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0") // accepts, and says nothing
	require.NoError(t, err)
	defer l.Close() //nolint:errcheck // of no consequence
	address := l.Addr().String()
	require.Empty(t, tab(t, &app{}, "show", "--temporal", address, "--s3", address, ""))
	require.Empty(t, tab(t, &app{}, "show", "--log-level", "loud", ""), "settings that are wrong complete nothing")
	t.Setenv("MULTIATTEMPT_NONSENSE", "1")
	require.Empty(t, tab(t, &app{}, "show", ""))
	require.NotEmpty(t, tab(t, &app{}, "train", "--preset", ""), "what needs no settings is completed nevertheless")
}

func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		code, out, _ := invoke(t, "completion", shell)
		require.Zero(t, code, shell)
		require.Contains(t, out, "multiattempt", shell)
		require.Greater(t, len(out), 1000, shell)
	}
}
