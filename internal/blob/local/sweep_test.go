package local_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
	"multiattempt/internal/blob/local"
)

// TestSweepDeletesWhatACrashLeftAndNothingElse: bytes half written, bytes without a link, a link without a name.
func TestSweepDeletesWhatACrashLeftAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	s, err := local.Open(dir)
	require.NoError(t, err)
	s.Fast()
	for _, key := range []string{"a", "b/c", "b/d"} {
		_, err := s.Put(t.Context(), key, strings.NewReader(key), int64(len(key)), blob.PutOptions{})
		require.NoError(t, err)
	}
	old := time.Now().Add(-48 * time.Hour)
	data := filepath.Join(dir, "data")
	entries, err := os.ReadDir(data)
	require.NoError(t, err)
	for _, e := range entries { // objects are old, too
		require.NoError(t, os.Chtimes(filepath.Join(data, e.Name()), old, old))
	}
	for _, name := range []string{"writing-1", blob.Sum([]byte("x")).String() + "-ABC"} {
		require.NoError(t, os.WriteFile(filepath.Join(data, name), []byte("left"), 0o600))
		require.NoError(t, os.Chtimes(filepath.Join(data, name), old, old))
	}
	require.NoError(t, os.WriteFile(filepath.Join(data, "writing-2"), []byte("on its way"), 0o600))

	before := time.Now().Add(-24 * time.Hour)
	pieces, bytes, err := s.Sweep(t.Context(), before, true)
	require.NoError(t, err)
	require.Equal(t, 2, pieces)
	require.EqualValues(t, 8, bytes)
	require.FileExists(t, filepath.Join(data, "writing-1"), "only counted")
	_, _, err = s.Sweep(t.Context(), before, false)
	require.NoError(t, err)
	entries, err = os.ReadDir(data)
	require.NoError(t, err)
	require.Len(t, entries, 4, "three objects, and what is on its way")
	for _, key := range []string{"a", "b/c", "b/d"} {
		body, _, err := s.Get(t.Context(), key)
		require.NoError(t, err)
		require.NoError(t, body.Close())
	}
	pieces, _, err = s.Sweep(t.Context(), before, false)
	require.NoError(t, err)
	require.Zero(t, pieces)
}
