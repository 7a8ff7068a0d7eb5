package nn_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"

	"multiattempt/internal/nn"
	"multiattempt/internal/spec"
)

// fixture is what testdata/make_fixtures.py wrote: PyTorch's numbers in float64. Arrays are [B, T] unless they belong to
// weights.
type fixture struct {
	Config    json.RawMessage `json:"config"`
	Batch     int             `json:"batch"`
	Length    int             `json:"length"`
	Tokens    []int32         `json:"tokens"` // [B, T+1]
	Weights   map[string][]float64
	LogProbs  []float64 `json:"log_probs"`
	Entropy   []float64
	Imitation lossFixture
	PPO       map[spec.KLEstimator]lossFixture
	Value     lossFixture
}

type lossFixture struct {
	Update struct {
		Clip          float64 `json:"clip"`
		ValueClip     float64 `json:"value_clip"`
		KLCoefficient float64 `json:"kl_coefficient"`
		Entropy       float64 `json:"entropy"`
	} `json:"update"`
	Loss       float64
	Mask       []float64
	Importance []float64
	Old        []float64
	Ref        []float64
	Advantages []float64
	Returns    []float64
	Head       []float64
	Values     []float64
	Gradients  map[string][]float64

	Surrogate    float64
	KL           float64
	EntropySum   float64 `json:"entropy"`
	Clipped      float64
	ApproxKL     float64 `json:"approx_kl"`
	LargestRatio float64 `json:"ratio_max"`
}

func readFixture(t *testing.T, name string) (fixture, nn.Config) {
	t.Helper()
	var f fixture
	readJSON(t, name, &f)
	c, err := nn.ParseConfig(f.Config)
	require.NoError(t, err)
	return f, c
}

func readJSON(t *testing.T, name string, to any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, to))
}

func tensor(x []float64, dims ...int) *tensors.Tensor {
	flat := make([]float32, len(x))
	for i := range x {
		flat[i] = float32(x[i])
	}
	return tensors.FromFlatDataAndDimensions(flat, dims...)
}

// inputs are the weights in the order of specs, then the tokens, then planes [B, T].
func (f fixture) inputs(specs []nn.TensorSpec, weights map[string][]float64, planes ...[]float64) []*tensors.Tensor {
	var in []*tensors.Tensor
	for _, s := range specs {
		in = append(in, tensor(weights[s.Name], s.Shape...))
	}
	in = append(in, tensors.FromFlatDataAndDimensions(f.Tokens, f.Batch, f.Length+1))
	for _, p := range planes {
		in = append(in, tensor(p, f.Batch, f.Length))
	}
	return in
}

// requireGradients compares each tensor's gradient: within 1e-3 of its norm (the norm of the difference).
func requireGradients(t *testing.T, specs []nn.TensorSpec, want map[string][]float64, got [][]float32) {
	t.Helper()
	require.Len(t, want, len(specs))
	for i, s := range specs {
		var difference, size float64
		require.Len(t, got[i], len(want[s.Name]), s.Name)
		for j, x := range want[s.Name] {
			difference += math.Pow(x-float64(got[i][j]), 2)
			size += x * x
		}
		require.LessOrEqual(t, math.Sqrt(difference), 1e-3*math.Sqrt(size)+1e-7, "gradient of %s", s.Name)
	}
}

func requireClose(t *testing.T, want []float64, got []float32, tolerance float64) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		require.InDelta(t, want[i], float64(got[i]), tolerance, "element %d", i)
	}
}

func TestForwardAgreesWithTransformers(t *testing.T) {
	for _, name := range []string{"llama_tied", "qwen2_untied", "llama3_rope", "linear_rope", "yarn_rope"} {
		t.Run(name, func(t *testing.T) {
			f, c := readFixture(t, name)
			specs := c.Tensors()
			require.Len(t, f.Weights, len(specs))
			eachBackend(t, func(t *testing.T, b compute.Backend) {
				out := call(t, b, func(in []*graph.Node) []*graph.Node {
					logProbs, entropy := c.NextTokens(c.Bind(in[:len(specs)]), nn.RowsOf(in[len(specs)]))
					return []*graph.Node{logProbs, entropy}
				}, f.inputs(specs, f.Weights)...)
				requireClose(t, f.LogProbs, out[0], 2e-4)
				requireClose(t, f.Entropy, out[1], 2e-4)
			})
		})
	}
}

func TestImitationLossAgreesWithPyTorch(t *testing.T) {
	for _, name := range []string{"llama_tied", "qwen2_untied"} {
		t.Run(name, func(t *testing.T) {
			f, c := readFixture(t, name)
			specs := c.Tensors()
			eachBackend(t, func(t *testing.T, b compute.Backend) {
				out := call(t, b, func(in []*graph.Node) []*graph.Node {
					w, tokens, scale := in[:len(specs)], in[len(specs)], in[len(specs)+1]
					loss := c.ImitationLoss(c.Bind(w), nn.RowsOf(tokens), scale)
					return append(graph.Gradient(loss, w...), loss)
				}, f.inputs(specs, f.Weights, shares(f.Imitation.Mask, nil))...)
				requireClose(t, []float64{f.Imitation.Loss}, out[len(specs)], 1e-4)
				requireGradients(t, specs, f.Imitation.Gradients, out)
			})
		})
	}
}

