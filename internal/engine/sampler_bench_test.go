package engine_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/engine"
	"multiattempt/internal/nn"
	"multiattempt/internal/policy"
)

// BenchmarkSample draws dialogues like those of the quickstart: a prompt of 24 tokens, one to five turns of 8 drawn
// tokens with 5 forced ones between them. Tokens are counted forced and drawn.
func BenchmarkSample(b *testing.B) {
	choice := engine.Auto
	backend, err := engine.Open(choice)
	require.NoError(b, err)
	defer backend.Close()
	for _, size := range []struct{ d, layers, kv int }{{64, 2, 4}, {128, 3, 2}} {
		config := nn.Config{
			Architecture: nn.Llama, VocabSize: 48, HiddenSize: size.d, IntermediateSize: 4 * size.d, Layers: size.layers, Heads: 4,
			KVHeads: size.kv, HeadDim: size.d / 4, RMSNormEps: 1e-5, RopeTheta: 10000, TieEmbeddings: true, MaxPositions: 256,
		}
		for _, shape := range []struct{ rows, slots int }{{128, 0}, {256, 0}, {1024, 256}, {1024, 512}} {
			b.Run(fmt.Sprintf("%s/d%d-l%d-kv%d/rows%d-slots%d", backend.Name(), size.d, size.layers, size.kv, shape.rows, shape.slots), func(b *testing.B) {
				s, err := engine.NewSampler(backend, engine.Random(config, 1), engine.SamplerOptions{Slots: shape.slots})
				require.NoError(b, err)
				defer s.Close()
				tokens := 0
				sample := func() {
					mine, rows := make([]*talk, shape.rows), make([]policy.Row, shape.rows)
					for i := range rows {
						mine[i] = &talk{id: i, draws: 8, force: [][]int32{make([]int32, 24)}}
						for range i % 5 {
							mine[i].force = append(mine[i].force, make([]int32, 5))
						}
						rows[i] = mine[i]
					}
					require.NoError(b, s.Sample(context.Background(), rows, sampling, nil))
					for _, t := range mine {
						tokens += len(t.tokens)
					}
				}
				sample() // compiles
				tokens = 0
				for b.Loop() {
					sample()
				}
				b.ReportMetric(float64(tokens)/b.Elapsed().Seconds(), "tokens/s")
			})
		}
	}
}
