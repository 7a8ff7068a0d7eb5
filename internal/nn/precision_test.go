package nn_test

import (
	"math"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/stretchr/testify/require"

	"multiattempt/internal/nn"
	"multiattempt/internal/spec"
)

// What computing in bfloat16 may change, against PyTorch in float64, on these networks of two layers: log-probabilities by
// 0.1, and all gradients together by 4 % of their norm. bfloat16 has 8 bits of precision: one rounding is up to 0.4 %.
const (
	halfLogProbs  = 0.1
	halfGradients = 0.04
)

// requireHalfGradients compares all gradients together: the norm of the difference with their norm.
func requireHalfGradients(t *testing.T, specs []nn.TensorSpec, want map[string][]float64, got [][]float32) {
	t.Helper()
	var difference, size float64
	for i, s := range specs {
		for j, x := range want[s.Name] {
			difference += math.Pow(x-float64(got[i][j]), 2)
			size += x * x
		}
	}
	require.LessOrEqual(t, math.Sqrt(difference/size), halfGradients)
	t.Logf("gradients differ by %.2g of their norm", math.Sqrt(difference/size))
}

func largest(want []float64, got []float32) float64 {
	var most float64
	for i, x := range want {
		most = max(most, math.Abs(x-float64(got[i])))
	}
	return most
}

func TestBFloat16IsCloseToPyTorch(t *testing.T) {
	for _, name := range []string{"llama_tied", "qwen2_untied", "llama3_rope"} {
		f, c := readFixture(t, name)
		c.Compute = dtypes.BFloat16
		specs := c.Tensors()
		n := len(specs)
		t.Run(name, func(t *testing.T) {
			eachBackend(t, func(t *testing.T, b compute.Backend) {
				out := call(t, b, func(in []*graph.Node) []*graph.Node {
					logProbs, entropy := c.NextTokens(c.Bind(in[:n]), nn.RowsOf(in[n]))
					return []*graph.Node{logProbs, entropy}
				}, f.inputs(specs, f.Weights)...)
				requireClose(t, f.LogProbs, out[0], halfLogProbs)
				requireClose(t, f.Entropy, out[1], halfLogProbs)
				t.Logf("log-probabilities differ by at most %.2g", largest(f.LogProbs, out[0]))
				want, ok := f.PPO[spec.KLK3]
				if !ok || name == "qwen2_untied" { // one network's gradients: they take long to compile
					return
				}
				u := spec.Update{
					Clip: want.Update.Clip, KL: spec.KLInLoss, KLEstimator: spec.KLK3,
					KLCoefficient: want.Update.KLCoefficient, Entropy: want.Update.Entropy,
				}
				scale := shares(want.Mask, want.Importance)
				klScale := make([]float64, len(scale))
				for i, x := range scale {
					klScale[i] = x * want.Update.KLCoefficient
				}
				out = call(t, b, func(in []*graph.Node) []*graph.Node {
					loss, _ := c.PolicyLoss(c.Bind(in[:n]), u, nn.PolicyBatch{
						Rows: nn.RowsOf(in[n]), Mask: in[n+1], Scale: in[n+2], Old: in[n+3], Ref: in[n+4], Advantages: in[n+5],
						KLScale: in[n+6],
					})
					return append(graph.Gradient(loss, in[:n]...), loss)
				}, f.inputs(specs, f.Weights, want.Mask, scale, want.Old, want.Ref, want.Advantages, klScale)...)
				require.InDelta(t, want.Loss, float64(out[n][0]), halfLogProbs)
				requireHalfGradients(t, specs, want.Gradients, out)
			})
		})
	}
}
