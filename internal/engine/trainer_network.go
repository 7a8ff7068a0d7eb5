package engine

import (
	"fmt"
	"math"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"multiattempt/internal/nn"
	"multiattempt/internal/spec"
)

// network is one set of trained weights with its Adam state. Everything stays on the device between steps.
type network struct {
	backend *Backend
	role    string // prefix of its tensors in state files
	inState bool   // its weights are kept in the state file: they have no model folder
	lora    spec.LoRA
	specs   []nn.TensorSpec
	weights []compute.Buffer // in the order of specs, as are the moments
	first   []compute.Buffer // Adam's moments
	second  []compute.Buffer
	steps   int // Adam steps taken
}

// newNetwork puts weights on the device, with moments of zero.
func newNetwork(b *Backend, role string, specs []nn.TensorSpec, weights [][]float32) (n *network, err error) {
	n = &network{backend: b, role: role, specs: specs}
	defer func() {
		if err != nil {
			n.free()
		}
	}()
	if n.weights, err = uploadAll(b, specs, weights); err != nil {
		return nil, err
	}
	if n.first, err = zeros(b, specs); err != nil {
		return nil, err
	}
	n.second, err = zeros(b, specs)
	return n, err
}

// bind names the network's trained nodes; with adapters, beside the nodes of the frozen base.
func (n *network) bind(trained []*graph.Node, base nn.Weights) nn.Weights {
	if !n.lora.Enabled() {
		return nn.Bind(n.specs, trained)
	}
	return nn.BindAdapters(base, n.lora, n.specs, trained)
}

// apply makes one Adam step with gradients whose global norm is norm. On an error the network is as it was.
func (n *network) apply(o spec.Optimizer, rate, norm float64, gradients []compute.Buffer) error {
	count := len(n.specs)
	key := fmt.Sprintf("adam β1 %g β2 %g %v", o.Beta1, o.Beta2, n.specs)
	adam, err := n.backend.program(key, func(g *graph.Graph) []*graph.Node {
		w, m, v := parameters(g, "w", n.specs), parameters(g, "m", n.specs), parameters(g, "v", n.specs)
		gradients := parameters(g, "g", n.specs)
		rates := graph.Parameter(g, "rates", shapes.Make(dtypes.Float32, nn.AdamRates))
		w, m, v = nn.Adam(o.Beta1, o.Beta2, rates, w, m, v, gradients)
		return slices.Concat(w, m, v)
	})
	if err != nil {
		return err
	}
	rates, err := upload(n.backend, adamRates(o, rate, norm, n.steps+1), nn.AdamRates)
	if err != nil {
		return err
	}
	defer free(rates)
	out, err := adam.run(append(slices.Concat(n.weights, n.first, n.second, gradients), rates))
	if err != nil {
		return fmt.Errorf("adam: %w", err)
	}
	n.free()
	n.weights, n.first, n.second = out[:count], out[count:2*count], out[2*count:]
	n.steps++
	return nil
}

// adamRates are the numbers of Adam's step t, in the order that nn.Adam wants.
func adamRates(o spec.Optimizer, rate, norm float64, t int) []float32 {
	rates := make([]float32, nn.AdamRates)
	rates[nn.RateGradient] = 1
	if o.ClipNorm > 0 && norm > o.ClipNorm {
		rates[nn.RateGradient] = float32(o.ClipNorm / norm)
	}
	rates[nn.RateStep] = float32(rate / (1 - math.Pow(o.Beta1, float64(t))))
	rates[nn.RateRoot] = float32(1 / math.Sqrt(1-math.Pow(o.Beta2, float64(t))))
	rates[nn.RateEpsilon] = float32(o.Epsilon)
	return rates
}

// norms returns the global norm of each list of gradients.
func norms(b *Backend, lists ...gradientList) ([]float64, error) {
	key := "norms"
	var inputs []compute.Buffer
	for _, l := range lists {
		key += fmt.Sprintf(" %v", l.specs)
		inputs = append(inputs, l.buffers...)
	}
	p, err := b.program(key, func(g *graph.Graph) []*graph.Node {
		var out []*graph.Node
		for i, l := range lists {
			out = append(out, nn.SquaredNorm(parameters(g, fmt.Sprintf("g%d_", i), l.specs)))
		}
		return []*graph.Node{graph.Stack(out, 0)}
	})
	if err != nil {
		return nil, err
	}
	out, err := p.run(inputs)
	if err != nil {
		return nil, fmt.Errorf("gradient norms: %w", err)
	}
	defer free(out...)
	squares := make([]float32, len(lists))
	if err := out[0].ToFlatData(squares); err != nil {
		return nil, fmt.Errorf("gradient norms: %w", err)
	}
	result := make([]float64, len(lists))
	for i, s := range squares {
		result[i] = math.Sqrt(float64(s))
	}
	return result, nil
}

// gradientList are the gradients of one network on the device.
type gradientList struct {
	specs   []nn.TensorSpec
	buffers []compute.Buffer
}

func (n *network) free() {
	if n == nil {
		return
	}
	free(n.weights...)
	free(n.first...)
	free(n.second...)
	n.weights, n.first, n.second = nil, nil, nil
}

// parameters makes one float32 graph parameter for each weight.
func parameters(g *graph.Graph, prefix string, specs []nn.TensorSpec) []*graph.Node {
	nodes := make([]*graph.Node, len(specs))
	for i, s := range specs {
		nodes[i] = graph.Parameter(g, fmt.Sprintf("%s%d", prefix, i), shapes.Make(dtypes.Float32, s.Shape...))
	}
	return nodes
}

// uploadAll puts arrays on the device, in the order of specs.
func uploadAll(b *Backend, specs []nn.TensorSpec, flat [][]float32) ([]compute.Buffer, error) {
	if len(flat) != len(specs) {
		return nil, fmt.Errorf("%w: network has %d weights, got %d", ErrTensor, len(specs), len(flat))
	}
	buffers := make([]compute.Buffer, len(specs))
	for i, s := range specs {
		if len(flat[i]) != elements(s.Shape) {
			free(buffers...)
			return nil, fmt.Errorf("%w %s: shape %v, %d numbers", ErrTensor, s.Name, s.Shape, len(flat[i]))
		}
		var err error
		if buffers[i], err = upload(b, flat[i], s.Shape...); err != nil {
			free(buffers...)
			return nil, fmt.Errorf("upload %s: %w", s.Name, err)
		}
	}
	return buffers, nil
}

// zeros makes an array of zeros on the device for each weight.
func zeros(b *Backend, specs []nn.TensorSpec) ([]compute.Buffer, error) {
	p, err := b.program(fmt.Sprintf("zeros %v", specs), func(g *graph.Graph) []*graph.Node {
		nodes := make([]*graph.Node, len(specs))
		for i, s := range specs {
			nodes[i] = graph.Zeros(g, shapes.Make(dtypes.Float32, s.Shape...))
		}
		return nodes
	})
	if err != nil {
		return nil, err
	}
	return p.run(nil)
}

// downloadAll copies arrays from the device.
func downloadAll(specs []nn.TensorSpec, buffers []compute.Buffer) ([][]float32, error) {
	flat := make([][]float32, len(specs))
	for i, s := range specs {
		flat[i] = make([]float32, elements(s.Shape))
		if err := buffers[i].ToFlatData(flat[i]); err != nil {
			return nil, fmt.Errorf("download %s: %w", s.Name, err)
		}
	}
	return flat, nil
}

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}
