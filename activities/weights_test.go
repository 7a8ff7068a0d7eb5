package activities_test

import (
	"context"
	"io"
	"path"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"multiattempt/activities"
	"multiattempt/activities/activitytest"
	"multiattempt/internal/blob"
	"multiattempt/internal/update/updatetest"
)

// view is one worker's view of a store: it counts what the worker reads, and may hold up reads of weights.
type view struct {
	blob.Store
	mu    sync.Mutex
	reads map[string]int
	hold  func(ctx context.Context, key string) error
}

func newView(s blob.Store) *view { return &view{Store: s, reads: map[string]int{}} }

func (c *view) Get(ctx context.Context, key string) (io.ReadCloser, blob.Info, error) {
	c.mu.Lock()
	c.reads[key]++
	c.mu.Unlock()
	if c.hold != nil {
		if err := c.hold(ctx, key); err != nil {
			return nil, blob.Info{}, err
		}
	}
	return c.Store.Get(ctx, key)
}

// weights are the reads of weights, by key.
func (c *view) weights() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := map[string]int{}
	for key, n := range c.reads {
		if path.Base(key) == updatetest.TableFile {
			of[key] = n
		}
	}
	return of
}

// TestWeightsAreFetchedOncePerWorkerAndStep: three workers sample four shards each of every step's policy, all at once.
// Each fetches each step's weights once; the learner, which wrote them, fetches none.
func TestWeightsAreFetchedOncePerWorkerAndStep(t *testing.T) {
	const steps = 3
	store, presets := blob.NewMemory(), activitytest.Presets(t)
	views := []*view{newView(store), newView(store), newView(store)}
	var samplers []activitytest.Worker
	for _, v := range views {
		samplers = append(samplers, activitytest.NewWorker(t, v, presets, ""))
	}
	own := newView(store)
	learner := newHost(t, own, presets, "own")
	_, at := begin(t, learner, `{"preset":"small","critic_warmup":0}`)
	for range steps {
		at = advance(t, learner, at, 2, 1)
		batch := must[activities.SampleBatchOutput](t, learner, learner.Data.SampleBatch, activities.SampleBatchInput{Run: "r", Spec: at.Spec, Step: at.Step()})
		var group errgroup.Group
		for _, w := range samplers {
			for shard := range 4 {
				group.Go(func() error {
					_, err := newHostEnv(w).ExecuteActivity(w.Rollouts.Rollout, activities.RolloutInput{
						Run: "r", Spec: at.Spec, Policy: at.Policy, Problems: batch.Problems, Step: at.Step(), Shard: shard, Shards: 4,
					})
					return err
				})
			}
		}
		require.NoError(t, group.Wait())
	}
	for i, v := range views {
		require.Len(t, v.weights(), steps, "worker %d: one object a step", i)
		for key, n := range v.weights() {
			require.Equal(t, 1, n, "worker %d read %s", i, key)
		}
		require.Equal(t, steps, samplers[i].Engine.Samplers(), "and loads them once")
	}
	for key := range own.weights() {
		require.NotContains(t, key, "/steps/", "the learner adopts what it wrote")
	}
}

// TestUsersOfOneModelShareOneDownload: whoever comes while it is under way waits for it, may give up without harm to others,
// and is not held up by another model's.
func TestUsersOfOneModelShareOneDownload(t *testing.T) {
	store := newView(blob.NewMemory())
	models, err := activities.NewModels(store, filepath.Join(t.TempDir(), "models"))
	require.NoError(t, err)
	slow, other := folder(t, store, "slow"), folder(t, store, "other")
	began, open := make(chan struct{}), make(chan struct{})
	store.hold = func(_ context.Context, key string) error {
		if key == slow.Folder.Key {
			close(began) // a second read would panic
			<-open
		}
		return nil
	}
	var group errgroup.Group
	dirs := make([]string, 8)
	for i := range dirs {
		group.Go(func() (err error) {
			dirs[i], _, err = models.Use(t.Context(), slow)
			return err
		})
	}
	<-began
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = models.Use(gone, slow)
	require.ErrorIs(t, err, context.Canceled, "who waits may give up")
	_, release, err := models.Use(t.Context(), other)
	require.NoError(t, err, "another model is not held up")
	release()
	close(open)
	require.NoError(t, group.Wait())
	for _, dir := range dirs {
		require.Equal(t, dirs[0], dir)
		require.FileExists(t, filepath.Join(dir, "weights"))
	}
}

// TestADownloadThatIsGivenUpIsBegunAnew: those that waited for it do not fail with the one that gave up.
func TestADownloadThatIsGivenUpIsBegunAnew(t *testing.T) {
	store := newView(blob.NewMemory())
	models, err := activities.NewModels(store, filepath.Join(t.TempDir(), "models"))
	require.NoError(t, err)
	p := folder(t, store, "x")
	began := make(chan struct{})
	var once sync.Once
	store.hold = func(ctx context.Context, _ string) (err error) {
		once.Do(func() {
			close(began)
			<-ctx.Done()
			err = ctx.Err()
		})
		return err
	}
	first, cancel := context.WithCancel(t.Context())
	var group errgroup.Group
	group.Go(func() error {
		_, _, err := models.Use(first, p)
		require.ErrorIs(t, err, context.Canceled)
		return nil
	})
	<-began
	for range 4 {
		group.Go(func() error {
			dir, _, err := models.Use(t.Context(), p)
			if err == nil {
				require.FileExists(t, filepath.Join(dir, "weights"))
			}
			return err
		})
	}
	cancel()
	require.NoError(t, group.Wait())
}
