package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"multiattempt/config"
	"multiattempt/internal/engine"
	"multiattempt/internal/source"
	"multiattempt/internal/spec"
	"multiattempt/presets"
)

func TestSettingsOverlayFileThenPresetThenAssignments(t *testing.T) {
	file := filepath.Join(t.TempDir(), "run.yaml")
	require.NoError(t, os.WriteFile(file, []byte("preset: paper\nseed: 3\nattempts: {max: 4}\n"), 0o600))
	cmd := &cobra.Command{}
	s := addSettings(cmd)
	require.NoError(t, cmd.ParseFlags([]string{"-f", file, "--preset", "tiny", "--set", "attempts.min=2"}))
	doc, err := s.document(spec.Run{})
	require.NoError(t, err)
	require.JSONEq(t, `{"preset":"tiny","seed":3,"attempts":{"min":2,"max":4}}`, string(doc))
}

func TestDataFilesBecomeAbsolute(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"train.jsonl", "test.parquet"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	a := &app{cfg: config.Config{DataDir: dir}}
	run := spec.Default()
	run.Data.Train, run.Evaluation.Sets = "train.jsonl", []string{"smudged", "test.parquet", "elsewhere.jsonl"}
	changed, err := a.anchor(run)
	require.NoError(t, err)
	require.Equal(t, []string{
		"data.train=" + filepath.Join(dir, "train.jsonl"),
		`evaluation.sets=["smudged","` + filepath.Join(dir, "test.parquet") + `","elsewhere.jsonl"]`,
	}, changed)
}

func TestModelFoldersAreFoundByName(t *testing.T) {
	data, cache := t.TempDir(), t.TempDir()
	a := &app{cfg: config.Config{DataDir: data, CacheDir: cache}}
	for _, name := range []string{"", "random", "builtin:smudged-base", "ref:x@y:1", "hf:a/b", "s3://b/p", "nowhere"} {
		dir, err := a.modelFolder(name)
		require.NoError(t, err)
		require.Empty(t, dir, name)
	}
	want := filepath.Join(cache, "models", "small")
	require.NoError(t, os.MkdirAll(want, 0o700))
	_, err := a.modelFolder("small")
	require.ErrorIs(t, err, source.ErrSource)
	require.ErrorContains(t, err, "expected config.json")
	files, err := presets.Model("smudged-base")
	require.NoError(t, err)
	require.NoError(t, os.CopyFS(want, files))
	got, err := a.modelFolder("small")
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.NoError(t, os.Truncate(filepath.Join(want, "model.safetensors"), 1000))
	_, err = a.modelFolder("small")
	require.ErrorIs(t, err, engine.ErrTensor)
	require.Equal(t, exitWrongInput, exitCode(err))
}

func TestEndpointsFillOnlyWhatTheUserLeftOpen(t *testing.T) {
	dir := t.TempDir()
	e := endpoints{Temporal: "127.0.0.1:7", Namespace: "n", UI: "http://ui", S3: "127.0.0.1:9", Bucket: "b", AccessKey: "ak", SecretKey: "sk"}
	require.NoError(t, e.write(dir))
	info, err := os.Stat(endpointsFile(dir))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "the file holds a secret")
	found, err := readEndpoints(dir)
	require.NoError(t, err)
	require.Equal(t, e, found)

	open := found.into(config.Config{})
	require.Equal(t, config.Temporal{Address: "127.0.0.1:7", Namespace: "n"}, open.Temporal)
	require.Equal(t, config.Store{Endpoint: "127.0.0.1:9", Bucket: "b", AccessKey: "ak", SecretKey: "sk"}, open.Store)
	named := config.Config{Temporal: config.Temporal{Address: "x:1", Namespace: "y"}, Store: config.Store{Endpoint: "z:2", Bucket: "w"}}
	require.Equal(t, named, found.into(named))

	require.Equal(t, config.Config{Store: config.Store{Endpoint: "127.0.0.1:9", Bucket: "b", AccessKey: "ak", SecretKey: "sk"}},
		endpoints{S3: e.S3, Bucket: e.Bucket, AccessKey: e.AccessKey, SecretKey: e.SecretKey}.into(config.Config{}), "a store by itself")

	none, err := readEndpoints(t.TempDir())
	require.NoError(t, err)
	require.Equal(t, named, none.into(named))
	require.NoError(t, os.WriteFile(endpointsFile(dir), []byte("{"), 0o600))
	_, err = readEndpoints(dir)
	require.ErrorIs(t, err, errUsage)
}
