package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	failurepb "go.temporal.io/api/failure/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"multiattempt/activities"
	"multiattempt/config"
	"multiattempt/internal/blob/s3"
	"multiattempt/internal/engine"
	"multiattempt/workflows"
)

// described is a Temporal that answers only what is pending of a workflow.
type described struct {
	client.Client
	err     error
	pending map[string]*workflowservice.DescribeWorkflowExecutionResponse
}

func (d *described) DescribeWorkflowExecution(_ context.Context, id, _ string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	if d.err != nil {
		return nil, d.err
	}
	if r, ok := d.pending[id]; ok {
		return r, nil
	}
	return nil, serviceerror.NewNotFound(id)
}

// failing is an activity under way whose latest failure has this message; empty: none failed.
func failing(id, name string, attempt int32, message string) *workflowpb.PendingActivityInfo {
	a := &workflowpb.PendingActivityInfo{ActivityId: id, ActivityType: &commonpb.ActivityType{Name: name}, Attempt: attempt}
	if message != "" {
		a.LastFailure = &failurepb.Failure{Message: message}
	}
	return a
}

func of(activities ...*workflowpb.PendingActivityInfo) *workflowservice.DescribeWorkflowExecutionResponse {
	return &workflowservice.DescribeWorkflowExecutionResponse{PendingActivities: activities}
}

// watched is a watch of run "r" and what it told.
type watched struct {
	*watch
	temporal *described
	services *services
	now      time.Time
	told     []string
}

func newWatched() *watched {
	d := &described{pending: map[string]*workflowservice.DescribeWorkflowExecutionResponse{"r": of()}}
	w := &watched{temporal: d, now: time.Unix(0, 0)}
	w.services = &services{temporal: d, ui: "http://ui", cfg: config.Config{
		StateDir: "/state", Temporal: config.Temporal{Address: "temporal:7233"}, Store: config.Store{Endpoint: "store:9000"},
	}}
	w.watch = newWatch("r", func() time.Time { return w.now })
	return w
}

func (w *watched) see(t *testing.T, activities ...*workflowpb.PendingActivityInfo) error {
	t.Helper()
	w.temporal.pending["r"] = of(activities...)
	return w.look(t.Context(), w.services, func(text string) { w.told = append(w.told, text) })
}

func TestAFailingActivityIsToldOncePerCause(t *testing.T) {
	w := newWatched()
	away := func(port int) string { return fmt.Sprintf("put a/%d: %v (read :%d)", port, s3.ErrUnreachable, port) }
	require.NoError(t, w.see(t, failing("1", "Rollout", 1, "")))
	require.Empty(t, w.told)
	require.NoError(t, w.see(t, failing("1", "Rollout", 3, away(1)), failing("2", "Rollout", 2, away(2))))
	require.NoError(t, w.see(t, failing("1", "Rollout", 4, away(3))))
	require.Equal(t, []string{"Rollout failed at attempt 2 and is tried again: " + away(1) +
		". The run goes on by itself when the cause is gone."}, w.told)
	require.NoError(t, w.see(t, failing("3", "Update", 2, "out of memory at 17")))
	require.NoError(t, w.see(t, failing("3", "Update", 3, "out of memory at 18")))
	require.Len(t, w.told, 2)
}

func TestAFailureInTheEvaluationIsSeen(t *testing.T) {
	w := newWatched()
	child := workflows.EvaluateWorkflowID("r", 60)
	w.temporal.pending[child] = of(failing("1", "Rollout", 2, "no such device"))
	w.temporal.pending["r"] = of()
	w.temporal.pending["r"].PendingChildren = []*workflowpb.PendingChildExecutionInfo{
		{WorkflowId: child, WorkflowTypeName: workflows.EvaluateName}, {WorkflowId: "starting", WorkflowTypeName: workflows.EvaluateName},
	}
	require.NoError(t, w.look(t.Context(), w.services, func(text string) { w.told = append(w.told, text) }))
	require.Len(t, w.told, 1)
	require.Contains(t, w.told[0], "no such device")
}

