package workflows_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/sdk/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"multiattempt/activities"
	"multiattempt/activities/activitytest"
	"multiattempt/internal/blob"
	"multiattempt/internal/checkpoint"
	"multiattempt/workflows"
)

// world is a store and a worker; every run of a workflow gets an environment of its own.
type world struct {
	suite  testsuite.WorkflowTestSuite
	store  blob.Store
	worker activitytest.Worker
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{store: blob.NewMemory()}
	w.suite.SetLogger(slog.New(slog.DiscardHandler))
	w.worker = activitytest.NewWorker(t, w.store, activitytest.Presets(t), "")
	return w
}

// env returns an environment with every workflow and activity registered, whose workflow has the given id.
func (w *world) env(t *testing.T, id string) *testsuite.TestWorkflowEnvironment {
	t.Helper()
	env := w.suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(5 * time.Minute) // a busy machine is slow, not wrong
	env.SetWorkerOptions(sdkworker.Options{DeadlockDetectionTimeout: time.Minute})
	env.SetStartWorkflowOptions(startOptions(id))
	workflows.Register(env)
	w.worker.Register(env)
	return env
}

// train runs Train to its end, through as many continuations as it takes, and returns how many parts there were.
func (w *world) train(t *testing.T, id string, in workflows.TrainInput, prepare func(part int, env *testsuite.TestWorkflowEnvironment)) (out workflows.TrainOutput, parts int) {
	t.Helper()
	for {
		env := w.env(t, id)
		if prepare != nil {
			prepare(parts, env)
		}
		env.ExecuteWorkflow(workflows.TrainName, in)
		require.True(t, env.IsWorkflowCompleted())
		parts++
		again, isNew := errors.AsType[*workflow.ContinueAsNewError](env.GetWorkflowError())
		if !isNew {
			require.NoError(t, env.GetWorkflowError())
			require.NoError(t, env.GetWorkflowResult(&out))
			return out, parts
		}
		in = workflows.TrainInput{}
		require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(again.Input, &in))
	}
}

func settings(t *testing.T, fields string) workflows.TrainInput {
	t.Helper()
	var in workflows.TrainInput
	require.NoError(t, json.Unmarshal([]byte(fields), &in))
	return in
}

// final returns the digest of the run's checkpoint of a step.
func (w *world) final(t *testing.T, run string, step int) blob.Digest {
	t.Helper()
	ref, err := checkpoint.Find(t.Context(), w.store, run, step)
	require.NoError(t, err)
	return ref.SHA256
}

func TestTrainGoesThroughAllIterations(t *testing.T) {
	w := newWorld(t)
	out, parts := w.train(t, "r", settings(t, `{"preset":"small","evaluation":{"final_attempts":[1,2]}}`), nil)
	require.Equal(t, 1, parts)
	require.Equal(t, workflows.PhaseCompleted, out.Phase)
	require.Equal(t, 6, out.Step)
	require.Equal(t, 6, out.LatestCheckpoint.Step)
	require.Len(t, out.Evaluation.Scores, 2)
	require.Equal(t, 6, out.Evaluation.Scores[1].Problems)
	require.NotNil(t, out.Best)
	require.Equal(t, out.LatestCheckpoint, out.Best.Checkpoint)

	best, err := checkpoint.Resolve(t.Context(), w.store, "r", checkpoint.Best)
	require.NoError(t, err)
	require.Equal(t, out.Best.Score, best.Score)
	records, err := activities.Records(t.Context(), w.store, "r")
	require.NoError(t, err)
	require.Len(t, records, 6)
	require.Equal(t, 6, records[5].Step)
	require.Equal(t, out.RewardMean, records[5].Reward.RewardMean)
}

func TestTrainContinuesAsNewWhereItWas(t *testing.T) {
	whole := newWorld(t)
	want, _ := whole.train(t, "r", settings(t, `{"preset":"small"}`), nil)

	w := newWorld(t)
	var begun []workflows.Status
	got, parts := w.train(t, "r", settings(t, `{"preset":"small","continue_after":2}`), func(_ int, env *testsuite.TestWorkflowEnvironment) {
		during(env, 1, func() { begun = append(begun, status(t, env)) })
	})
	require.Equal(t, 3, parts)
	require.Equal(t, 2, begun[1].Step, "part 2 starts where part 1 ended")
	require.Equal(t, 4, begun[2].Step)
	require.Equal(t, want.Policy.Digest, got.Policy.Digest)
	require.Equal(t, 1, w.worker.Engine.Learners(), "the learner keeps its state")
}

