package activities_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/activities"
	"multiattempt/internal/blob"
)

// folder stores a model folder with one file and returns its policy.
func folder(t *testing.T, store blob.Store, content string) activities.Policy {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "weights"), []byte(content), 0o644))
	p, err := activities.UploadModel(t.Context(), store, os.DirFS(dir))
	require.NoError(t, err)
	return p
}

func TestModelsFetchesEachPolicyOnceAndKeepsAFew(t *testing.T) {
	store, dir := blob.NewMemory(), filepath.Join(t.TempDir(), "models")
	models, err := activities.NewModels(store, dir)
	require.NoError(t, err)
	used, release, err := models.Use(t.Context(), folder(t, store, "in use"))
	require.NoError(t, err)
	for _, content := range []string{"a", "b", "c", "d", "e", "f"} {
		p := folder(t, store, content)
		first, done, err := models.Use(t.Context(), p)
		require.NoError(t, err)
		b, err := os.ReadFile(filepath.Join(first, "weights"))
		require.NoError(t, err)
		require.Equal(t, content, string(b))
		done()
		done() // giving back twice is harmless
		require.NoError(t, store.Delete(t.Context(), p.Folder.Key))
		again, done, err := models.Use(t.Context(), p)
		require.NoError(t, err, "from the disk")
		require.Equal(t, first, again)
		done()
	}
	kept, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, kept, 4+1, "four idle ones and the one in use")
	require.FileExists(t, filepath.Join(used, "weights"))
	release()
}

func TestModelsAdoptsWhatTheLearnerWrote(t *testing.T) {
	store := blob.NewMemory()
	models, err := activities.NewModels(store, filepath.Join(t.TempDir(), "models"))
	require.NoError(t, err)
	p := folder(t, store, "x")
	require.NoError(t, store.Delete(t.Context(), p.Folder.Key))
	written := filepath.Join(t.TempDir(), "written")
	require.NoError(t, os.MkdirAll(written, 0o755))
	require.NoError(t, models.Adopt(p, written))
	require.NoDirExists(t, written)
	_, done, err := models.Use(t.Context(), p)
	require.NoError(t, err)
	done()
}

func TestModelsRefusesAFolderThatIsNotThePolicy(t *testing.T) {
	store := blob.NewMemory()
	models, err := activities.NewModels(store, filepath.Join(t.TempDir(), "models"))
	require.NoError(t, err)
	p := folder(t, store, "x")
	p.Digest = blob.Sum([]byte("other"))
	_, _, err = models.Use(t.Context(), p)
	require.ErrorIs(t, err, blob.ErrCorrupt)
}
