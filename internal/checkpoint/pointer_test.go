package checkpoint_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
	"multiattempt/internal/checkpoint"
)

// target names a checkpoint of a step, which need not exist.
func target(step int, score float64) checkpoint.Target {
	key := checkpoint.Key("r", step)
	return checkpoint.Target{
		Checkpoint: checkpoint.Ref{Run: "r", Step: step, Ref: blob.Ref{Key: key, SHA256: blob.Sum([]byte(key)), Size: 9}}, Score: score,
	}
}

func TestPointersMoveForwardOnly(t *testing.T) {
	for name, c := range map[string]struct {
		pointer checkpoint.Pointer
		moves   []checkpoint.Target
		want    []int // step after each move
	}{
		"latest":                        {checkpoint.Latest, []checkpoint.Target{target(8, 0), target(16, 0), target(8, 0), target(16, 0), target(24, 0)}, []int{8, 16, 16, 16, 24}},
		"best is the highest score":     {checkpoint.Best, []checkpoint.Target{target(8, 0.3), target(16, 0.2), target(24, 0.4)}, []int{8, 8, 24}},
		"of equal scores the earlier":   {checkpoint.Best, []checkpoint.Target{target(16, 0.3), target(24, 0.3), target(8, 0.3)}, []int{16, 16, 8}},
		"scores may be 0, and negative": {checkpoint.Best, []checkpoint.Target{target(8, -1), target(16, 0)}, []int{8, 16}},
	} {
		t.Run(name, func(t *testing.T) {
			s := blob.NewMemory()
			_, err := checkpoint.Resolve(t.Context(), s, "r", c.pointer)
			require.ErrorIs(t, err, checkpoint.ErrNone)
			for i, move := range c.moves {
				now, err := checkpoint.Advance(t.Context(), s, c.pointer, move)
				require.NoError(t, err)
				require.Equal(t, c.want[i], now.Checkpoint.Step)
				stored, err := checkpoint.Resolve(t.Context(), s, "r", c.pointer)
				require.NoError(t, err)
				require.Equal(t, now, stored)
			}
		})
	}
}

func TestConcurrentMovesAreNotLost(t *testing.T) {
	s := blob.NewMemory()
	const n = 40
	var wait sync.WaitGroup
	errs := make(chan error, 2*n)
	for step := 1; step <= n; step++ {
		wait.Go(func() {
			_, err := checkpoint.Advance(t.Context(), s, checkpoint.Latest, target(step, 0))
			errs <- err
		})
		wait.Go(func() {
			_, err := checkpoint.Advance(t.Context(), s, checkpoint.Best, target(step, float64(step%7)))
			errs <- err
		})
	}
	wait.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	latest, err := checkpoint.Resolve(t.Context(), s, "r", checkpoint.Latest)
	require.NoError(t, err)
	require.Equal(t, target(n, 0), latest)
	best, err := checkpoint.Resolve(t.Context(), s, "r", checkpoint.Best)
	require.NoError(t, err)
	require.Equal(t, target(6, 6), best, "the first of those with the highest score")
}

func TestPointerThatIsNone(t *testing.T) {
	s := blob.NewMemory()
	put(t, s, "runs/r/latest.json", "somewhere")
	_, err := checkpoint.Resolve(t.Context(), s, "r", checkpoint.Latest)
	require.ErrorIs(t, err, blob.ErrCorrupt)
	_, err = checkpoint.Advance(t.Context(), s, checkpoint.Latest, target(1, 0))
	require.ErrorIs(t, err, blob.ErrCorrupt, "what is not understood is not overwritten")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = checkpoint.Advance(ctx, s, checkpoint.Best, target(1, 0))
	require.ErrorIs(t, err, context.Canceled)
}

// six saves the steps 1 to 6; the newest is latest, the second is best.
func six(t *testing.T, s blob.Store) {
	t.Helper()
	for step := 1; step <= 6; step++ {
		ref := save(t, s, step, strings.Repeat("x", step))
		_, err := checkpoint.Advance(t.Context(), s, checkpoint.Latest, checkpoint.Target{Checkpoint: ref})
		require.NoError(t, err)
		if step == 2 {
			_, err = checkpoint.Advance(t.Context(), s, checkpoint.Best, checkpoint.Target{Checkpoint: ref, Score: 1})
			require.NoError(t, err)
		}
	}
}

// steps lists the run's checkpoints, each verified.
func steps(t *testing.T, s blob.Store) []int {
	t.Helper()
	refs, err := checkpoint.List(t.Context(), s, "r")
	require.NoError(t, err)
	list := []int{}
	for _, ref := range refs {
		require.NoError(t, checkpoint.Verify(t.Context(), s, ref))
		list = append(list, ref.Step)
	}
	return list
}