func TestTrainWarnsOfItsDataAndRefusesThatTheyChange(t *testing.T) {
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "all.jsonl")
	write := func(last int) {
		var b bytes.Buffer
		for i := range last {
			fmt.Fprintf(&b, "{\"question\":\"%d+1\",\"answer\":\"%d\"}\n", i, i+1)
		}
		require.NoError(t, os.WriteFile(file, b.Bytes(), 0o644))
	}
	write(20)
	in := settings(t, fmt.Sprintf(`{"preset":"small","data":{"train":%q},"evaluation":{"sets":[%q]}}`, file, file))
	env := w.env(t, "r")
	during(env, 2, func() {
		st := status(t, env)
		require.False(t, st.Data.IsZero())
		require.Len(t, st.Warnings, 1)
		require.Contains(t, st.Warnings[0], "EVALUATION ON THE TRAINING SET")
		var shown sdk.WorkflowMetadata
		value, err := env.QueryWorkflow("__temporal_workflow_metadata")
		require.NoError(t, err)
		require.NoError(t, value.Get(&shown))
		require.Contains(t, shown.CurrentDetails, st.Warnings[0])
		write(21)
	})
	env.ExecuteWorkflow(workflows.TrainName, in)
	requireFailure(t, env.GetWorkflowError(), activities.FailureBadData)
	require.ErrorContains(t, env.GetWorkflowError(), file)
}

func TestTrainRefusesBadSettingsAtOnce(t *testing.T) {
	w := newWorld(t)
	env := w.env(t, "r")
	env.ExecuteWorkflow(workflows.TrainName, settings(t, `{"preset":"small","iterations":0,"attempts":{"min":9},"typo":1}`))
	requireFailure(t, env.GetWorkflowError(), activities.FailureInvalidSpec)
	require.ErrorContains(t, env.GetWorkflowError(), "typo")
}

func TestTrainRefusesANameThatIsNoKey(t *testing.T) {
	w := newWorld(t)
	env := w.env(t, "a//b")
	env.ExecuteWorkflow(workflows.TrainName, settings(t, `{"preset":"small"}`))
	requireFailure(t, env.GetWorkflowError(), activities.FailureInvalidSpec)
}

func TestTrainGoesOnFromItsCheckpoint(t *testing.T) {
	w := newWorld(t)
	first, _ := w.train(t, "r", settings(t, `{"preset":"small"}`), func(_ int, env *testsuite.TestWorkflowEnvironment) {
		during(env, 4, func() { send(t, env, workflows.UpdateStop) })
	})
	require.Equal(t, workflows.PhaseStopped, first.Phase)
	require.Equal(t, 4, first.LatestCheckpoint.Step)

	second, _ := w.train(t, "r", settings(t, `{"preset":"small"}`), nil)
	require.Equal(t, workflows.PhaseCompleted, second.Phase)

	whole := newWorld(t)
	want, _ := whole.train(t, "r", settings(t, `{"preset":"small"}`), nil)
	require.Equal(t, want.Policy.Digest, second.Policy.Digest)
	require.Equal(t, whole.final(t, "r", 6), w.final(t, "r", 6), "stopped or not, the same bytes")

	env := w.env(t, "r")
	env.ExecuteWorkflow(workflows.TrainName, settings(t, `{"preset":"small","seed":2}`))
	requireFailure(t, env.GetWorkflowError(), activities.FailureRunExists)
}

func TestTrainEvaluatesOnTheWay(t *testing.T) {
	w := newWorld(t)
	out, _ := w.train(t, "r", settings(t, `{"preset":"small","evaluation":{"every":2,"attempts":[1],"final_attempts":[1,2]}}`), nil)
	require.Equal(t, 6, out.Evaluation.Step)
	require.Contains(t, []int{2, 4, 6}, out.Best.Checkpoint.Step, "the best is a checkpoint of an evaluated step")
	require.Equal(t, "accuracy", out.Best.Metric)
	require.GreaterOrEqual(t, out.Best.Score, *out.Evaluation.Metric)
}

func TestTrainFailsForGoodOnALossThatIsNotFinite(t *testing.T) {
	w := newWorld(t)
	env := w.env(t, "r")
	env.ExecuteWorkflow(workflows.TrainName, settings(t, `{"preset":"small","reward":{"correct":1e300,"wrong":-1e300}}`))
	requireFailure(t, env.GetWorkflowError(), activities.FailureNotFinite)
}

func requireFailure(t *testing.T, err error, kind string) {
	t.Helper()
	failure, ok := errors.AsType[*temporal.ApplicationError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, kind, failure.Type())
	require.True(t, failure.NonRetryable())
}
