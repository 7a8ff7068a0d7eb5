package worker

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAWorkerThatComesBackTakesItsOldPlace(t *testing.T) {
	cache := t.TempDir()
	first, err := claim(cache)
	require.NoError(t, err)
	second, err := claim(cache)
	require.NoError(t, err)
	require.NotEqual(t, first.dir, second.dir)
	require.NotEqual(t, first.name, second.name)

	require.NoError(t, first.release())
	again, err := claim(cache)
	require.NoError(t, err)
	require.Equal(t, first.dir, again.dir)
	require.Equal(t, first.name, again.name, "hence the same queue")
	require.NoError(t, again.release())
	require.NoError(t, second.release())
}
