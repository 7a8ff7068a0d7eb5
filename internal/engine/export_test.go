package engine

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/stretchr/testify/require"

	"multiattempt/internal/nn"
)

// Unshare makes the backend behave like a device with its own memory.
func Unshare(b *Backend) { b.shared = false }

// maxTestLength is the one length for which ForwardLogits compiles.
const maxTestLength = 128

// ForwardLogits runs the whole-row forward pass: logits [T][V].
func ForwardLogits(t *testing.T, b *Backend, m *Model, tokens []int32) [][]float32 {
	t.Helper()
	require.LessOrEqual(t, len(tokens), maxTestLength)
	specs, length := m.Config.Tensors(), maxTestLength
	p, err := b.program(fmt.Sprintf("%+v/test T%d", m.Config, length), func(g *graph.Graph) []*graph.Node {
		nodes := make([]*graph.Node, len(specs))
		for i, s := range specs {
			nodes[i] = graph.Parameter(g, fmt.Sprintf("w%d", i), shapes.Make(dtypes.Float32, s.Shape...))
		}
		w := nn.Bind(specs, nodes)
		rows := nn.RowsOf(graph.Parameter(g, "tokens", shapes.Make(dtypes.Int32, 1, length+1)))
		return []*graph.Node{m.Config.Logits(w, m.Config.Forward(w, rows))}
	})
	require.NoError(t, err)
	var inputs []compute.Buffer
	for i, s := range specs {
		buffer, err := upload(b, m.Weights[i], s.Shape...)
		require.NoError(t, err)
		inputs = append(inputs, buffer)
	}
	padded := append(append([]int32{}, tokens...), make([]int32, length+1-len(tokens))...)
	buffer, err := upload(b, padded, 1, length+1)
	require.NoError(t, err)
	inputs = append(inputs, buffer)
	outputs, err := p.run(inputs)
	require.NoError(t, err)
	flat := make([]float32, length*m.Config.VocabSize)
	require.NoError(t, outputs[0].ToFlatData(flat))
	free(append(inputs, outputs...)...)
	rows := make([][]float32, len(tokens))
	for i := range rows {
		rows[i] = flat[i*m.Config.VocabSize:][:m.Config.VocabSize]
	}
	return rows
}

// Compiled says whether a program whose key contains the text has been compiled.
func Compiled(b *Backend, text string) bool { return CountPrograms(b, text) > 0 }

// CountPrograms counts the programs whose key contains the text.
func CountPrograms(b *Backend, text string) (n int) {
	b.programs.mu.Lock()
	defer b.programs.mu.Unlock()
	for key := range b.programs.compiled {
		if strings.Contains(key, text) {
			n++
		}
	}
	return n
}

// CacheSize is cacheSize.
var CacheSize = cacheSize

// Bucket is bucket.
var Bucket = bucket

// CacheBytesPerRow is the key-value cache of one row.
func CacheBytesPerRow(config nn.Config, size int) int64 {
	return modelShape{Config: config}.cacheBytes(1, size)
}
