package engine_test

import (
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

func TestOpenUnknownChoice(t *testing.T) {
	_, err := engine.Open("tpu")
	require.ErrorIs(t, err, engine.ErrBackend)
	require.ErrorContains(t, err, `"tpu" is unknown; choose one of auto, xla, xla:cuda, go`)
}
