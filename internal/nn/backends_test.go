package nn_test

import (
	"os"
	"sync"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/gobackend"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"

	"multiattempt/internal/engine"
)

// newXLA opens an XLA plugin by its path; nil where this build has no XLA.
var newXLA func(config string) (compute.Backend, error)

// eachBackend runs a test in pure Go, on an NVIDIA GPU where there is one with a plugin for it, and on XLA where its plugin is
// installed. Continuous integration must have that. Where somebody names a plugin for the GPU, it takes XLA's place on the CPU.
func eachBackend(t *testing.T, test func(t *testing.T, b compute.Backend)) {
	t.Run("go", func(t *testing.T) {
		b, err := gobackend.New("parallelism=-1")
		require.NoError(t, err)
		defer b.Finalize()
		test(t, b)
	})
	named := os.Getenv(engine.CUDAPluginVariable) != ""
	if named || engine.HasCUDA() {
		t.Run("cuda", func(t *testing.T) { test(t, openCUDA(t)) })
	}
	if named || newXLA == nil {
		return
	}
	plugin := os.Getenv(engine.PluginVariable)
	if plugin == "" {
		var err error
		plugin, err = engine.PluginPath()
		require.NoError(t, err)
	}
	if _, err := os.Stat(plugin); err != nil && os.Getenv("CI") == "" {
		t.Logf("not run on XLA: %v; %s", err, engine.GetXLA)
		return
	}
	t.Run("xla", func(t *testing.T) {
		b, err := newXLA(plugin)
		require.NoError(t, err)
		defer b.Finalize()
		test(t, b)
	})
}

// cuda is opened once: a plugin and its libraries take seconds to load.
var cuda = sync.OnceValues(func() (*engine.Backend, error) { return engine.Open(engine.XLACUDA) })

func openCUDA(t *testing.T) compute.Backend {
	t.Helper()
	b, err := cuda()
	require.NoError(t, err)
	return b.Compute()
}

// call builds a graph of the given inputs, runs it once and returns its outputs.
func call(t *testing.T, b compute.Backend, build func(in []*graph.Node) []*graph.Node, inputs ...*tensors.Tensor) [][]float32 {
	t.Helper()
	exec, err := graph.NewExec(b, build)
	require.NoError(t, err)
	defer exec.Finalize()
	args := make([]any, len(inputs))
	for i, x := range inputs {
		clone, err := x.LocalClone() // tensors stay bound to the first backend that saw them
		require.NoError(t, err)
		args[i] = clone
	}
	out, err := exec.Call(args...)
	require.NoError(t, err)
	flat := make([][]float32, len(out))
	for i, x := range out {
		flat[i], err = tensors.CopyFlatData[float32](x)
		require.NoError(t, err)
	}
	return flat
}
