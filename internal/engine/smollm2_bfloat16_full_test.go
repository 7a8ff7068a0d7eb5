//go:build full

package engine_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/chat"
	"multiattempt/internal/engine"
	"multiattempt/internal/policy"
	"multiattempt/internal/seed"
	"multiattempt/internal/spec"
)

// answer draws so many tokens behind a prompt.
type answer struct {
	greedyRow
	id   uint64
	logp []float32
}

func (a *answer) Uniform() float64 { return seed.Uniform("test/answer", a.id, uint64(len(a.tokens))) }

func (a *answer) Sampled(d policy.Draw) {
	a.greedyRow.Sampled(d)
	a.logp = append(a.logp, d.LogProb)
}

// TestSmolLM2InBFloat16 says what bfloat16 changes in 30 layers: log-probabilities beside those of transformers in float32, the
// greedy answer, and the mismatch of sampler and whole rows, which is what a learner computes.
func TestSmolLM2InBFloat16(t *testing.T) {
	var want struct {
		Rows []struct {
			IDs      []int32
			LogProbs []float32 `json:"log_probs"`
		}
		Dialogues      []struct{ Messages []chat.Message }
		Prompt, Greedy []int32
	}
	template, b, model := openSmolLM2(t, &want)

	got := greedyIn(t, b, model, want.Prompt, len(want.Greedy), spec.ComputeBFloat16)
	same := 0
	for same < len(got) && got[same] == want.Greedy[same] {
		same++
	}
	t.Logf("%d of %d greedy tokens before the first that differs", same, len(got))

	answers := map[spec.Compute][]*answer{}
	for _, c := range []spec.Compute{spec.ComputeFloat32, spec.ComputeBFloat16} {
		s, err := engine.NewSampler(b, model, engine.SamplerOptions{Compute: c})
		require.NoError(t, err)
		var rows []policy.Row
		for i, d := range want.Dialogues {
			prompt, err := template.Opening(d.Messages)
			require.NoError(t, err)
			for sample := range 4 {
				a := &answer{greedyRow: greedyRow{prompt: prompt, count: 48}, id: uint64(4*i + sample)}
				rows, answers[c] = append(rows, a), append(answers[c], a)
			}
		}
		require.NoError(t, s.Sample(t.Context(), rows, policy.Params{Temperature: 1, TopP: 1, MaxLength: 256}, nil))
		s.Close()
	}
	for _, learner := range []spec.Compute{spec.ComputeFloat32, spec.ComputeBFloat16} {
		s, err := engine.NewScorer(b, model, engine.ScorerOptions{Compute: learner})
		require.NoError(t, err)
		for _, row := range want.Rows {
			scored, err := s.LogProbs(t.Context(), [][]int32{row.IDs})
			require.NoError(t, err)
			mean, most := differences(row.LogProbs, scored[0])
			t.Logf("%s beside transformers: %.2g on average, %.2g at most", learner, mean, most)
			require.LessOrEqual(t, mean, 0.15)
		}
		for sampler, rows := range answers {
			var said, heard []float32
			for _, a := range rows {
				scored, err := s.LogProbs(t.Context(), [][]int32{append(append([]int32{}, a.prompt...), a.tokens...)})
				require.NoError(t, err)
				said, heard = append(said, a.logp...), append(heard, scored[0][len(a.prompt)-1:]...)
			}
			mean, most := differences(said, heard)
			t.Logf("sampler %s, learner %s, %d tokens: mismatch %.2g on average, %.2g at most", sampler, learner, len(said), mean, most)
			require.LessOrEqual(t, mean, 0.05, "update.MismatchLimit")
		}
		s.Close()
	}
}

// differences are the mean and the largest difference of two lists.
func differences(a, b []float32) (mean, most float64) {
	for i := range a {
		d := math.Abs(float64(a[i] - b[i]))
		mean, most = mean+d/float64(len(a)), max(most, d)
	}
	return mean, most
}