// shares are the mask's shares of a mean over masked-in tokens, times importance weights when there are any.
func shares(mask, importance []float64) []float64 {
	var sum float64
	for _, m := range mask {
		sum += m
	}
	scale := make([]float64, len(mask))
	for i, m := range mask {
		scale[i] = m / sum
		if importance != nil {
			scale[i] *= importance[i]
		}
	}
	return scale
}

func TestPolicyLossAgreesWithPyTorch(t *testing.T) {
	for _, name := range []string{"llama_tied", "qwen2_untied"} {
		f, c := readFixture(t, name)
		specs := c.Tensors()
		for estimator, want := range f.PPO {
			t.Run(name+"/"+string(estimator), func(t *testing.T) {
				u := spec.Update{
					Clip: want.Update.Clip, KL: spec.KLInLoss, KLEstimator: estimator,
					Entropy: want.Update.Entropy,
				}
				scale := shares(want.Mask, want.Importance)
				klScale := make([]float64, len(scale))
				for i, x := range scale {
					klScale[i] = x * want.Update.KLCoefficient
				}
				n := len(specs)
				eachBackend(t, func(t *testing.T, b compute.Backend) {
					out := call(t, b, func(in []*graph.Node) []*graph.Node {
						loss, facts := c.PolicyLoss(c.Bind(in[:n]), u, nn.PolicyBatch{
							Rows: nn.RowsOf(in[n]), Mask: in[n+1], Scale: in[n+2], Old: in[n+3], Ref: in[n+4], Advantages: in[n+5],
							KLScale: in[n+6],
						})
						return append(graph.Gradient(loss, in[:n]...), loss, facts)
					}, f.inputs(specs, f.Weights, want.Mask, scale, want.Old, want.Ref, want.Advantages, klScale)...)
					requireClose(t, []float64{want.Loss}, out[n], 1e-4)
					facts := make([]float64, nn.PolicyFacts)
					facts[nn.FactSurrogate], facts[nn.FactKL], facts[nn.FactEntropy] = want.Surrogate, want.KL, want.EntropySum
					facts[nn.FactClipped], facts[nn.FactApproxKL], facts[nn.FactRatioMax] = want.Clipped, want.ApproxKL, want.LargestRatio
					requireClose(t, facts, out[n+1], 1e-3)
					requireGradients(t, specs, want.Gradients, out)
				})
			})
		}
	}
}

func TestValueLossAgreesWithPyTorch(t *testing.T) {
	for _, name := range []string{"llama_tied", "qwen2_untied"} {
		t.Run(name, func(t *testing.T) {
			f, c := readFixture(t, name)
			specs, want := c.CriticTensors(), f.Value
			weights := map[string][]float64{nn.ValueHead: want.Head}
			for n, w := range f.Weights {
				weights[n] = w
			}
			n := len(specs)
			eachBackend(t, func(t *testing.T, b compute.Backend) {
				out := call(t, b, func(in []*graph.Node) []*graph.Node {
					w := nn.Bind(specs, in[:n])
					loss := c.ValueLoss(w, spec.Update{ValueClip: 0.2}, nn.ValueBatch{
						Rows: nn.RowsOf(in[n]), Scale: in[n+1], Returns: in[n+2], Old: in[n+3],
					})
					values := c.Values(w, nn.RowsOf(in[n]))
					return append(graph.Gradient(loss, in[:n]...), loss, values)
				}, f.inputs(specs, weights, shares(want.Mask, nil), want.Returns, want.Old)...)
				requireClose(t, []float64{want.Loss}, out[n], 1e-4)
				requireClose(t, want.Values, out[n+1], 2e-4)
				requireGradients(t, specs, want.Gradients, out)
			})
		})
	}
}

func TestAdamAgreesWithPyTorch(t *testing.T) {
	var f struct {
		Start  [][]float64
		Shapes [][]int
		Steps  []struct {
			Gradients [][]float64
			Norm      float64
			Rate      float64
			Weights   [][]float64
		}
	}
	readJSON(t, "adam", &f)
	n := len(f.Start)
	eachBackend(t, func(t *testing.T, b compute.Backend) {
		state := make([][]float64, 3*n) // weights, first moments, second moments
		for j := range state {
			state[j] = make([]float64, len(f.Start[j%n]))
			if j < n {
				copy(state[j], f.Start[j])
			}
		}
		for i, s := range f.Steps {
			rates := make([]float64, nn.AdamRates)
			rates[nn.RateGradient] = min(1, 1/s.Norm)
			rates[nn.RateStep] = s.Rate / (1 - math.Pow(0.9, float64(i+1)))
			rates[nn.RateRoot] = 1 / math.Sqrt(1-math.Pow(0.95, float64(i+1)))
			rates[nn.RateEpsilon] = 1e-8
			var in []*tensors.Tensor
			for j, x := range append(append([][]float64{}, state...), s.Gradients...) {
				in = append(in, tensor(x, f.Shapes[j%n]...))
			}
			out := call(t, b, func(in []*graph.Node) []*graph.Node {
				w, m, v := nn.Adam(0.9, 0.95, in[4*n], in[:n], in[n:2*n], in[2*n:3*n], in[3*n:4*n])
				return append(append(append(w, m...), v...), graph.Sqrt(nn.SquaredNorm(in[3*n:4*n])))
			}, append(in, tensor(rates, nn.AdamRates))...)
			for j := range n {
				requireClose(t, s.Weights[j], out[j], 1e-5)
			}
			require.InEpsilon(t, s.Norm, float64(out[3*n][0]), 1e-5)
			for j := range state {
				for k := range state[j] {
					state[j][k] = float64(out[j][k])
				}
			}
		}
	})
}
