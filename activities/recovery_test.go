package activities_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"multiattempt/activities"
	"multiattempt/activities/activitytest"
	"multiattempt/internal/blob"
	"multiattempt/internal/checkpoint"
	"multiattempt/internal/experience"
	"multiattempt/internal/update"
)

// host is one worker process in front of a store that others may share.
type host struct {
	activitytest.Worker
	env *testsuite.TestActivityEnvironment
}

func newHost(t *testing.T, store blob.Store, presets activities.Presets, own string) host {
	t.Helper()
	w := activitytest.NewWorker(t, store, presets, own)
	return host{Worker: w, env: newHostEnv(w)}
}

func newHostEnv(w activitytest.Worker) *testsuite.TestActivityEnvironment {
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	w.Register(env)
	return env
}

// do runs one activity.
func do[Out any](t *testing.T, h host, activity, in any) (Out, error) {
	t.Helper()
	var out Out
	value, err := h.env.ExecuteActivity(activity, in)
	if err == nil && value.HasValue() {
		require.NoError(t, value.Get(&out))
	}
	return out, err
}

func must[Out any](t *testing.T, h host, activity, in any) Out {
	t.Helper()
	out, err := do[Out](t, h, activity, in)
	require.NoError(t, err)
	return out
}

// begin resolves the settings of a run called r and returns its first position.
func begin(t *testing.T, h host, fields string) (activities.ResolveSpecOutput, activities.Position) {
	t.Helper()
	out := must[activities.ResolveSpecOutput](t, h, h.Data.ResolveSpec, activities.ResolveSpecInput{Run: "r", Spec: json.RawMessage(fields)})
	return out, activities.Position{Run: "r", Spec: out.Spec, Base: out.Base, Policy: out.Base}
}

// experienced rolls out and rewards the iteration after a position.
func experienced(t *testing.T, h host, at activities.Position, shards int) blob.Ref {
	t.Helper()
	batch := must[activities.SampleBatchOutput](t, h, h.Data.SampleBatch, activities.SampleBatchInput{Run: "r", Spec: at.Spec, Step: at.Step()})
	var episodes []blob.Ref
	for i := range shards {
		out := must[activities.RolloutOutput](t, h, h.Rollouts.Rollout, activities.RolloutInput{
			Run: "r", Spec: at.Spec, Policy: at.Policy, Problems: batch.Problems, Step: at.Step(), Shard: i, Shards: shards,
		})
		episodes = append(episodes, out.Episodes)
	}
	return must[activities.RewardOutput](t, h, h.Data.Reward, activities.RewardInput{Run: "r", Spec: at.Spec, Step: at.Step(), Episodes: episodes}).Experience
}

// advance makes so many iterations on one host.
func advance(t *testing.T, h host, at activities.Position, shards, steps int) activities.Position {
	t.Helper()
	for range steps {
		x := experienced(t, h, at, shards)
		out := must[activities.UpdateOutput](t, h, h.Learner.Update, activities.UpdateInput{At: at, Experience: x})
		at = at.After(activities.StepDone{Experience: x, Policy: out.Policy.Digest}, out.Policy)
		require.NoError(t, h.Data.Commit(t.Context(), activities.CommitInput{Run: at.Run, Step: at.Step(), Record: out.Record}))
	}
	return at
}

// kept is a checkpoint as a workflow has it on record.
type kept struct {
	activities.CheckpointOutput
	Checkpoint activities.CheckpointRef
}

// keep makes a checkpoint of a position.
func keep(t *testing.T, h host, at activities.Position) kept {
	t.Helper()
	out := must[activities.CheckpointOutput](t, h, h.Learner.Checkpoint, activities.CheckpointInput{At: at})
	ref, err := h.Data.CommitCheckpoint(t.Context(), commitOf(at, out))
	require.NoError(t, err)
	return kept{out, ref}
}

func commitOf(at activities.Position, out activities.CheckpointOutput) activities.CommitCheckpointInput {
	return activities.CommitCheckpointInput{
		Run: at.Run, Step: at.Step(), Candidate: out.Candidate, Retain: checkpoint.Retention{Keep: 3}, Before: at.Checkpoint.Step,
	}
}

func TestALearnerThatComesBackRepeatsTheStepsSinceTheCheckpoint(t *testing.T) {
	store, presets := blob.NewMemory(), activitytest.Presets(t)
	first := newHost(t, store, presets, "first")
	plan, at := begin(t, first, `{"preset":"small"}`)
	at = advance(t, first, at, plan.Plan.Shards, 2)
	kept := keep(t, first, at)
	require.Equal(t, "first", kept.Own)
	at = advance(t, first, at.At(kept.Checkpoint, kept.Policy), plan.Plan.Shards, 2)
	x := experienced(t, first, at, plan.Plan.Shards)
	in := activities.UpdateInput{At: at, Experience: x}
	want := must[activities.UpdateOutput](t, first, first.Learner.Update, in)
	require.Equal(t, 1, first.Engine.Learners())

	second := newHost(t, store, presets, "second")
	got := must[activities.UpdateOutput](t, second, second.Learner.Update, in)
	require.Equal(t, want.Policy, got.Policy)
	require.Equal(t, want.Record, got.Record)
	require.Equal(t, "second", got.Own)

	after := at.After(activities.StepDone{Experience: x, Policy: want.Policy.Digest}, want.Policy)
	third := newHost(t, store, presets, "third")
	fromReplay := keep(t, third, after)
	resident := keep(t, first, after)
	require.Equal(t, fromReplay.Checkpoint, resident.Checkpoint, "critic and moments too, byte for byte")
}

