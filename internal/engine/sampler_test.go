package engine_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/engine"
	"multiattempt/internal/nn"
	"multiattempt/internal/policy"
	"multiattempt/internal/seed"
)

// tinyLlama has grouped queries and a tied head.
var tinyLlama = nn.Config{
	Architecture: nn.Llama, VocabSize: 40, HiddenSize: 32, IntermediateSize: 48, Layers: 2, Heads: 4, KVHeads: 2,
	HeadDim: 8, RMSNormEps: 1e-5, RopeTheta: 10000, TieEmbeddings: true, MaxPositions: 256,
}

// tinyQwen has biases, its own head and a vocabulary that is searched in blocks.
var tinyQwen = nn.Config{
	Architecture: nn.Qwen2, VocabSize: 1000, HiddenSize: 24, IntermediateSize: 40, Layers: 1, Heads: 3, KVHeads: 1,
	HeadDim: 8, RMSNormEps: 1e-6, RopeTheta: 1e6, AttentionBias: true, MaxPositions: 256,
}

// backends opens every backend of this machine: pure Go always, XLA when its plugin is installed, which it must be in CI.
func backends(t *testing.T) map[string]*engine.Backend {
	t.Helper()
	opened := map[string]*engine.Backend{}
	b, err := engine.Open(engine.PureGo)
	require.NoError(t, err)
	opened[engine.PureGo] = b
	b, err = engine.Open(engine.XLA)
	if os.Getenv("CI") == "true" {
		require.NoError(t, err)
	}
	if err == nil {
		opened[engine.XLA] = b
	}
	t.Cleanup(func() {
		for _, b := range opened {
			b.Close()
		}
	})
	return opened
}

// loud returns a random model whose next-token distributions are far from uniform.
func loud(config nn.Config) *engine.Model {
	m := engine.Random(config, 1)
	for _, w := range m.Weights {
		for i := range w {
			w[i] *= 1.5
		}
	}
	return m
}

// talk is a row of several turns: prompt, drawn tokens, forced tokens in between.
type talk struct {
	id     int
	force  [][]int32 // before each turn
	draws  int       // tokens drawn in a turn
	turn   int
	tokens []int32
	logp   []float32 // of drawn tokens, 0 elsewhere
	drawn  []bool
}

// newTalk makes a row of one to four turns with chunks of forced tokens of many lengths.
func newTalk(id, vocabulary int) *talk {
	t := &talk{id: id, draws: 1 + id%5}
	draw := seed.Rand("test/talk", uint64(id))
	for range 1 + id%4 {
		chunk := make([]int32, 1+draw.IntN(20))
		for i := range chunk {
			chunk[i] = int32(draw.IntN(vocabulary))
		}
		t.force = append(t.force, chunk)
	}
	return t
}

func (t *talk) Next() policy.Action {
	drawn := 0
	for _, d := range t.drawn {
		if d {
			drawn++
		}
	}
	if drawn < t.turn*t.draws {
		return policy.Action{}
	}
	if t.turn == len(t.force) {
		return policy.Action{Done: true}
	}
	chunk := t.force[t.turn]
	t.turn++
	t.tokens = append(t.tokens, chunk...)
	t.logp = append(t.logp, make([]float32, len(chunk))...)
	t.drawn = append(t.drawn, make([]bool, len(chunk))...)
	return policy.Action{Force: chunk}
}

func (t *talk) Uniform() float64 {
	return seed.Uniform("test/uniform", uint64(t.id), uint64(len(t.tokens)))
}

func (t *talk) Sampled(d policy.Draw) {
	t.tokens, t.logp, t.drawn = append(t.tokens, d.Token), append(t.logp, d.LogProb), append(t.drawn, true)
}

func talks(n, vocabulary int) ([]*talk, []policy.Row) {
	mine, rows := make([]*talk, n), make([]policy.Row, n)
	for i := range n {
		mine[i] = newTalk(i, vocabulary)
		rows[i] = mine[i]
	}
	return mine, rows
}

var sampling = policy.Params{Temperature: 1, TopP: 1, MaxLength: 128}

// TestSampleMatchesForward draws dialogues of several turns and recomputes every next-token distribution from the whole
// dialogue at once: the token must be the one that the uniform number picks, with the log-probability reported.
func TestSampleMatchesForward(t *testing.T) {
	for name, b := range backends(t) {
		for _, config := range []nn.Config{tinyLlama, tinyQwen} {
			for _, slots := range []int{0, 3} {
				t.Run(fmt.Sprintf("%s %s %d slots", name, config.Architecture, slots), func(t *testing.T) {
					model := loud(config)
					s, err := engine.NewSampler(b, model, engine.SamplerOptions{Slots: slots})
					require.NoError(t, err)
					defer s.Close()
					mine, rows := talks(17, config.VocabSize)
					var finished []int
					require.NoError(t, s.Sample(context.Background(), rows, sampling, func(n int) { finished = append(finished, n) }))
					require.Len(t, finished, len(rows))
					require.True(t, slices.IsSorted(finished))
					for _, row := range mine {
						checkTalk(t, b, model, row)
					}
				})
			}
		}
	}
}

// checkTalk compares a row with the model's logits on the whole of it.
func checkTalk(t *testing.T, b *engine.Backend, model *engine.Model, row *talk) {
	t.Helper()
	logits := engine.ForwardLogits(t, b, model, row.tokens)
	for at, drawn := range row.drawn {
		if !drawn {
			continue
		}
		p, total := distribution(logits[at-1])
		u := seed.Uniform("test/uniform", uint64(row.id), uint64(at))
		token, cumulative := int(row.tokens[at]), 0.0
		for i := range token {
			cumulative += p[i] / total
		}
		require.InDelta(t, math.Log(p[token]/total), row.logp[at], 1e-4)
		require.LessOrEqual(t, cumulative, u+1e-5, "row %d token %d", row.id, at)
		require.Greater(t, cumulative+p[token]/total, u-1e-5, "row %d token %d", row.id, at)
	}
}

// distribution is the unnormalised softmax of logits and its sum.
func distribution(logits []float32) (p []float64, total float64) {
	top := float64(slices.Max(logits))
	for _, x := range logits {
		p = append(p, math.Exp(float64(x)-top))
		total += p[len(p)-1]
	}
	return p, total
}
