package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"multiattempt/internal/nn"
)

// objective is a loss that a trainer minimises by adding up micro-batches.
type objective struct {
	key    string          // determines the loss
	specs  []nn.TensorSpec // of the weights, which may be those of several networks
	frozen []nn.TensorSpec // of the weights that get no gradient; empty where there are none
	planes int             // float inputs, each [B, T]
	facts  int             // numbers that loss reports of a micro-batch
	// loss builds the scalar loss and [facts] from weights, frozen weights, rows and planes [B, T].
	loss func(weights, frozen []*graph.Node, rows nn.Rows, planes []*graph.Node) (loss, facts *graph.Node)
}

// program compiles one accumulation step: (weights, frozen, sums, rows, planes) → (sums + gradients, facts).
func (o objective) program(b *Backend, m microbatch) (*program, error) {
	key := fmt.Sprintf("gradient %s %s", m.shape(), o.key)
	return b.program(key, func(g *graph.Graph) []*graph.Node {
		weights, frozen, sums := parameters(g, "w", o.specs), parameters(g, "f", o.frozen), parameters(g, "s", o.specs)
		rows := m.parameter(g)
		stacked := graph.Parameter(g, "planes", shapes.Make(dtypes.Float32, o.planes, m.batch, m.length))
		planes := make([]*graph.Node, o.planes)
		for i := range planes {
			planes[i] = graph.Squeeze(graph.Slice(stacked, graph.AxisElem(i)), 0)
		}
		loss, facts := o.loss(weights, frozen, rows, planes)
		out := graph.Gradient(loss, weights...)
		for i := range out {
			out[i] = graph.Add(sums[i], out[i])
		}
		return append(out, facts)
	})
}

// input is one micro-batch's arrays on the host.
type input struct {
	row    func(i int) []int32 // tokens
	planes []float32           // [planes, B, T]
}

// accumulate adds up the gradients of all micro-batches. It returns them on the device, for the caller to free, and each
// micro-batch's facts. frozen is passed over where the loss has no frozen weights.
func (o objective) accumulate(
	ctx context.Context, b *Backend, weights, frozen []compute.Buffer, batches []microbatch, load func(m microbatch) input,
) (gradients []compute.Buffer, facts [][]float32, err error) {
	sums, err := zeros(b, o.specs)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			free(sums...)
		}
	}()
	weights = slices.Concat(weights, frozen[:len(o.frozen)])
	for _, m := range batches {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		out, err := o.runOne(b, weights, sums, m, load(m))
		if err != nil {
			return nil, nil, err
		}
		free(sums...)
		sums = out[:len(out)-1]
		fact := make([]float32, o.facts)
		err = out[len(out)-1].ToFlatData(fact)
		free(out[len(out)-1])
		if err != nil {
			return nil, nil, fmt.Errorf("facts of a micro-batch: %w", err)
		}
		facts = append(facts, fact)
	}
	return sums, facts, nil
}

func (o objective) runOne(b *Backend, weights, sums []compute.Buffer, m microbatch, in input) ([]compute.Buffer, error) {
	p, err := o.program(b, m)
	if err != nil {
		return nil, err
	}
	rows, err := m.upload(b, in.row)
	if err != nil {
		return nil, err
	}
	defer free(rows)
	planes, err := upload(b, in.planes, o.planes, m.batch, m.length)
	if err != nil {
		return nil, err
	}
	defer free(planes)
	out, err := p.run(append(slices.Concat(weights, sums), rows, planes))
	if err != nil {
		return nil, fmt.Errorf("gradient of %d rows of %d tokens: %w", m.batch, m.length+1, err)
	}
	return out, nil
}
