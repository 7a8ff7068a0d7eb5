package experience_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/experience"
)

func TestKeptRoundTrip(t *testing.T) {
	row := experience.Row{
		Mask: []bool{false, true, false, true, true},
		Old:  []float32{9, -0.5, 9, -1e-8, -20}, Ref: []float32{9, -0.25, 9, -2, -3},
		Values: []float32{9, 0.1, 9, -1, 0}, Advantages: []float32{0, 1.5, 0, -70000, 6e-8},
	}
	all := []experience.Kept{experience.Keep(row), {}, {After: []float32{-1, float32(math.Inf(-1))}}}
	b, err := experience.EncodeKept(all)
	require.NoError(t, err)
	back, err := experience.DecodeKept(b)
	require.NoError(t, err)
	require.Len(t, back, 3)
	require.Equal(t, []float32{-0.5, float32(math.Copysign(0, -1)), -20}, back[0].Old, "below the smallest half is 0")
	require.InDelta(t, 0.1, back[0].Values[0], 1e-4, "three digits")
	require.True(t, math.IsInf(float64(back[0].Advantages[1]), -1), "beyond the largest half")
	require.InDelta(t, 6e-8, back[0].Advantages[2], 1e-9, "subnormal")
	require.Equal(t, experience.Kept{}, back[1])
	require.Equal(t, all[2], back[2])

	again, err := experience.EncodeKept(back)
	require.NoError(t, err)
	require.Equal(t, b, again, "halves are exact in halves")
}

func TestDecodeKeptRefuses(t *testing.T) {
	whole, err := experience.EncodeKept([]experience.Kept{{Old: []float32{1, 2, 3}}})
	require.NoError(t, err)
	for name, b := range map[string][]byte{"nothing": nil, "half": whole[:len(whole)/2], "text": []byte("text")} {
		_, err := experience.DecodeKept(b)
		require.Error(t, err, name)
	}
}