func TestPruneKeepsTheNewestTheBestAndThePinned(t *testing.T) {
	for name, c := range map[string]struct {
		keep          int
		keepEvery     int
		pinned        []int
		stay, deleted []int
	}{
		"two newest":          {2, 0, nil, []int{2, 5, 6}, []int{1, 3, 4}},
		"pinned":              {2, 0, []int{3, 9}, []int{2, 3, 5, 6}, []int{1, 4}},
		"every third":         {1, 3, nil, []int{2, 3, 6}, []int{1, 4, 5}},
		"the newest always":   {0, 0, nil, []int{2, 6}, []int{1, 3, 4, 5}},
		"fewer than are kept": {9, 0, nil, []int{1, 2, 3, 4, 5, 6}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := blob.NewMemory()
			six(t, s)
			deleted, err := checkpoint.Prune(t.Context(), s, "r", checkpoint.Retention{Keep: c.keep, KeepEvery: c.keepEvery, Pinned: c.pinned})
			require.NoError(t, err)
			require.Equal(t, c.deleted, deleted)
			require.Equal(t, c.stay, steps(t, s))
			for _, key := range keys(t, s) {
				for _, gone := range c.deleted {
					require.NotContains(t, key, strings.TrimSuffix(checkpoint.Key("r", gone), "manifest.json"), "its parts are gone, too")
				}
			}
			deleted, err = checkpoint.Prune(t.Context(), s, "r", checkpoint.Retention{Keep: c.keep, KeepEvery: c.keepEvery, Pinned: c.pinned})
			require.NoError(t, err)
			require.Empty(t, deleted)
		})
	}
}

func TestPruneKeepsWhatLatestPointsAt(t *testing.T) {
	s := blob.NewMemory()
	six(t, s)
	save(t, s, 7, "saved, not yet latest")
	_, err := checkpoint.Prune(t.Context(), s, "r", checkpoint.Retention{Keep: 1})
	require.NoError(t, err)
	require.Equal(t, []int{2, 6, 7}, steps(t, s))
}

func TestPruneKeepsTheNewestWithoutAnyPointer(t *testing.T) {
	s := blob.NewMemory()
	save(t, s, 1, "a")
	save(t, s, 2, "b")
	deleted, err := checkpoint.Prune(t.Context(), s, "r", checkpoint.Retention{Keep: 0})
	require.NoError(t, err)
	require.Equal(t, []int{1}, deleted)
	require.Equal(t, []int{2}, steps(t, s))
}

func TestPruneLeavesOtherRunsAlone(t *testing.T) {
	s := blob.NewMemory()
	six(t, s)
	other, err := checkpoint.Save(t.Context(), s, checkpoint.Meta{Run: "r2", Step: 1}, state(t, "other"))
	require.NoError(t, err)
	_, err = checkpoint.Prune(t.Context(), s, "r", checkpoint.Retention{Keep: 1})
	require.NoError(t, err)
	require.NoError(t, checkpoint.Verify(t.Context(), s, other))
}

// stubborn is a store that refuses to delete keys with the fragment.
type stubborn struct {
	blob.Store
	fragment string
}

func (s stubborn) Delete(ctx context.Context, key string) error {
	if strings.Contains(key, s.fragment) {
		return errDelete
	}
	return s.Store.Delete(ctx, key)
}

var errDelete = errors.New("no leave to delete")

func TestInterruptedPruneIsFinishedByTheNext(t *testing.T) {
	s := blob.NewMemory()
	six(t, s)
	deleted, err := checkpoint.Prune(t.Context(), stubborn{s, "000003/parts-"}, "r", checkpoint.Retention{Keep: 2})
	require.ErrorIs(t, err, errDelete)
	require.Equal(t, []int{1}, deleted)
	require.Equal(t, []int{2, 4, 5, 6}, steps(t, s), "what is half deleted is no checkpoint, and the rest is whole")

	put(t, s, checkpoint.Prefix("r")+"000007/parts-1/policy/model.safetensors", "being saved")
	deleted, err = checkpoint.Prune(t.Context(), s, "r", checkpoint.Retention{Keep: 2})
	require.NoError(t, err)
	require.Equal(t, []int{4}, deleted)
	left := strings.Join(keys(t, s), "\n")
	require.NotContains(t, left, "/000003/", "leftovers are swept")
	require.Contains(t, left, "/000007/", "a checkpoint that is being saved is not")
}
