package engine_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/engine"
	"multiattempt/internal/experience"
	"multiattempt/internal/nn"
	"multiattempt/internal/policy"
	"multiattempt/internal/rollout"
)

// small is a network for which a thousand steps take a second.
var small = nn.Config{
	Architecture: nn.Llama, VocabSize: 40, HiddenSize: 8, IntermediateSize: 8, Layers: 1, Heads: 1, KVHeads: 1, HeadDim: 8,
	RMSNormEps: 1e-5, RopeTheta: 10000, TieEmbeddings: true, MaxPositions: 1024,
}

// mixedTalk is a row with a prompt of 60 to 140 tokens and one to five attempts of 40 to 160, each followed by a feedback of
// 12: at most 1,000 tokens.
func mixedTalk(id int, random *rand.Rand) *talk {
	t := &talk{id: id, draws: 40 + random.IntN(121)}
	for turn := range 1 + random.IntN(5) {
		n := 12
		if turn == 0 {
			n = 60 + random.IntN(81)
		}
		t.force = append(t.force, make([]int32, n))
	}
	return t
}

// TestProgramsOfAMixedRun counts what docs/sampling.md and docs/training.md say is compiled for dialogues of all lengths below
// 1,024 tokens: two iterations of 16 of them, in micro-batches of 4.
func TestProgramsOfAMixedRun(t *testing.T) {
	b, err := engine.Open(engine.PureGo)
	require.NoError(t, err)
	defer b.Close()
	model, random := loud(small), rand.New(rand.NewPCG(7, 7))
	s, err := engine.NewSampler(b, model, engine.SamplerOptions{Slots: 8})
	require.NoError(t, err)
	defer s.Close()
	o := trainerOptions(b, modelFolder(t, engine.Random(small, 1)))
	o.Update.Microbatch = 4
	learner := newTrainer(t, o)
	for range 2 {
		var mine []*talk
		var rows []policy.Row
		for id := range 16 {
			row := mixedTalk(id, random)
			mine, rows = append(mine, row), append(rows, row)
		}
		require.NoError(t, s.Sample(t.Context(), rows, policy.Params{Temperature: 1, TopP: 1, MaxLength: 1024}, nil))
		episodes := make([]rollout.Episode, len(mine))
		for i, m := range mine {
			episodes[i] = rollout.Episode{Tokens: m.tokens, Mask: m.drawn, LogProbs: m.logp}
		}
		scores, err := learner.Score(t.Context(), episodes, nil)
		require.NoError(t, err)
		experienced := make([]experience.Row, len(episodes))
		for i, e := range episodes {
			zeros := make([]float32, len(e.Tokens))
			experienced[i] = experience.Row{
				Tokens: e.Tokens, Mask: e.Mask, Old: scores[i].Old, Ref: scores[i].Ref, Values: scores[i].Values, Advantages: zeros, Returns: zeros,
			}
		}
		for _, minibatch := range [][]experience.Row{experienced[:8], experienced[8:]} {
			_, err := learner.Step(t.Context(), minibatch, rates)
			require.NoError(t, err)
		}
	}
	sampled, scored, learned := engine.CountPrograms(b, "/step"), engine.CountPrograms(b, "score B"), engine.CountPrograms(b, "gradient B")
	t.Logf("sampler %d (one token %d), score %d, gradient %d, in all %d", sampled, engine.CountPrograms(b, " C1 "), scored, learned, b.Compilations().Count)
	require.LessOrEqual(t, engine.CountPrograms(b, " C1 "), 7)
	require.LessOrEqual(t, sampled, 13)
	require.LessOrEqual(t, scored, 7)
	require.LessOrEqual(t, learned, 5)
	require.LessOrEqual(t, b.Compilations().Count, 31, "and norms, Adam, zeros")
}

// TestLengthsOfMicrobatches: as many as docs/training.md says.
func TestLengthsOfMicrobatches(t *testing.T) {
	for longest, want := range map[int]int{256: 16, 512: 24, 1024: 32, 2048: 40, 4096: 48} {
		lengths := map[int]bool{}
		for n := 1; n <= longest; n++ {
			lengths[engine.Bucket(n)] = true
		}
		require.Len(t, lengths, want)
	}
}
