package checkpoint_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
	"multiattempt/internal/blob/blobtest"
	"multiattempt/internal/checkpoint"
)

// shared is a store with a run, shared objects that something refers to by every way there is, and others.
type shared struct {
	*blobtest.Aged
	used, unused map[string]string // key → what it is
}

func newShared(t *testing.T) shared {
	t.Helper()
	s := shared{Aged: &blobtest.Aged{Store: blob.NewMemory()}, used: map[string]string{}, unused: map[string]string{}}
	object := func(text string) blob.Ref {
		ref, err := blob.Put(t.Context(), s, []byte(text))
		require.NoError(t, err)
		return ref
	}
	folder := func(in map[string]string, what string) blob.Ref {
		file := object("weights of " + what)
		ref, err := blob.PutFolder(t.Context(), s, blob.Folder{Files: []blob.FolderFile{{Name: "model.safetensors", Ref: file}}})
		require.NoError(t, err)
		in[file.Key], in[ref.Key] = "file of "+what, "list of "+what
		return ref
	}
	put(t, s, "runs/r/base-0.json", text(t, map[string]any{"folder": folder(s.used, "the base model")}))
	put(t, s, "runs/r/steps/000009/policy/folder-0.json", text(t, map[string]any{"files": []any{map[string]any{"ref": folder(s.used, "a step under way")}}}))
	ref := folder(s.used, "a model named by the settings")
	put(t, s, "runs/r/spec-0.json", text(t, map[string]any{"model": map[string]any{"source": "ref:" + ref.Key + "@" + ref.SHA256.String() + ":99"}}))
	put(t, s, "elsewhere/x.json", text(t, []any{folder(s.used, "a root of a kind that is not known yet")}))

	kept := save(t, s, 2, "b")
	m, err := checkpoint.LoadManifest(t.Context(), s, kept)
	require.NoError(t, err)
	list, err := blob.PutFolder(t.Context(), s, m.Folder(checkpoint.PolicyDir))
	require.NoError(t, err)
	s.used[list.Key] = "list of a checkpoint's policy, which only workflows name"

	under, err := blob.Load(t.Context(), s, propose(t, s, 3, "c"))
	require.NoError(t, err)
	m = checkpoint.Manifest{}
	require.NoError(t, json.Unmarshal(under, &m))
	list, err = blob.PutFolder(t.Context(), s, m.Folder(checkpoint.PolicyDir))
	require.NoError(t, err)
	s.used[list.Key] = "list of a candidate's policy"

	folder(s.unused, "an erased run")
	s.unused[object("a file of a model whose upload ended half-way").Key] = "a file"
	return s
}

func (s shared) inspect(t *testing.T) checkpoint.SharedAudit {
	t.Helper()
	found, err := checkpoint.InspectShared(t.Context(), s, time.Now())
	require.NoError(t, err)
	return found
}

func TestSharedObjectsThatNothingRefersToAreFoundAndDeleted(t *testing.T) {
	s := newShared(t)
	require.Empty(t, s.inspect(t).Orphans, "all are younger than a day, whatever the caller says")
	s.Age(blob.CollectAfter + time.Hour)
	found := s.inspect(t)
	var orphans []string
	for _, o := range found.Orphans {
		require.Contains(t, s.unused, o.Key, s.used[o.Key])
		orphans = append(orphans, o.Key)
	}
	require.Len(t, orphans, len(s.unused))
	require.Equal(t, len(s.used)+len(s.unused), found.Objects)

	older, err := checkpoint.InspectShared(t.Context(), s, time.Now().Add(-2*blob.CollectAfter))
	require.NoError(t, err)
	require.Empty(t, older.Orphans, "a caller may spare more")

	deleted, err := checkpoint.CollectShared(t.Context(), s, found)
	require.NoError(t, err)
	require.Equal(t, len(s.unused), deleted)
	for key, what := range s.used {
		_, err := s.Stat(t.Context(), key)
		require.NoError(t, err, what)
	}
	require.Empty(t, s.inspect(t).Orphans)
}

// TestACollectionSparesWhatARunReliesOnMeanwhile: a run that begins between the inspection and the deletion.
func TestACollectionSparesWhatARunReliesOnMeanwhile(t *testing.T) {
	s := newShared(t)
	s.Age(blob.CollectAfter + time.Hour)
	found := s.inspect(t)
	again, err := blob.Put(t.Context(), s, []byte("weights of an erased run"))
	require.NoError(t, err)
	_, err = checkpoint.CollectShared(t.Context(), s, found)
	require.NoError(t, err)
	_, err = blob.Load(t.Context(), s, again)
	require.NoError(t, err)
}

func TestNothingIsLeftOverWhileAnObjectCannotBeRead(t *testing.T) {
	s := newShared(t)
	s.Age(blob.CollectAfter + time.Hour)
	put(t, s, "runs/r/base-0.json", strings.Repeat("{", 9))
	found, err := checkpoint.InspectShared(t.Context(), s, time.Now())
	require.ErrorIs(t, err, checkpoint.ErrUnreadable)
	require.ErrorContains(t, err, "runs/r/base-0.json")
	require.Empty(t, found.Orphans)
}
