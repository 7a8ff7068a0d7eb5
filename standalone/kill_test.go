package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
	"multiattempt/internal/checkpoint"
)

// TestKilledRunEndsAsIfNothingHappened kills the only process twice in the middle of a run and interrupts it once. The
// final checkpoint is, byte for byte, that of a run that nobody disturbed.
func TestKilledRunEndsAsIfNothingHappened(t *testing.T) {
	train := []string{"train", "--preset", "tiny", "--run", "killed", "--set", "iterations=14", "--set", "checkpoint.every=4"}

	calm := newInstallation(t)
	p := calm.start(t, train...)
	require.Zero(t, p.wait(t), "%s", &p.out)
	key, want := p.checkpoint(t)
	requireExports(t, calm, "killed")

	rough := newInstallation(t)
	for _, step := range []int{2, 6} { // before the first full checkpoint, and between two
		p = rough.start(t, train...)
		p.untilStep(t, rough, "killed", step)
		p.kill()
	}
	p = rough.start(t, train...)
	p.untilStep(t, rough, "killed", 9)
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.Equal(t, 4, p.wait(t), "an interrupted command: %s", &p.out)
	require.Contains(t, p.out.String(), "nothing is lost")
	p = rough.start(t, train...)
	require.Zero(t, p.wait(t), "%s", &p.out)
	require.Contains(t, p.out.String(), "under way already")

	gotKey, got := p.checkpoint(t)
	require.Equal(t, key, gotKey)
	require.Equal(t, want, got)
	requireSameCheckpoint(t, calm, rough, key)
}

// requireExports names files as people do, below the working directory, and finds them there: the services that a command
// starts for itself move the directory of the process.
func requireExports(t *testing.T, in installation, run string) {
	t.Helper()
	for _, args := range [][]string{
		{"export-metrics", run, "--csv", "exported/metrics.csv", "--parquet", "metrics.parquet", "--tensorboard", "events"},
		{"export", run, "exported/policy"},
	} {
		p := in.start(t, args...)
		require.Zero(t, p.wait(t), "%s", &p.out)
	}
	for _, file := range []string{"exported/metrics.csv", "metrics.parquet", "events/" + run, "exported/policy/model.safetensors"} {
		_, err := os.Stat(filepath.Join(filepath.Dir(in.state), file))
		require.NoError(t, err)
	}
}

// requireSameCheckpoint compares the files of a checkpoint as they lie in the two object stores.
func requireSameCheckpoint(t *testing.T, a, b installation, key string) {
	t.Helper()
	text := object(t, a, key)
	require.Equal(t, text, object(t, b, key))
	var m checkpoint.Manifest
	require.NoError(t, json.Unmarshal(text, &m))
	require.NotEmpty(t, m.Files)
	for _, f := range m.Files {
		bytes := object(t, a, f.Ref.Key)
		require.Equal(t, f.Ref.SHA256, blob.Sum(bytes), f.Name)
		require.Equal(t, bytes, object(t, b, f.Ref.Key), f.Name)
	}
}

// object reads an object's file.
func object(t *testing.T, in installation, key string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(in.state, "objects", "multiattempt", key))
	require.NoError(t, err)
	return b
}
