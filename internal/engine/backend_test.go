package engine_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/engine"
)

func TestOpenPureGo(t *testing.T) {
	b, err := engine.Open(engine.PureGo)
	require.NoError(t, err)
	defer b.Close()
	require.Equal(t, engine.PureGo, b.Name())
	require.Contains(t, b.Describe(), "pure Go")
	require.Empty(t, b.Note())
}

// TestOpenWithoutPlugin: auto falls back and says how to get XLA, a wish for XLA is an error that says so too.
func TestOpenWithoutPlugin(t *testing.T) {
	t.Setenv(engine.PluginVariable, "")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	b, err := engine.Open(engine.Auto)
	require.NoError(t, err)
	defer b.Close()
	require.Equal(t, engine.PureGo, b.Name())
	require.Contains(t, b.Note(), "tools/xla/install.sh")
	require.Contains(t, b.Describe(), b.Note())

	why, faster := b.Advise(engine.Auto)
	require.Contains(t, why, "no XLA plugin at")
	require.NotEmpty(t, faster)
	why, _ = b.Advise(engine.PureGo)
	require.Equal(t, "backend.choice is go", why)

	_, err = engine.Open(engine.XLA)
	require.ErrorIs(t, err, engine.ErrBackend)
	require.ErrorContains(t, err, "tools/xla/install.sh")
}

// TestOpenWithNamedPlugin: a plugin that somebody names is used or refused, never passed over.
func TestOpenWithNamedPlugin(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "plugin.so")
	t.Setenv(engine.PluginVariable, missing)
	for _, choice := range []string{engine.Auto, engine.XLA} {
		_, err := engine.Open(choice)
		require.ErrorIs(t, err, engine.ErrBackend)
		require.ErrorContains(t, err, missing)
	}
}

// TestOpenCUDA: what is missing is said, with what to do about it; a path that go-xla would misread is refused.
func TestOpenCUDA(t *testing.T) {
	if os.Getenv(engine.CUDAPluginVariable) != "" {
		return // somebody runs the tests on a GPU
	}
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	_, err := engine.Open(engine.XLACUDA)
	require.ErrorIs(t, err, engine.ErrBackend)
	require.ErrorContains(t, err, "tools/xla/install-cuda.sh")
	for _, name := range []string{"xla_cuda_plugin.so", "cpu/xla_cuda_plugin.so"} {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, nil, 0o644))
		t.Setenv(engine.CUDAPluginVariable, path)
		_, err = engine.Open(engine.XLACUDA)
		require.ErrorIs(t, err, engine.ErrBackend)
	}
	require.ErrorContains(t, err, `must not contain "cpu"`)
}

func TestOpenUnknownChoice(t *testing.T) {
	_, err := engine.Open("tpu")
	require.ErrorIs(t, err, engine.ErrBackend)
	require.ErrorContains(t, err, `"tpu" is unknown; choose one of auto, xla, xla:cuda, go`)
}
