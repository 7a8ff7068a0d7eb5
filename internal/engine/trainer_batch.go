package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"multiattempt/internal/nn"
)

// microbatch is a set of rows that go through the network together, padded to one shape.
type microbatch struct {
	rows   []int // indices
	batch  int   // B ≥ len(rows)
	length int   // T, positions with a prediction: one less than the tokens of the longest row, rounded up
}

// plan groups rows of given lengths (tokens) into micro-batches of at most size rows: longest first, so that rows of a
// micro-batch are about equally long. It depends on nothing but its arguments.
func plan(lengths []int, size int) []microbatch {
	order := make([]int, len(lengths))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(lengths[b], lengths[a]) })
	var batches []microbatch
	for rows := range slices.Chunk(order, size) {
		batch := 1
		for batch < len(rows) {
			batch *= 2
		}
		batches = append(batches, microbatch{rows, min(batch, size), bucket(lengths[rows[0]] - 1)})
	}
	return batches
}

// padding is the share of the micro-batches' positions that hold no token of a row.
func padding(batches []microbatch, lengths []int) float64 {
	var used, all int
	for _, m := range batches {
		all += m.batch * m.length
		for _, i := range m.rows {
			used += lengths[i] - 1
		}
	}
	return 1 - float64(used)/float64(all)
}

// bucket rounds a number of positions up to one of few values, so that few programs are compiled: multiples of a
// sixteenth of the next power of two, but at least of 16.
func bucket(positions int) int {
	step := 16
	for 16*step < positions {
		step *= 2
	}
	return max((positions+step-1)/step, 1) * step
}

// tokens lays the rows' tokens out as [B, T+1], padded with 0 on the right.
func (m microbatch) tokens(row func(i int) []int32) []int32 {
	flat := make([]int32, m.batch*(m.length+1))
	for b, i := range m.rows {
		copy(flat[b*(m.length+1):], row(i))
	}
	return flat
}

// planes lays n float inputs out as [n, B, T], where entry t belongs to token t+1; fill writes those of one row: set gives
// plane p the number x for a token, which is not the row's first.
func (m microbatch) planes(n int, fill func(i int, set func(p, token int, x float32))) []float32 {
	flat := make([]float32, n*m.batch*m.length)
	for b, i := range m.rows {
		fill(i, func(p, token int, x float32) { flat[(p*m.batch+b)*m.length+token-1] = x })
	}
	return flat
}

// objective is a loss that a trainer minimises by adding up micro-batches.
type objective struct {
	key    string          // determines the loss
	specs  []nn.TensorSpec // of the weights, which may be those of several networks
	frozen []nn.TensorSpec // of the weights that get no gradient; empty where there are none
	planes int             // float inputs, each [B, T]
	facts  int             // numbers that loss reports of a micro-batch
	// loss builds the scalar loss and [facts] from weights, frozen weights, tokens [B, T+1] and planes [B, T].
	loss func(weights, frozen []*graph.Node, tokens *graph.Node, planes []*graph.Node) (loss, facts *graph.Node)
}

// program compiles one accumulation step: (weights, frozen, sums, tokens, planes) → (sums + gradients, facts).
func (o objective) program(b *Backend, m microbatch) (*program, error) {
	key := fmt.Sprintf("gradient B%d T%d %s", m.batch, m.length, o.key)
	return b.program(key, func(g *graph.Graph) []*graph.Node {
		weights, frozen, sums := parameters(g, "w", o.specs), parameters(g, "f", o.frozen), parameters(g, "s", o.specs)
		tokens := graph.Parameter(g, "tokens", shapes.Make(dtypes.Int32, m.batch, m.length+1))
		stacked := graph.Parameter(g, "planes", shapes.Make(dtypes.Float32, o.planes, m.batch, m.length))
		planes := make([]*graph.Node, o.planes)
		for i := range planes {
			planes[i] = graph.Squeeze(graph.Slice(stacked, graph.AxisElem(i)), 0)
		}
		loss, facts := o.loss(weights, frozen, tokens, planes)
		out := graph.Gradient(loss, weights...)
		for i := range out {
			out[i] = graph.Add(sums[i], out[i])
		}
		return append(out, facts)
	})
}

// input is one micro-batch's arrays on the host.
type input struct {
	tokens []int32
	planes []float32
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
	tokens, err := upload(b, in.tokens, m.batch, m.length+1)
	if err != nil {
		return nil, err
	}
	defer free(tokens)
	planes, err := upload(b, in.planes, o.planes, m.batch, m.length)
	if err != nil {
		return nil, err
	}
	defer free(planes)
	out, err := p.run(append(slices.Concat(weights, sums), tokens, planes))
	if err != nil {
		return nil, fmt.Errorf("gradient of %d rows of %d tokens: %w", m.batch, m.length+1, err)
	}
	return out, nil
}
