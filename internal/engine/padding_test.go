package engine

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPaddingStaysBelowATenth: minibatches of the default size, with lengths like those of dialogues of several attempts.
func TestPaddingStaysBelowATenth(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for name, length := range map[string]func() int{
		"uniform up to 4096":     func() int { return 200 + random.IntN(3897) },
		"uniform up to 1024":     func() int { return 100 + random.IntN(925) },
		"one to five attempts":   func() int { return 150 + (1+random.IntN(5))*(250+random.IntN(100)) },
		"most are at the budget": func() int { return min(3100, 1000+random.IntN(8000)) },
	} {
		t.Run(name, func(t *testing.T) {
			var share float64
			const minibatches = 20
			for range minibatches {
				lengths := make([]int, 128)
				for i := range lengths {
					lengths[i] = length()
				}
				batches := plan(lengths, 8)
				rows := 0
				for _, m := range batches {
					rows += len(m.rows)
					for _, i := range m.rows {
						require.LessOrEqual(t, lengths[i]-1, m.length)
					}
				}
				require.Equal(t, len(lengths), rows)
				share += padding(batches, lengths) / minibatches
			}
			t.Logf("%.1f %% of the positions are padding", 100*share)
			require.Less(t, share, 0.1)
		})
	}
}
