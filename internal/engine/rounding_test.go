package engine_test

import (
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/engine"
)

// Numbers are rounded to the nearest of the type, ties to even, as PyTorch's conversions do.
func TestWeightsAreRoundedToTheNearest(t *testing.T) {
	ulp := func(n int) float32 { return float32(1 + float64(n)/1024) } // around 1: bfloat16 has steps of 8/1024, float16 of 1/1024
	half := float32(1.0 / 2048)
	for dtype, c := range map[string]struct{ from, want []float32 }{
		"F32":  {[]float32{ulp(1) + half, -0, 3e38}, []float32{ulp(1) + half, -0, 3e38}},
		"BF16": {[]float32{ulp(3), ulp(4), ulp(5), ulp(12), -ulp(13), 1e38}, []float32{1, 1, ulp(8), ulp(16), -ulp(16), 9.96921e37}},
		"F16":  {[]float32{ulp(1) + half, ulp(2) + half, 65504, 1e-8, -6e-8}, []float32{ulp(2), ulp(2), 65504, 0, -5.9604645e-08}},
	} {
		path := filepath.Join(t.TempDir(), "w.safetensors")
		shape := []int{len(c.from)}
		require.NoError(t, engine.WriteTensorsAs(path, dtype, []engine.Tensor{{Name: "w", Shape: shape, Data: c.from}}))
		f, err := engine.OpenTensors(path)
		require.NoError(t, err)
		got, err := f.Read("w", shape)
		require.NoError(t, err)
		require.Equal(t, c.want, got, dtype)
		require.NoError(t, f.Close())
	}
	for dtype, x := range map[string]float32{"F16": 65520, "BF16": math.MaxFloat32} {
		err := engine.WriteTensorsAs(filepath.Join(t.TempDir(), "w"), dtype, []engine.Tensor{{Name: "w", Shape: []int{1}, Data: []float32{x}}})
		require.ErrorIs(t, err, engine.ErrTensor, dtype)
		require.ErrorContains(t, err, "range of "+dtype)
	}
	require.ErrorIs(t, engine.WriteTensorsAs(filepath.Join(t.TempDir(), "w"), "I8", nil), engine.ErrTensor)
}
