package local_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
	"multiattempt/internal/blob/blobtest"
	"multiattempt/internal/blob/local"
)

func open(t *testing.T) blob.Store {
	t.Helper()
	s, err := local.Open(t.TempDir())
	require.NoError(t, err)
	return s.Fast()
}

func TestStore(t *testing.T) { blobtest.Run(t, open) }

// TestAFolderIsFoundAgain opens the same folder twice, as two processes do.
func TestAFolderIsFoundAgain(t *testing.T) {
	dir := t.TempDir()
	first, err := local.Open(dir)
	require.NoError(t, err)
	ref, err := blob.PutAs(t.Context(), first, "runs/r/a.json", []byte("{}"))
	require.NoError(t, err)
	second, err := local.Open(dir)
	require.NoError(t, err)
	_, err = blob.Load(t.Context(), second, ref)
	require.NoError(t, err)
	b, err := os.ReadFile(filepath.Join(dir, "objects", "runs", "r", "a.json"))
	require.NoError(t, err)
	require.Equal(t, "{}", string(b), "other programs open an object as it lies")
}

func TestLostBytesAreFoundOut(t *testing.T) {
	dir := t.TempDir()
	s, err := local.Open(dir)
	require.NoError(t, err)
	ref, err := blob.PutAs(t.Context(), s, "k", []byte("bytes"))
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join(dir, "data", ref.SHA256.String()+"-*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.NoError(t, os.WriteFile(files[0], []byte("bytez"), 0o600))
	_, err = blob.Load(t.Context(), s, ref)
	require.ErrorIs(t, err, blob.ErrCorrupt)
	require.NoError(t, os.Remove(files[0]))
	_, err = blob.Load(t.Context(), s, ref)
	require.ErrorIs(t, err, blob.ErrCorrupt)
	require.True(t, strings.Contains(err.Error(), dir))
}
