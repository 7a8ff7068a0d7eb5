package activities_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"multiattempt/activities"
	"multiattempt/activities/activitytest"
	"multiattempt/internal/blob"
	"multiattempt/internal/blob/blobtest"
	"multiattempt/internal/checkpoint"
)

// persist repeats an activity as the workflows do: until it succeeds, unless it says that repeating does not help.
func persist[Out any](t *testing.T, h host, activity, in any) Out {
	t.Helper()
	for {
		out, err := do[Out](t, h, activity, in)
		if err == nil {
			return out
		}
		failure, ok := errors.AsType[*temporal.ApplicationError](err)
		require.True(t, ok && !failure.NonRetryable(), "%v", err)
	}
}

// TestAFaultyStoreChangesNothing goes through iterations and checkpoints over a store that fails in every way, fifteen times out
// of a hundred: what lies in it at the end is what lies in one that never fails.
func TestAFaultyStoreChangesNothing(t *testing.T) {
	presets := activitytest.Presets(t)
	life := func(store blob.Store) {
		h := newHost(t, store, presets, "h")
		plan := persist[activities.ResolveSpecOutput](t, h, h.Data.ResolveSpec, activities.ResolveSpecInput{Run: "r", Spec: []byte(`{"preset":"small"}`)})
		at := activities.Position{Run: "r", Spec: plan.Spec, Base: plan.Base, Policy: plan.Base}
		for range 4 {
			batch := persist[activities.SampleBatchOutput](t, h, h.Data.SampleBatch, activities.SampleBatchInput{Run: "r", Spec: at.Spec, Step: at.Step()})
			var episodes []blob.Ref
			for i := range plan.Plan.Shards {
				out := persist[activities.RolloutOutput](t, h, h.Rollouts.Rollout, activities.RolloutInput{
					Run: "r", Spec: at.Spec, Policy: at.Policy, Problems: batch.Problems, Step: at.Step(), Shard: i, Shards: plan.Plan.Shards,
				})
				episodes = append(episodes, out.Episodes)
			}
			x := persist[activities.RewardOutput](t, h, h.Data.Reward, activities.RewardInput{Run: "r", Spec: at.Spec, Step: at.Step(), Episodes: episodes}).Experience
			out := persist[activities.UpdateOutput](t, h, h.Learner.Update, activities.UpdateInput{At: at, Experience: x})
			at = at.After(activities.StepDone{Experience: x, Policy: out.Policy.Digest}, out.Policy)
			for h.Data.Commit(t.Context(), activities.CommitInput{Run: "r", Step: at.Step(), Record: out.Record}) != nil {
			}
			if at.Step()%2 == 0 {
				kept := persist[activities.CheckpointOutput](t, h, h.Learner.Checkpoint, activities.CheckpointInput{At: at})
				ref, err := h.Data.CommitCheckpoint(t.Context(), commitOf(at, kept))
				for err != nil {
					ref, err = h.Data.CommitCheckpoint(t.Context(), commitOf(at, kept))
				}
				at = at.At(ref, kept.Policy)
			}
		}
	}
	calm := blob.NewMemory()
	life(calm)
	want := keys(t, calm, "runs/")

	rough := blob.NewMemory()
	faulty := blobtest.NewFaulty(rough, 3, 0.15)
	faulty.Patience = time.Millisecond
	life(faulty)
	require.Equal(t, want, keys(t, rough, "runs/"))
	for _, key := range want {
		if strings.HasPrefix(key, activities.TimingPrefix("r")) {
			continue // measured
		}
		require.Equal(t, object(t, calm, key), object(t, rough, key), key)
	}
	refs, err := checkpoint.List(t.Context(), rough, "r")
	require.NoError(t, err)
	for _, ref := range refs {
		require.NoError(t, checkpoint.Verify(t.Context(), rough, ref))
	}
	met := faulty.Met()
	for _, call := range []string{"put", "get", "stat", "list", "delete"} {
		for _, kind := range blobtest.Faults[call] {
			require.Positive(t, met[call+" "+kind], "%s %s: %v", call, kind, met)
		}
	}
}

// TestBitsThatStayWrongEndTheRun: what repeating does not help against is said at once, with key and digests.
func TestBitsThatStayWrongEndTheRun(t *testing.T) {
	store, presets := blob.NewMemory(), activitytest.Presets(t)
	h := newHost(t, store, presets, "h")
	plan, at := begin(t, h, `{"preset":"small"}`)
	at = advance(t, h, at, plan.Plan.Shards, 1)
	kept := keep(t, h, at)
	at = at.At(kept.Checkpoint, kept.Policy)
	x := experienced(t, h, at, plan.Plan.Shards)
	parts := keys(t, store, "runs/r/checkpoints/000001/parts-")
	state := parts[slices.IndexFunc(parts, func(k string) bool { return strings.Contains(k, "/state/") })]
	wrong := strings.Replace(object(t, store, state), "0", "1", 1)
	_, err := store.Put(t.Context(), state, strings.NewReader(wrong), int64(len(wrong)), blob.PutOptions{})
	require.NoError(t, err)
	before := keys(t, store, "")

	next := newHost(t, store, presets, "next")
	_, err = do[activities.UpdateOutput](t, next, next.Learner.Update, activities.UpdateInput{At: at, Experience: x})
	requireFailure(t, err, activities.FailureCorrupt)
	require.ErrorContains(t, err, state)
	require.ErrorContains(t, err, "go back to an earlier checkpoint")
	require.Equal(t, before, keys(t, store, ""), "nothing was deleted or overwritten")
}