func TestAFullDiskEndsTheFollowingOnceItIsCertain(t *testing.T) {
	full := "put: " + s3.ErrFull.Error() + " (QuotaExceeded)"
	w := newWatched()
	require.NoError(t, w.see(t, failing("1", "Checkpoint", 5, full)), "an old failure: there may be space by now")
	require.Len(t, w.told, 1)
	err := w.see(t, failing("1", "Checkpoint", 6, full))
	require.Equal(t, exitFailed, exitCode(err))
	require.ErrorContains(t, err, "run r cannot go on, the disk that holds /state is full: Checkpoint failed at attempt 5")
	require.ErrorContains(t, err, "nothing is lost: free some space and give the same command again")

	w.services.ui = ""
	require.ErrorContains(t, w.see(t, failing("1", "Checkpoint", 7, full)), "the object store at store:9000 is full")
	require.ErrorContains(t, w.see(t, failing("1", "Checkpoint", 8, "write /x: no space left on device")), "a disk of its worker is full")
	w.temporal.err = errors.New("insert: database or disk is full")
	require.ErrorContains(t, w.see(t), "the disk of Temporal at temporal:7233 is full")
}

func TestTemporalMayBeAwayForAMinute(t *testing.T) {
	w := newWatched()
	look := func(after time.Duration, err error) error {
		w.now = w.now.Add(after)
		w.temporal.err = err
		return w.see(t)
	}
	gone := serviceerror.NewUnavailable("gone")
	require.NoError(t, look(0, gone))
	require.NoError(t, look(50*time.Second, gone))
	require.NoError(t, look(time.Second, nil))
	require.NoError(t, look(time.Minute, gone), "it was there meanwhile")
	err := look(61*time.Second, context.DeadlineExceeded)
	require.Equal(t, exitUnreachable, exitCode(err))
	require.ErrorContains(t, err, "Temporal at temporal:7233 has not answered")
	require.ErrorContains(t, err, "nothing is lost: once it is back, run r goes on")
}

func TestWhatARunCannotDoIsSaid(t *testing.T) {
	require.NoError(t, maySteer("r", workflows.TrainName, workflows.UpdatePause))
	require.NoError(t, maySteer("r", workflows.FinetuneName, workflows.UpdateStop))
	err := maySteer("r", workflows.FinetuneName, workflows.UpdatePause)
	require.Equal(t, exitWrongInput, exitCode(err))
	require.ErrorContains(t, err, "a fine-tuning, which can be stopped and go on, not paused")
	require.Error(t, maySteer("r", workflows.EvaluateName, workflows.UpdateStop))
}

func TestShownAlwaysHasTheLatestCheckpoint(t *testing.T) {
	keys := func(s shown) map[string]any {
		b, err := json.Marshal(s)
		require.NoError(t, err)
		out := map[string]any{}
		require.NoError(t, json.Unmarshal(b, &out))
		return out
	}
	out := keys(shown{})
	for _, key := range []string{"run", "phase", "step", "reward_mean", "latest_checkpoint"} {
		require.Contains(t, out, key)
	}
	require.Nil(t, out["latest_checkpoint"])
	at := activities.CheckpointRef{Step: 10}
	require.InDelta(t, 10, keys(shown{Status: workflows.Status{LatestCheckpoint: at}, Checkpoint: &at})["latest_checkpoint"].(map[string]any)["step"], 0)
}

func TestTheQuickstartSaysHowLongItTakes(t *testing.T) {
	require.Equal(t, "This takes about 6 minutes on two cores.\n", duration(engine.XLA, false))
	require.Equal(t, "This takes about 2 minutes on two cores.\n", duration(engine.XLA, true))
	require.Contains(t, duration(engine.PureGo, false), "--small takes about")
	require.NotContains(t, duration(engine.PureGo, true), "--small")
	require.Empty(t, duration("another", false))
	require.Zero(t, experience{minutes: 70}.expected(), "only a measurement stands in for an estimate")
}