func TestALearnerWithAnotherStateThanWantedIsRebuilt(t *testing.T) {
	store, presets := blob.NewMemory(), activitytest.Presets(t)
	h := newHost(t, store, presets, "h")
	plan, at := begin(t, h, `{"preset":"small"}`)
	x := experienced(t, h, at, plan.Plan.Shards)
	in := activities.UpdateInput{At: at, Experience: x}
	once := must[activities.UpdateOutput](t, h, h.Learner.Update, in)
	again := must[activities.UpdateOutput](t, h, h.Learner.Update, in)
	require.Equal(t, once, again, "an update whose answer was lost")
	require.Equal(t, 2, h.Engine.Learners())
}

func TestReplayThatGivesOtherWeightsIsFoundOut(t *testing.T) {
	store, presets := blob.NewMemory(), activitytest.Presets(t)
	h := newHost(t, store, presets, "h")
	plan, at := begin(t, h, `{"preset":"small","critic_warmup":0}`)
	at = advance(t, h, at, plan.Plan.Shards, 1)
	x := experienced(t, h, at, plan.Plan.Shards)
	at.Since[0].Rates = &update.Rates{Policy: 0.5, Critic: 0.5}

	other := newHost(t, store, presets, "other")
	_, err := do[activities.UpdateOutput](t, other, other.Learner.Update, activities.UpdateInput{At: at, Experience: x})
	requireFailure(t, err, activities.FailureReplayMismatch)
}

func TestCheckpointDeletesTheStepWeightsItMakesSuperfluous(t *testing.T) {
	store, presets := blob.NewMemory(), activitytest.Presets(t)
	h := newHost(t, store, presets, "h")
	plan, at := begin(t, h, `{"preset":"small"}`)
	at = advance(t, h, at, plan.Plan.Shards, 3)
	require.NotEmpty(t, keys(t, store, "runs/r/steps/000003/policy/"))
	kept := keep(t, h, at)
	again := keep(t, h, at)
	require.Equal(t, kept, again, "a checkpoint whose answer was lost")
	for _, step := range []string{"000001", "000002"} {
		require.Empty(t, keys(t, store, "runs/r/steps/"+step+"/policy/"))
	}
	require.NotEmpty(t, keys(t, store, "runs/r/steps/000003/policy/"), "the next iteration is being rolled out with them")
	require.Equal(t, at.Policy.Digest, kept.Policy.Digest)
	latest, err := checkpoint.Resolve(t.Context(), store, "r", checkpoint.Latest)
	require.NoError(t, err)
	require.Equal(t, kept.Checkpoint, latest.Checkpoint)

	at = advance(t, newHost(t, store, presets, "next"), at.At(kept.Checkpoint, kept.Policy), plan.Plan.Shards, 1)
	keep(t, h, at)
	require.Empty(t, keys(t, store, "runs/r/steps/000003/policy/"), "the checkpoint after it deletes them")
	require.NoError(t, h.Data.Unpublish(t.Context(), activities.UnpublishInput{Run: "r", Step: 4}))
	require.Empty(t, keys(t, store, "runs/r/steps/000004/policy/"), "the run is over")
}

// TestWhatAGivenUpLearnerStoresIsNoCheckpoint: it computed another critic and the same policy, and is the first to store it.
func TestWhatAGivenUpLearnerStoresIsNoCheckpoint(t *testing.T) {
	store, presets := blob.NewMemory(), activitytest.Presets(t)
	h := newHost(t, store, presets, "h")
	plan, at := begin(t, h, `{"preset":"small"}`)
	at = advance(t, h, at, plan.Plan.Shards, 2)

	gone := newHost(t, store, presets, "gone")
	gone.Engine.OnLearner = func(l update.Learner) update.Learner { return otherCritic{l} }
	other := must[activities.CheckpointOutput](t, gone, gone.Learner.Checkpoint, activities.CheckpointInput{At: at})
	for _, pointer := range []string{"latest.json", "checkpoints/000002/manifest.json"} {
		require.Empty(t, keys(t, store, "runs/r/"+pointer))
	}
	weights := keys(t, store, "runs/r/steps/000001/policy/")
	require.NotEmpty(t, weights, "a learner deletes nothing")

	kept := keep(t, h, at)
	require.NotEqual(t, other.Candidate.SHA256, kept.Checkpoint.SHA256)
	require.Equal(t, other.Policy.Digest, kept.Policy.Digest)
	again := must[activities.CheckpointOutput](t, gone, gone.Learner.Checkpoint, activities.CheckpointInput{At: at})
	require.Equal(t, other, again, "it wakes up and goes on")
	latest, err := checkpoint.Resolve(t.Context(), store, "r", checkpoint.Latest)
	require.NoError(t, err)
	require.Equal(t, kept.Checkpoint, latest.Checkpoint)
	require.NoError(t, checkpoint.Verify(t.Context(), store, kept.Checkpoint))

	_, err = h.Data.CommitCheckpoint(t.Context(), commitOf(at, other))
	requireFailure(t, err, activities.FailureReplayMismatch)
}

