package engine

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/spec"
	"multiattempt/presets"
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

// TestPresetsOfShortDialoguesWasteLittle: the presets' own minibatches, with the lengths of the built-in model's dialogues.
func TestPresetsOfShortDialoguesWasteLittle(t *testing.T) {
	// How many of 512 dialogues of the quickstart's first iteration had so many tokens.
	often := map[int]int{
		20: 96, 22: 75, 24: 68, 30: 36, 32: 41, 34: 36, 40: 22, 42: 36, 44: 25, 50: 15, 52: 14, 54: 16, 60: 5, 62: 13, 64: 14,
	}
	var all []int
	for _, length := range slices.Sorted(maps.Keys(often)) {
		all = append(all, slices.Repeat([]int{length}, often[length])...)
	}
	random := rand.New(rand.NewPCG(1, 1))
	for _, name := range []string{"quickstart", "quickstart-small"} {
		t.Run(name, func(t *testing.T) {
			run, err := spec.Resolve([]byte(`{"preset":"`+name+`"}`), presets.Train())
			require.NoError(t, err)
			var share float64
			const minibatches = 20
			for range minibatches {
				lengths := make([]int, run.Update.Minibatch)
				for i := range lengths {
					lengths[i] = all[random.IntN(len(all))]
				}
				batches := plan(lengths, run.Update.Microbatch)
				requirePlaced(t, batches, lengths)
				share += padding(batches, lengths) / minibatches
			}
			t.Logf("%.1f %% of the positions are padding", 100*share)
			require.Less(t, share, 0.1)
		})
	}
}

// requirePlaced: every row lies whole in packed sequences, none over another, and counts its own positions.
func requirePlaced(t *testing.T, batches []microbatch, lengths []int) {
	t.Helper()
	seen := map[int]bool{}
	for _, m := range batches {
		flat, _ := m.inputs(func(i int) []int32 { return numbered(i, lengths[i]) })
		size := m.batch * m.length
		for r, i := range m.rows {
			require.False(t, seen[i], "row %d twice", i)
			seen[i] = true
			at, row := m.entry(r, 1), numbered(i, lengths[i])
			require.Equal(t, row[:lengths[i]-1], flat[at:][:lengths[i]-1])
			require.Equal(t, row[1:], flat[size+at:][:lengths[i]-1])
			require.EqualValues(t, 0, flat[2*size+at])
			require.EqualValues(t, lengths[i]-2, flat[2*size+at+lengths[i]-2])
		}
	}
	require.Len(t, seen, len(lengths))
}

// numbered are tokens that no other row has.
func numbered(row, length int) []int32 {
	tokens := make([]int32, length)
	for t := range tokens {
		tokens[t] = int32(1000*row + t)
	}
	return tokens
}
