package source_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
	"multiattempt/internal/hub"
	"multiattempt/internal/hub/hubtest"
	"multiattempt/internal/source"
)

// sharded is a model of two shards among files that do not belong to it.
func sharded() map[string][]byte {
	return map[string][]byte{
		"config.json": []byte("{}"), "tokenizer.json": []byte("[]"), "README.md": []byte("read"), "pytorch_model.bin": []byte("pickle"),
		"model.safetensors.index.json":     []byte(`{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}`),
		"model-00001-of-00002.safetensors": []byte("one"), "model-00002-of-00002.safetensors": []byte("two"),
	}
}

var ofSharded = []string{
	"config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json", "tokenizer.json",
}

func write(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	for name, content := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), content, 0o644))
	}
}

// requireModel checks the names and contents of a model's files, and that it can be stored.
func requireModel(t *testing.T, m *source.Model, files map[string][]byte) blob.Ref {
	t.Helper()
	var names []string
	for _, f := range m.Files {
		names = append(names, f.Name)
		require.Equal(t, filepath.Join(m.Dir, f.Name), f.Path)
		content, err := os.ReadFile(f.Path)
		require.NoError(t, err)
		require.Equal(t, files[f.Name], content)
	}
	require.Equal(t, ofSharded, names)
	ref, err := m.Store(t.Context(), blob.NewMemory(), nil)
	require.NoError(t, err)
	return ref
}

func TestTheSameModelFromEverySource(t *testing.T) {
	files := sharded()
	hubtest.Start(t, "somebody/model", files)
	bucket, root := blob.NewMemory(), t.TempDir()
	for name, content := range files {
		_, err := blob.PutAs(t.Context(), bucket, "models/mine/"+name, content)
		require.NoError(t, err)
	}
	_, err := blob.PutAs(t.Context(), bucket, "models/mine/deep/config.json", []byte("another"))
	require.NoError(t, err)
	write(t, filepath.Join(root, "mine"), files)
	finder := source.Finder{
		Roots: []string{t.TempDir(), root}, Cache: t.TempDir(), Hub: hub.FromEnvironment(),
		Bucket: func(context.Context, string) (blob.Store, error) { return bucket, nil },
	}
	var refs []blob.Ref
	for _, name := range []string{"mine", filepath.Join(root, "mine"), "hf:somebody/model", "hf:somebody/model@main", "s3://b/models/mine/", "s3://b/models/mine"} {
		m, err := finder.Find(t.Context(), name)
		require.NoError(t, err, name)
		refs = append(refs, requireModel(t, m, files))
	}
	for _, ref := range refs {
		require.Equal(t, refs[0], ref, "content-addressed")
	}
	m, err := finder.Find(t.Context(), "hf:somebody/model")
	require.NoError(t, err)
	require.Equal(t, "hf:somebody/model@"+hubtest.Commit, m.Origin)
	require.NotNil(t, m.Files[1].SHA256)
	require.Nil(t, m.Files[0].SHA256, "the Hub gives a Git hash only")
}

// asked remembers the keys whose content or digest was asked for.
type asked struct {
	blob.Store
	keys []string
}

func (a *asked) Get(ctx context.Context, key string) (io.ReadCloser, blob.Info, error) {
	a.keys = append(a.keys, key)
	return a.Store.Get(ctx, key)
}

func (a *asked) Stat(ctx context.Context, key string) (blob.Info, error) {
	a.keys = append(a.keys, key)
	return a.Store.Stat(ctx, key)
}