// otherCritic is a learner whose state is another than that of its fellows.
type otherCritic struct{ update.Learner }

func (o otherCritic) WriteState(ctx context.Context, dir string) error {
	if err := o.Learner.WriteState(ctx, dir); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "more"), []byte("x"), 0o600)
}

func TestARepeatedShardGivesTheSameReference(t *testing.T) {
	store, presets := blob.NewMemory(), activitytest.Presets(t)
	one, two := newHost(t, store, presets, "1"), newHost(t, store, presets, "2")
	_, at := begin(t, one, `{"preset":"small"}`)
	batch := must[activities.SampleBatchOutput](t, one, one.Data.SampleBatch, activities.SampleBatchInput{Run: "r", Spec: at.Spec})
	in := activities.RolloutInput{Run: "r", Spec: at.Spec, Policy: at.Policy, Problems: batch.Problems, Shard: 1, Shards: 2}
	rollout := func(h host) activities.RolloutOutput {
		out := must[activities.RolloutOutput](t, h, h.Rollouts.Rollout, in)
		require.Greater(t, out.Seconds, out.Sampling)
		out.Seconds, out.Sampling, out.Grading = 0, 0, 0
		return out
	}
	first := rollout(one)
	require.Equal(t, 8, first.Count)
	require.Equal(t, first, rollout(one))
	require.Equal(t, first, rollout(two), "whichever worker")
	require.Equal(t, 1, one.Engine.Samplers(), "the policy is loaded once")

	in.Shard = 2
	_, err := do[activities.RolloutOutput](t, one, one.Rollouts.Rollout, in)
	requireFailure(t, err, activities.FailureInconsistent)
}

// failing is a learner whose steps fail from the nth on.
type failing struct {
	update.Learner
	steps, from int
}

var errDevice = errors.New("device is gone")

func (f *failing) Step(ctx context.Context, rows []experience.Row, rates update.Rates) (update.StepStats, error) {
	if f.steps++; f.steps >= f.from {
		return update.StepStats{}, errDevice
	}
	return f.Learner.Step(ctx, rows, rates)
}

func TestAFailedUpdateLeavesNoSpoiltLearnerBehind(t *testing.T) {
	store, presets := blob.NewMemory(), activitytest.Presets(t)
	calm := newHost(t, store, presets, "calm")
	plan, at := begin(t, calm, `{"preset":"small"}`)
	x := experienced(t, calm, at, plan.Plan.Shards)
	in := activities.UpdateInput{At: at, Experience: x}
	want := must[activities.UpdateOutput](t, calm, calm.Learner.Update, in)

	h := newHost(t, store, presets, "h")
	h.Engine.OnLearner = func(l update.Learner) update.Learner { return &failing{Learner: l, from: 2} }
	_, err := do[activities.UpdateOutput](t, h, h.Learner.Update, in)
	require.ErrorContains(t, err, errDevice.Error())
	failure, ok := errors.AsType[*temporal.ApplicationError](err)
	require.True(t, ok)
	require.False(t, failure.NonRetryable(), "a device may come back")

	h.Engine.OnLearner = nil
	require.Equal(t, want.Policy, must[activities.UpdateOutput](t, h, h.Learner.Update, in).Policy)
}

func TestCorruptEpisodesStopTheRun(t *testing.T) {
	store, presets := blob.NewMemory(), activitytest.Presets(t)
	h := newHost(t, store, presets, "h")
	plan, at := begin(t, h, `{"preset":"small"}`)
	x := experienced(t, h, at, plan.Plan.Shards)
	x.SHA256[0] ^= 1
	_, err := do[activities.UpdateOutput](t, h, h.Learner.Update, activities.UpdateInput{At: at, Experience: x})
	requireFailure(t, err, activities.FailureCorrupt)
}

func keys(t *testing.T, s blob.Store, prefix string) (found []string) {
	t.Helper()
	require.NoError(t, s.List(t.Context(), prefix, func(o blob.Info) error {
		found = append(found, o.Key)
		return nil
	}))
	return found
}

func requireFailure(t *testing.T, err error, kind string) {
	t.Helper()
	failure, ok := errors.AsType[*temporal.ApplicationError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, kind, failure.Type(), "%v", err)
	require.True(t, failure.NonRetryable())
}

// requireRetryable requires an error that Temporal repeats the activity for.
func requireRetryable(t *testing.T, err error) {
	t.Helper()
	failure, ok := errors.AsType[*temporal.ApplicationError](err)
	require.True(t, ok, "%v", err)
	require.False(t, failure.NonRetryable(), "%v", err)
}
