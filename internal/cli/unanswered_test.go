package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/serviceerror"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"multiattempt/config"
	"multiattempt/workflows"
)

// mute is a Temporal whose workflow r, of queue nobody, no worker answers for.
type mute struct {
	client.Client
	err    error // of queries
	result error // of the workflow
}

func (m mute) QueryWorkflow(context.Context, string, string, string, ...any) (converter.EncodedValue, error) {
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(workflows.Status{Run: "r"})
	return client.NewValue(payloads), errors.Join(m.err, err)
}

func (mute) DescribeWorkflowExecution(context.Context, string, string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	return &workflowservice.DescribeWorkflowExecutionResponse{
		ExecutionConfig:       &workflowpb.WorkflowExecutionConfig{TaskQueue: &taskqueuepb.TaskQueue{Name: "nobody"}},
		WorkflowExecutionInfo: &workflowpb.WorkflowExecutionInfo{Type: &commonpb.WorkflowType{Name: workflows.TrainName}},
	}, nil
}

func (m mute) GetWorkflow(context.Context, string, string) client.WorkflowRun {
	return over{err: m.result}
}

type over struct {
	client.WorkflowRun
	err error
}

func (o over) Get(context.Context, any) error { return o.err }

func (mute) UpdateWorkflow(ctx context.Context, _ client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// Whoever gives up first, the server or its client, the answer names the queue that nobody polls, and the result of a run that
// has ended stands in.
func TestARunThatNoWorkerAnswersFor(t *testing.T) {
	for _, late := range []error{serviceerror.NewDeadlineExceeded("context deadline exceeded"), context.DeadlineExceeded,
		serviceerror.NewFailedPrecondition("no poller seen for task queue recently, worker may be down")} {
		s := &services{temporal: mute{err: late}, cfg: config.Config{Temporal: config.Temporal{Queue: "multiattempt"}}}
		var st workflows.Status
		err := s.status(t.Context(), "r", &st)
		require.ErrorIs(t, err, errNoAnswer)
		require.EqualError(t, err, "no worker answers for this run: r, of task queue nobody; is one running? `multiattempt worker --queue nobody` starts one")

		s.cfg.Temporal.Queue = "nobody"
		require.ErrorContains(t, s.status(t.Context(), "r", &st), "is one running? `multiattempt up` or `multiattempt worker` starts one")
		_, err = s.trainStatus(t.Context(), "r", false)
		require.ErrorIs(t, err, errNoAnswer)
		_, err = s.trainStatus(t.Context(), "r", true)
		require.NoError(t, err)
		_, err = s.experimentStatus(t.Context(), "r")
		require.NoError(t, err)
	}
	s := &services{temporal: mute{err: errors.New("query failed")}}
	require.EqualError(t, s.status(t.Context(), "r", nil), "query failed")
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	s.temporal = mute{err: context.Canceled}
	require.ErrorIs(t, s.status(interrupted, "r", nil), context.Canceled)
}

// A request may be long in coming, while an iteration is under way; that nobody is there to answer is said.
func TestARequestThatNoWorkerAnswers(t *testing.T) {
	for err, want := range map[error]string{
		nil:                      "", // an iteration is under way
		context.DeadlineExceeded: "Waiting: no worker answers for this run: r, of task queue nobody; is one running? `multiattempt worker --queue nobody` starts one. Ctrl-C ends the wait.\n",
	} {
		synctest.Test(t, func(t *testing.T) {
			var notes bytes.Buffer
			a := &app{stdout: io.Discard, stderr: &notes}
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			refused := a.steer(ctx, &services{temporal: mute{err: err}}, "r", workflows.UpdatePause)
			require.ErrorIs(t, refused, context.DeadlineExceeded)
			require.Equal(t, want, notes.String())
		})
	}
}

// A worker that is told to end while it is still connecting has done what it was asked.
func TestClosingBeforeTheWorkerHasStarted(t *testing.T) {
	stopped := errors.New("the services ended")
	for worker, want := range map[error]error{nil: stopped, context.Canceled: stopped, errUsage: errUsage} {
		ctx, cancel := context.WithCancel(t.Context())
		e := &embedded{stack: &Stack{Stop: func() error { return stopped }}, stop: cancel, worker: make(chan error, 1)}
		e.worker <- worker
		err := e.Close()
		require.ErrorIs(t, err, want)
		require.ErrorIs(t, err, stopped)
		require.NotErrorIs(t, err, context.Canceled)
		require.Error(t, ctx.Err())
	}
}
