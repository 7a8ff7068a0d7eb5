package hub_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
	"multiattempt/internal/hub"
	"multiattempt/internal/hub/hubtest"
)

const id = "somebody/model"

func files() map[string][]byte {
	return map[string][]byte{
		"config.json": []byte("{}"), "model.safetensors": bytes.Repeat([]byte("weights "), 1000), "onnx/model.onnx": []byte("x"),
	}
}

func open(t *testing.T, revision string) *hub.Repository {
	t.Helper()
	r, err := hub.FromEnvironment().Open(t.Context(), id, revision)
	require.NoError(t, err)
	require.Equal(t, hubtest.Commit, r.Commit)
	require.Equal(t, []string{"config.json", "model.safetensors", "onnx/model.onnx"}, r.Names())
	return r
}

func TestFetchThroughTheCache(t *testing.T) {
	server := hubtest.Start(t, id, files())
	r := open(t, "")
	for name, content := range server.Files {
		path, err := r.Fetch(t.Context(), name, nil)
		require.NoError(t, err)
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, content, got)
	}
	cache := filepath.Join(os.Getenv("HF_HOME"), "hub", "models--somebody--model")
	ref, err := os.ReadFile(filepath.Join(cache, "refs", "main"))
	require.NoError(t, err)
	require.Equal(t, hubtest.Commit, string(ref), "as huggingface_hub keeps it")
	to, err := os.Readlink(filepath.Join(cache, "snapshots", hubtest.Commit, "model.safetensors"))
	require.NoError(t, err)
	require.Equal(t, "../../blobs/"+blob.Sum(server.Files["model.safetensors"]).String(), to)

	server.Requests()
	t.Setenv("HF_HUB_OFFLINE", "1")
	for _, revision := range []string{"", "main", hubtest.Commit} {
		_, err = open(t, revision).Fetch(t.Context(), "model.safetensors", nil)
		require.NoError(t, err)
	}
	require.Empty(t, server.Requests(), "what is cached is not asked for again")
}

func TestDownloadsGoOnWhereTheyStopped(t *testing.T) {
	server := hubtest.Start(t, id, files())
	server.Cut(4096)
	r := open(t, "main")
	_, err := r.Fetch(t.Context(), "model.safetensors", nil)
	require.ErrorIs(t, err, hub.ErrUnavailable)
	server.Requests()
	var last int64
	path, err := r.Fetch(t.Context(), "model.safetensors", func(done int64) { last = done })
	require.NoError(t, err)
	require.EqualValues(t, 8000, last)
	require.Contains(t, server.Requests(), "/model.safetensorsbytes=4096-")
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, server.Files["model.safetensors"], got)
}

func TestFilesThatAreNotWhatTheHubSays(t *testing.T) {
	server := hubtest.Start(t, id, files())
	r := open(t, "main")
	for name, c := range map[string]struct {
		content []byte
		says    string
	}{
		"model.safetensors": {bytes.Repeat([]byte("w3ights "), 1000), "expected hash"},
		"config.json":       {[]byte("[]"), "expected hash"},
		"onnx/model.onnx":   {[]byte("xy"), "expected 1 bytes, found 2"},
	} {
		server.Files[name] = c.content
		_, err := r.Fetch(t.Context(), name, nil)
		require.ErrorIs(t, err, hub.ErrCorrupt, name)
		require.ErrorContains(t, err, c.says)
		server.Files[name] = files()[name]
		_, err = r.Fetch(t.Context(), name, nil)
		require.NoError(t, err, "nothing wrong was kept")
	}
}

func TestWhatTheHubRefuses(t *testing.T) {
	server := hubtest.Start(t, id, files())
	ctx := context.Background()
	_, err := hub.FromEnvironment().Open(ctx, "somebody/else", "")
	require.ErrorIs(t, err, hub.ErrMissing)
	require.ErrorContains(t, err, "token may read")
	for _, bad := range []string{"", "../etc", "a/b/c", "a b"} {
		_, err = hub.FromEnvironment().Open(ctx, bad, "")
		require.ErrorIs(t, err, hub.ErrMissing, bad)
	}
	_, err = open(t, "").Fetch(ctx, "absent", nil)
	require.ErrorIs(t, err, hub.ErrMissing)

	t.Setenv("HF_HOME", t.TempDir())
	server.Down(true)
	_, err = hub.FromEnvironment().Open(ctx, id, "")
	require.ErrorIs(t, err, hub.ErrUnavailable)
	server.Down(false)
	t.Setenv("HF_TOKEN", "")
	_, err = hub.FromEnvironment().Open(ctx, id, "")
	require.ErrorIs(t, err, hub.ErrMissing)
	require.ErrorContains(t, err, "HF_TOKEN")
	require.NoError(t, os.WriteFile(filepath.Join(os.Getenv("HF_HOME"), "token"), []byte(hubtest.Token+"\n"), 0o600))
	open(t, "")
}

// What huggingface_hub downloaded is used offline, without a list from the Hub.
func TestOfflineWithACacheOfAnotherTool(t *testing.T) {
	server := hubtest.Start(t, id, files())
	t.Setenv("HF_HUB_OFFLINE", "yes")
	_, err := hub.FromEnvironment().Open(t.Context(), id, "")
	require.ErrorIs(t, err, hub.ErrOffline)

	cache := filepath.Join(os.Getenv("HF_HOME"), "hub", "models--somebody--model")
	digest := blob.Sum(server.Files["model.safetensors"])
	for name, content := range map[string][]byte{
		"refs/main": []byte(hubtest.Commit), "snapshots/" + hubtest.Commit + "/config.json": []byte("{}"),
		"blobs/" + digest.String(): server.Files["model.safetensors"],
	} {
		path := filepath.Join(cache, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, content, 0o644))
	}
	require.NoError(t, os.Symlink("../../blobs/"+digest.String(), filepath.Join(cache, "snapshots", hubtest.Commit, "model.safetensors")))
	r, err := hub.FromEnvironment().Open(t.Context(), id, "main")
	require.NoError(t, err)
	require.Equal(t, []string{"config.json", "model.safetensors"}, r.Names())
	_, err = r.Fetch(t.Context(), "model.safetensors", nil)
	require.NoError(t, err)
	f, ok := r.File("model.safetensors")
	require.True(t, ok)
	require.Equal(t, digest, *f.SHA256)
	require.Empty(t, server.Requests())
}
