package engine

import (
	"fmt"
	"sync"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/dtypes/bfloat16"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"multiattempt/internal/nn"
	"multiattempt/internal/spec"
)

// Weights of a sampler lie on the device as XLA's products want them: matrices transposed, [in, out]. XLA's library for
// CPUs rearranges [out, in] matrices anew at every call, which for a few rows costs more than the product itself.
// GoMLX's own backend transposes for real, so it gets them as they are. What is computed in bfloat16 is rounded on its way,
// once for each policy: to the same numbers to which the learner rounds its float32 weights in each step.

// weightShape is the shape of a weight on the device.
func (m modelShape) weightShape(s nn.TensorSpec) []int {
	if m.transposed && len(s.Shape) == 2 {
		return []int{s.Shape[1], s.Shape[0]}
	}
	return s.Shape
}

// uploadWeights copies the weights to the device, in the order of Config.Tensors.
func (m modelShape) uploadWeights(b *Backend, weights [][]float32) ([]compute.Buffer, error) {
	specs := m.Tensors()
	buffers := make([]compute.Buffer, len(specs))
	for i, s := range specs {
		var err error
		if buffers[i], err = m.uploadWeight(b, s, weights[i]); err != nil {
			free(buffers...)
			return nil, fmt.Errorf("copy %s to the device: %w", s.Name, err)
		}
	}
	return buffers, nil
}

func (m modelShape) uploadWeight(b *Backend, s nn.TensorSpec, flat []float32) (compute.Buffer, error) {
	if m.ComputeType() == dtypes.Float32 || len(s.Shape) != 2 {
		return uploadTurned(m, b, s, flat)
	}
	half := rounded(flat)
	if m.StoredType(s) == dtypes.BFloat16 {
		return uploadTurned(m, b, s, half)
	}
	wide := make([]float32, len(half))
	for i, x := range half {
		wide[i] = x.Float32()
	}
	return uploadTurned(m, b, s, wide)
}

// Forward is the network as it is run forward on the backend, and as plans of memory must know it; nil is a device that nobody
// knows. XLA's plugin for CPUs widens what it multiplies to float32, in every run and all matrices at once: it gets them wide, and
// takes no longer than in float32 (measured).
func (b *Backend) Forward(config nn.Config) nn.Config {
	config.Wide = b != nil && b.name == XLA
	return config
}

// shapeIn is a network that is run forward, computed in a type; Backend.Forward has been told of it, or nobody knows the device.
func shapeIn(config nn.Config, c spec.Compute) modelShape {
	config.Compute = computeType(c)
	config.Wide = config.Wide && config.Compute != dtypes.Float32
	return modelShape{Config: config}
}

// uploadTurned copies a weight to the device as it lies there.
func uploadTurned[T float32 | bfloat16.BFloat16](m modelShape, b *Backend, s nn.TensorSpec, flat []T) (compute.Buffer, error) {
	shape := m.weightShape(s)
	if !m.transposed || len(s.Shape) != 2 {
		return upload(b, flat, shape...)
	}
	if b.shared {
		buffer, turned, err := b.compute.NewSharedBuffer(b.device, shapes.Make(dtypes.FromGenericsType[T](), shape...))
		if err == nil {
			transpose(turned.([]T), flat, s.Shape[0], s.Shape[1])
		}
		return buffer, err
	}
	turned := make([]T, len(flat))
	transpose(turned, flat, s.Shape[0], s.Shape[1])
	return upload(b, turned, shape...)
}

// rounded are the numbers in bfloat16, ties to even, as devices round; computed on two processors.
func rounded(flat []float32) []bfloat16.BFloat16 {
	half := make([]bfloat16.BFloat16, len(flat))
	part := func(low, high int) {
		for i, x := range flat[low:high] {
			half[low+i] = bfloat16.FromFloat32(x)
		}
	}
	middle := len(flat) / 2
	var group sync.WaitGroup
	group.Go(func() { part(0, middle) })
	part(middle, len(flat))
	group.Wait()
	return half
}

// transpose writes from [rows, columns] into to [columns, rows], in square tiles that fit the processor's first cache,
// on two processors.
func transpose[T any](to, from []T, rows, columns int) {
	const tile = 32
	part := func(low, high int) {
		for r0 := low; r0 < high; r0 += tile {
			r1 := min(r0+tile, high)
			for c0 := 0; c0 < columns; c0 += tile {
				for c := c0; c < min(c0+tile, columns); c++ {
					line := to[c*rows : c*rows+r1]
					for r := r0; r < r1; r++ {
						line[r] = from[r*columns+c]
					}
				}
			}
		}
	}
	if len(from) < 1<<16 {
		part(0, rows)
		return
	}
	var group sync.WaitGroup
	half := (rows/2 + tile - 1) / tile * tile
	group.Go(func() { part(0, half) })
	part(half, rows)
	group.Wait()
}

// bind makes the parameters of the weights. A matrix that lies transposed is turned back in the graph: XLA folds that
// into the product.
func (m modelShape) bind(g *graph.Graph) nn.Weights {
	specs := m.Tensors()
	nodes := make([]*graph.Node, len(specs))
	var columns *graph.Node
	for i, s := range specs {
		nodes[i] = graph.Parameter(g, fmt.Sprintf("w%d", i), shapes.Make(m.StoredType(s), m.weightShape(s)...))
		if m.transposed && len(s.Shape) == 2 {
			if s.Name == nn.EmbedTokens {
				columns = nodes[i]
			}
			nodes[i] = graph.Transpose(nodes[i], 0, 1)
		}
	}
	w := nn.Bind(specs, nodes)
	if columns != nil {
		w[nn.EmbedColumns] = columns
	}
	return w
}
