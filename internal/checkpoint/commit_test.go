package checkpoint_test

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
	"multiattempt/internal/checkpoint"
)

// propose stores a state as a candidate.
func propose(t *testing.T, s blob.Store, step int, text string) blob.Ref {
	t.Helper()
	dir := state(t, text)
	files, err := checkpoint.Digest(t.Context(), dir)
	require.NoError(t, err)
	candidate, m, err := checkpoint.Put(t.Context(), s, meta(step), dir, files)
	require.NoError(t, err)
	require.Empty(t, files[0].Ref.Key, "the caller's list is its own")
	require.NotEmpty(t, m.Files[0].Ref.Key)
	return candidate
}

func TestACandidateIsNoCheckpoint(t *testing.T) {
	s := blob.NewMemory()
	candidate := propose(t, s, 1, "a")
	require.Equal(t, candidate, propose(t, s, 1, "a"))
	_, err := checkpoint.Find(t.Context(), s, "r", 1)
	require.ErrorIs(t, err, checkpoint.ErrNone)
	require.Empty(t, steps(t, s))

	ref, err := checkpoint.Commit(t.Context(), s, "r", 1, candidate)
	require.NoError(t, err)
	require.Equal(t, []int{1}, steps(t, s))
	before := keys(t, s)
	again, err := checkpoint.Commit(t.Context(), s, "r", 1, candidate)
	require.NoError(t, err)
	require.Equal(t, ref, again)
	require.Equal(t, before, keys(t, s))
	require.NoError(t, s.Delete(t.Context(), candidate.Key))
	again, err = checkpoint.Commit(t.Context(), s, "r", 1, candidate)
	require.NoError(t, err, "what is committed needs it no more")
	require.Equal(t, ref, again)
}

// TestCandidatesDoNotStandInEachOthersWay: whoever is given up for dead may store what it likes, before or after.
func TestCandidatesDoNotStandInEachOthersWay(t *testing.T) {
	s := blob.NewMemory()
	propose(t, s, 1, "of a learner given up for dead")
	good := propose(t, s, 1, "a")
	stale := propose(t, s, 1, "of another one")
	ref, err := checkpoint.Commit(t.Context(), s, "r", 1, good)
	require.NoError(t, err)
	require.NoError(t, checkpoint.Verify(t.Context(), s, ref))
	propose(t, s, 1, "late")
	require.NoError(t, checkpoint.Verify(t.Context(), s, ref))

	_, err = checkpoint.Commit(t.Context(), s, "r", 1, stale)
	require.ErrorIs(t, err, checkpoint.ErrDiffers)
	require.ErrorContains(t, err, ref.SHA256.Short())
	_, err = checkpoint.Commit(t.Context(), s, "r", 2, good)
	require.ErrorIs(t, err, checkpoint.ErrForeign)
	_, err = checkpoint.Commit(t.Context(), s, "r", 3, blob.Ref{Key: "runs/r/checkpoints/000003/manifest-0.json", Size: 1})
	require.ErrorIs(t, err, blob.ErrNotFound)
	require.Equal(t, []int{1}, steps(t, s))
}

// meanwhile is a store in which something happens just before an object is written.
type meanwhile struct {
	blob.Store
	key  string
	then func()
}

func (m *meanwhile) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, o blob.PutOptions) (blob.Info, error) {
	if key == m.key && m.then != nil {
		then := m.then
		m.then = nil
		then()
	}
	return m.Store.Put(ctx, key, body, size, o)
}

// TestACommitThatSleptThroughADeletionLeavesNothing: a manifest without parts would be a checkpoint that lies.
func TestACommitThatSleptThroughADeletionLeavesNothing(t *testing.T) {
	s := blob.NewMemory()
	candidate := propose(t, s, 1, "a")
	asleep := &meanwhile{Store: s, key: checkpoint.Key("r", 1), then: func() {
		ref, err := checkpoint.Commit(t.Context(), s, "r", 1, candidate)
		require.NoError(t, err)
		for _, step := range []int{2, 3} {
			ref = save(t, s, step, "b")
		}
		_, err = checkpoint.Advance(t.Context(), s, checkpoint.Latest, checkpoint.Target{Checkpoint: ref})
		require.NoError(t, err)
		deleted, err := checkpoint.Prune(t.Context(), s, "r", checkpoint.Retention{Keep: 1})
		require.NoError(t, err)
		require.Equal(t, []int{1, 2}, deleted)
	}}
	_, err := checkpoint.Commit(t.Context(), asleep, "r", 1, candidate)
	require.ErrorIs(t, err, blob.ErrNotFound)
	require.Equal(t, []int{3}, steps(t, s))
	for _, key := range keys(t, s) {
		require.False(t, strings.HasPrefix(key, checkpoint.Prefix("r")+"000001/"), key)
	}
}

// TestADeletionBeginsWithTheCandidate: Commit relies on it.
func TestADeletionBeginsWithTheCandidate(t *testing.T) {
	s := blob.NewMemory()
	six(t, s)
	_, err := checkpoint.Prune(t.Context(), stubborn{s, "000001/manifest-"}, "r", checkpoint.Retention{Keep: 2})
	require.ErrorIs(t, err, errDelete)
	require.Equal(t, []int{1, 2, 3, 4, 5, 6}, steps(t, s))
}

// TestPruneMindsNoManifest: one that cannot be read, of a checkpoint that stays, is for whoever wants to load it to find.
func TestPruneMindsNoManifest(t *testing.T) {
	s := blob.NewMemory()
	six(t, s)
	put(t, s, checkpoint.Key("r", 2), "nonsense")
	deleted, err := checkpoint.Prune(t.Context(), s, "r", checkpoint.Retention{Keep: 2})
	require.NoError(t, err)
	require.Equal(t, []int{1, 3, 4}, deleted)
}

func TestWrongBytesOfAPartAreReplacedAndRightOnesNever(t *testing.T) {
	s := blob.NewMemory()
	ref, err := checkpoint.Commit(t.Context(), s, "r", 1, propose(t, s, 1, "a"))
	require.NoError(t, err)
	key := part(t, s, ref, "state/critic.safetensors")
	put(t, s, key, "critic x")
	require.ErrorIs(t, checkpoint.Verify(t.Context(), s, ref), blob.ErrCorrupt)
	propose(t, s, 1, "a")
	require.NoError(t, checkpoint.Verify(t.Context(), s, ref))

	// One writer looks, sees nothing and sleeps; meanwhile another one stores the part.
	other := blob.NewMemory()
	asleep := &meanwhile{Store: spoiling{other}, key: key, then: func() { propose(t, other, 1, "a") }}
	propose(t, asleep, 1, "a")
	ref, err = checkpoint.Commit(t.Context(), other, "r", 1, propose(t, other, 1, "a"))
	require.NoError(t, err)
	require.NoError(t, checkpoint.Verify(t.Context(), other, ref))
}

// spoiling is a store whose writer sends other bytes than it says.
type spoiling struct{ blob.Store }

func (s spoiling) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, o blob.PutOptions) (blob.Info, error) {
	if strings.HasSuffix(key, "critic.safetensors") {
		body = strings.NewReader(strings.Repeat("x", int(size)))
	}
	return s.Store.Put(ctx, key, body, size, o)
}
