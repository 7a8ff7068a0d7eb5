package engine

import (
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/stretchr/testify/require"
)

// A worker outlives its runs, whose programs differ: those unused for longest go, and can be run to the end by whoever has
// them.
func TestProgramsKeptAreBounded(t *testing.T) {
	b, err := openGo()
	require.NoError(t, err)
	t.Cleanup(b.Close)
	b.programs.kept = 2
	double := func(key string) *program {
		p, err := b.program(key, func(g *graph.Graph) []*graph.Node {
			x := graph.Parameter(g, "x", shapes.Make(dtypes.Float32, 1))
			return []*graph.Node{graph.Add(x, x)}
		})
		require.NoError(t, err)
		return p
	}
	run := func(p *program) {
		x, err := upload(b, []float32{21}, 1)
		require.NoError(t, err)
		out, err := p.run([]compute.Buffer{x})
		require.NoError(t, err)
		var flat [1]float32
		require.NoError(t, out[0].ToFlatData(flat[:]))
		require.Equal(t, [1]float32{42}, flat)
		free(x, out[0])
	}
	first, second := double("first"), double("second")
	run(first)
	run(second)
	double("first") // used again
	double("third")
	require.Len(t, b.programs.compiled, 2)
	require.NotContains(t, b.programs.compiled, "second")
	require.Equal(t, 3, b.Compilations().Count)
	require.NotContains(t, b.paces.usual, "second", "it would be compiled before it runs again, which takes longer")
	require.Contains(t, b.paces.usual, "first")
	run(second)
	run(double("second"))
	require.Equal(t, 4, b.Compilations().Count)
	require.NotContains(t, b.programs.compiled, "first")
}
