package activities_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/activities"
	"multiattempt/activities/activitytest"
	"multiattempt/internal/blob"
	"multiattempt/internal/blob/local"
	"multiattempt/internal/blob/watch"
)

// requireNoRoom requires an error that says where room is missing and goes away by itself.
func requireNoRoom(t *testing.T, err error, where string) {
	t.Helper()
	requireRetryable(t, err)
	require.ErrorContains(t, err, activities.ErrNoRoom.Error())
	require.ErrorContains(t, err, where)
}

func TestACheckpointWaitsForRoomOnTheLocalDisk(t *testing.T) {
	store, presets := blob.NewMemory(), activitytest.Presets(t)
	h := newHost(t, store, presets, "h")
	plan, at := begin(t, h, `{"preset":"small"}`)
	at = advance(t, h, at, plan.Plan.Shards, 1)
	before := keys(t, store, "")
	free := int64(1)
	activities.SetFree(h.Learner, func(string) (int64, string) { return free, "disk" })
	_, err := do[activities.CheckpointOutput](t, h, h.Learner.Checkpoint, activities.CheckpointInput{At: at})
	requireNoRoom(t, err, "cache_dir")
	require.Equal(t, before, keys(t, store, ""))
	require.Empty(t, activities.Copies(h.Learner))

	free = 1 << 30 // somebody made room
	keep(t, h, at)
	require.Empty(t, activities.Copies(h.Learner))
	require.Equal(t, 1, h.Engine.Learners(), "nothing was rebuilt")
}

// uncounted measures nothing.
type uncounted struct{ watch.Meter }

// TestACheckpointWaitsForRoomInAFolderStore: its disk takes the checkpoint, beside the copy when both are one.
func TestACheckpointWaitsForRoomInAFolderStore(t *testing.T) {
	dir := t.TempDir()
	folder, err := local.Open(dir)
	require.NoError(t, err)
	require.Equal(t, dir, blob.DirOf(watch.New(folder, uncounted{}, nil)))
	require.Empty(t, blob.DirOf(blob.NewMemory()))

	presets := activitytest.Presets(t)
	h := newHost(t, folder, presets, "h")
	plan, at := begin(t, h, `{"preset":"small"}`)
	at = advance(t, h, at, plan.Plan.Shards, 1)
	var store, cache int64
	disks := []string{"one", "another"}
	activities.SetFree(h.Learner, func(d string) (int64, string) {
		if strings.HasPrefix(d, dir) {
			return store, disks[0]
		}
		return cache, disks[1]
	})
	attempt := func() error {
		_, err := do[activities.CheckpointOutput](t, h, h.Learner.Checkpoint, activities.CheckpointInput{At: at})
		return err
	}
	cache, store = 1<<30, 1
	requireNoRoom(t, attempt(), "the checkpoint in the object folder "+dir)
	require.Empty(t, keys(t, folder, "runs/r/checkpoints/"))

	store = 1 << 30
	require.NoError(t, attempt())
	var state int64
	require.NoError(t, folder.List(t.Context(), "runs/r/checkpoints/000001/parts-", func(o blob.Info) error {
		state += o.Size
		return nil
	}))
	need := state + state/2
	store, cache = need, need
	require.NoError(t, attempt())
	disks[1] = disks[0]
	requireNoRoom(t, attempt(), "(store.dir)")
	store, cache = 2*need, 2*need
	require.NoError(t, attempt())
}

func TestAFineTuningWaitsForRoom(t *testing.T) {
	h := newHost(t, blob.NewMemory(), activitytest.Presets(t), "h")
	out := must[activities.ResolveFinetuneOutput](t, h, h.Data.ResolveFinetune, activities.ResolveSpecInput{Run: "f", Spec: []byte(`{"preset":"small"}`)})
	free := int64(1)
	activities.SetFree(h.Learner, func(string) (int64, string) { return free, "disk" })
	in := activities.TuneInput{Run: "f", Spec: out.Spec, Base: out.Base, Steps: out.Steps}
	_, err := do[activities.TuneOutput](t, h, h.Learner.Tune, in)
	requireNoRoom(t, err, "cache_dir")
	free = 1 << 30
	must[activities.TuneOutput](t, h, h.Learner.Tune, in)
}
