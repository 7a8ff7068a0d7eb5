package activities_test

import (
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/activities"
	"multiattempt/activities/activitytest"
	"multiattempt/internal/blob"
)

// counted counts how often shards of episodes and an iteration's problems are read.
type counted struct {
	blob.Store
	shards, problems atomic.Int64
}

func (c *counted) Get(ctx context.Context, key string) (io.ReadCloser, blob.Info, error) {
	if strings.Contains(key, "/episodes-") {
		c.shards.Add(1)
	}
	if strings.Contains(key, "/problems-") {
		c.problems.Add(1)
	}
	return c.Store.Get(ctx, key)
}

// TestEpisodesThatWereJustSampledAreNotReadAgain compares a process that keeps what it sampled with one that reads everything
// from the store: the same records, so the same rewards, losses and weights, and nothing that is shared was changed.
func TestEpisodesThatWereJustSampledAreNotReadAgain(t *testing.T) {
	presets := activitytest.Presets(t)
	at := map[string]activities.Position{}
	for name, limit := range map[string]int64{"kept": 1 << 20, "none": 0, "one shard at a time": 2 << 10} {
		store := &counted{Store: blob.NewMemory()}
		h := newHost(t, store, presets, "own")
		h.Share(activities.NewRecent(limit))
		plan, begun := begin(t, h, `{"preset":"small"}`)
		at[name] = advance(t, h, begun, plan.Plan.Shards, 3)
		read := store.shards.Load()
		require.Greater(t, plan.Plan.Shards, 1)
		require.EqualValues(t, 3, store.problems.Load(), "by an iteration's first shard")
		if name == "kept" {
			require.Zero(t, read)
		} else {
			require.EqualValues(t, 3*2*plan.Plan.Shards, read, "by the rewards and by the update")
		}
	}
	require.Equal(t, at["none"], at["kept"])
	require.Equal(t, at["none"], at["one shard at a time"])
}

// TestRecentEpisodesAreLetGo holds memory to the limit, and keeps what was wanted last.
func TestRecentEpisodesAreLetGo(t *testing.T) {
	store := &counted{Store: blob.NewMemory()}
	h := newHost(t, store, activitytest.Presets(t), "own")
	_, at := begin(t, h, `{"preset":"small"}`)
	batch := must[activities.SampleBatchOutput](t, h, h.Data.SampleBatch, activities.SampleBatchInput{Run: "r", Spec: at.Spec})
	var shards []blob.Ref
	for i := range 4 {
		out := must[activities.RolloutOutput](t, h, h.Rollouts.Rollout, activities.RolloutInput{
			Run: "r", Spec: at.Spec, Policy: at.Policy, Problems: batch.Problems, Shard: i, Shards: 4,
		})
		shards = append(shards, out.Episodes)
	}
	load := func(r *activities.Recent, run string, step, i int) (read int64) {
		before := store.shards.Load()
		want, err := activities.LoadEpisodes(t.Context(), store.Store, shards[i:i+1])
		require.NoError(t, err)
		got, err := activities.LoadRecent(t.Context(), r, store, run, step, shards[i:i+1])
		require.NoError(t, err)
		require.Equal(t, want, got)
		return store.shards.Load() - before
	}
	all := activities.NewRecent(1 << 20)
	require.EqualValues(t, 1, load(all, "r", 0, 0))
	size := activities.HeldBy(all)
	r := activities.NewRecent(3*size - size/2) // of two shards, and a little more
	for i, read := range []int64{1, 1, 0, 1, 0, 1} {
		shard := []int{0, 1, 0, 2, 0, 1}[i]
		require.Equal(t, read, load(r, "r", 0, shard), "access %d, of shard %d", i, shard)
		require.LessOrEqual(t, activities.HeldBy(r), 3*size-size/2)
	}
	require.EqualValues(t, 1, load(nil, "r", 0, 3))
	require.EqualValues(t, 1, load(nil, "r", 0, 3), "nothing is kept")

	require.EqualValues(t, 1, load(all, "other", 0, 1))
	require.EqualValues(t, 1, load(all, "r", 1, 2), "a later step of r: its earlier ones go")
	require.EqualValues(t, 0, load(all, "other", 0, 1))
	require.EqualValues(t, 1, load(all, "r", 1, 0))
}