func TestAModelIsCheckedBeforeItsWeightsAreAskedFor(t *testing.T) {
	files, root := sharded(), t.TempDir()
	server := hubtest.Start(t, "somebody/model", files)
	bucket := &asked{Store: blob.NewMemory()}
	for name, content := range files {
		_, err := blob.PutAs(t.Context(), bucket, "mine/"+name, content)
		require.NoError(t, err)
	}
	bucket.keys = nil
	write(t, filepath.Join(root, "mine"), files)
	refused := errors.New("this family is not supported")
	finder := source.Finder{
		Roots: []string{root}, Cache: t.TempDir(), Hub: hub.FromEnvironment(),
		Bucket: func(context.Context, string) (blob.Store, error) { return bucket, nil },
		Check: func(dir string) error {
			for _, name := range []string{"config.json", "tokenizer.json"} {
				content, err := os.ReadFile(filepath.Join(dir, name))
				require.NoError(t, err)
				require.Equal(t, files[name], content)
			}
			return refused
		},
	}
	for _, name := range []string{"mine", "hf:somebody/model", "s3://b/mine"} {
		_, err := finder.Find(t.Context(), name)
		require.ErrorIs(t, err, refused, name)
	}
	requests := append(server.Requests(), bucket.keys...)
	require.Contains(t, requests, "mine/config.json")
	for _, r := range requests {
		require.NotEqual(t, ".safetensors", filepath.Ext(r), r)
	}
	finder.Check = func(string) error { return nil }
	for _, name := range []string{"mine", "hf:somebody/model", "s3://b/mine"} {
		m, err := finder.Find(t.Context(), name)
		require.NoError(t, err)
		requireModel(t, m, files)
	}
}

func TestAFileThatIsNotWhatTheSourceSays(t *testing.T) {
	hubtest.Start(t, "somebody/model", sharded())
	finder := source.Finder{Hub: hub.FromEnvironment()}
	m, err := finder.Find(t.Context(), "hf:somebody/model")
	require.NoError(t, err)
	require.NoError(t, m.Verify(t.Context()))
	require.NoError(t, os.WriteFile(m.Files[1].Path, []byte("0ne"), 0o644)) // the cache changed since
	err = m.Verify(t.Context())
	require.ErrorIs(t, err, blob.ErrCorrupt)
	require.ErrorContains(t, err, m.Files[1].Path)
	_, err = m.Store(t.Context(), blob.NewMemory(), nil)
	require.ErrorIs(t, err, blob.ErrCorrupt)
	require.ErrorContains(t, err, "model-00001-of-00002.safetensors")
}

func TestAChangedObjectIsFetchedAgain(t *testing.T) {
	bucket := blob.NewMemory()
	put := func(name string, content []byte) {
		_, err := bucket.Put(t.Context(), "m/"+name, bytes.NewReader(content), int64(len(content)), blob.PutOptions{})
		require.NoError(t, err)
	}
	put("config.json", []byte("{}"))
	put("model.safetensors", []byte("one"))
	finder := source.Finder{Cache: t.TempDir(), Bucket: func(context.Context, string) (blob.Store, error) { return bucket, nil }}
	for _, content := range []string{"one", "two"} {
		put("model.safetensors", []byte(content))
		for range 2 {
			m, err := finder.Find(t.Context(), "s3://b/m")
			require.NoError(t, err)
			got, err := os.ReadFile(m.Files[1].Path)
			require.NoError(t, err)
			require.Equal(t, content, string(got))
			require.Equal(t, blob.Sum(got), *m.Files[1].SHA256)
		}
	}
}

func TestPlacesWithoutAModel(t *testing.T) {
	root := t.TempDir()
	finder := source.Finder{Roots: []string{root}, Bucket: func(context.Context, string) (blob.Store, error) { return blob.NewMemory(), nil }}
	broken := sharded()
	delete(broken, "model-00002-of-00002.safetensors")
	outside := sharded()
	outside["model.safetensors.index.json"] = []byte(`{"weight_map":{"a":"../secret"}}`)
	none := sharded()
	none["model.safetensors.index.json"] = []byte(`{}`)
	write(t, filepath.Join(root, "broken"), broken)
	write(t, filepath.Join(root, "outside"), outside)
	write(t, filepath.Join(root, "none"), none)
	write(t, filepath.Join(root, "pickle"), map[string][]byte{"config.json": nil, "pytorch_model.bin": nil})
	write(t, filepath.Join(root, "empty"), nil)
	for name, want := range map[string]string{
		"":              "name is empty",
		"absent":        filepath.Join(root, "absent"),
		"empty":         "expected config.json, found nothing",
		"pickle":        "expected model.safetensors, found config.json, pytorch_model.bin",
		"broken":        "expected model-00002-of-00002.safetensors",
		"outside":       `"../secret"`,
		"none":          "expected a weight_map",
		"s3://b":        "s3://BUCKET/PREFIX",
		"s3://b/absent": "expected config.json, found nothing",
	} {
		_, err := finder.Find(t.Context(), name)
		require.ErrorIs(t, err, source.ErrSource, name)
		require.ErrorContains(t, err, want, name)
	}
}
