package engine_test

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/engine"
	"multiattempt/internal/rollout"
)

// TestSamplerAgreesWithTrainer: the log-probabilities recorded while sampling are those that the learner works out from
// the whole dialogue, within 1e-4 on average.
func TestSamplerAgreesWithTrainer(t *testing.T) {
	for name, b := range backends(t) {
		for _, config := range networks(name) {
			t.Run(fmt.Sprintf("%s %s", name, config.Architecture), func(t *testing.T) {
				model := loud(config)
				s, err := engine.NewSampler(b, model, fewSlots)
				require.NoError(t, err)
				defer s.Close()
				mine, rows := talks(16, config.VocabSize)
				require.NoError(t, s.Sample(context.Background(), rows, sampling, nil))
				episodes := make([]rollout.Episode, len(mine))
				for i, row := range mine {
					episodes[i] = rollout.Episode{ProblemID: fmt.Sprint(i), Tokens: row.tokens, Mask: row.drawn, LogProbs: row.logp}
				}
				learner := newTrainer(t, trainerOptions(b, modelFolder(t, model)))
				scores, err := learner.Score(context.Background(), episodes, nil)
				require.NoError(t, err)
				sum, n := 0.0, 0.0
				for i, row := range mine {
					for at, drawn := range row.drawn {
						if drawn {
							sum += math.Abs(float64(scores[i].Old[at] - row.logp[at]))
							n++
						}
					}
				}
				require.Greater(t, n, 30.0)
				require.LessOrEqual(t, sum/n, 1e-4)
			})
		}
	}
}
