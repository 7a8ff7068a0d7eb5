package engine

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"multiattempt/internal/nn"
	"multiattempt/internal/policy"
)

// stepArrays are the small inputs of a step that feeds up to C tokens to each of B rows.
type stepArrays struct {
	chunk   int
	tokens  *array[int32]   // [B, C], padded on the right
	start   *array[int32]   // [B] positions already in the cache
	count   *array[int32]   // [B] tokens fed to the row, at least 1 in the graph's eyes
	uniform *array[float32] // [B]
	cos     *array[float32] // [B, 1, C, HeadDim/2] of the tokens' positions
	sin     *array[float32]
}

func newStepArrays(b *Backend, batch, chunk, half int) (*stepArrays, error) {
	a := &stepArrays{chunk: chunk}
	var err error
	if a.tokens, err = newArray[int32](b, batch, chunk); err != nil {
		return nil, err
	}
	if a.start, err = newArray[int32](b, batch); err == nil {
		a.count, err = newArray[int32](b, batch)
	}
	if err == nil {
		a.uniform, err = newArray[float32](b, batch)
	}
	if err == nil {
		a.cos, err = newArray[float32](b, batch, 1, chunk, half)
	}
	if err == nil {
		a.sin, err = newArray[float32](b, batch, 1, chunk, half)
	}
	if err != nil {
		a.free()
		return nil, err
	}
	return a, nil
}

func (a *stepArrays) free() {
	a.tokens.free()
	a.start.free()
	a.count.free()
	a.uniform.free()
	a.cos.free()
	a.sin.free()
}

// inputs are the arrays' buffers in the order of the step's parameters.
func (a *stepArrays) inputs() ([]compute.Buffer, error) {
	all := []func() (compute.Buffer, error){a.tokens.input, a.start.input, a.count.input, a.uniform.input, a.cos.input, a.sin.input}
	buffers := make([]compute.Buffer, len(all))
	var err error
	for i, input := range all {
		if buffers[i], err = input(); err != nil {
			return nil, err
		}
	}
	return buffers, nil
}

// fill writes the next step's inputs: up to c pending tokens of each place. Free places feed nothing that anybody sees.
func (r *run) fill(c int) (*stepArrays, error) {
	a := r.arrays[c]
	if a == nil {
		var err error
		if a, err = newStepArrays(r.backend, len(r.places), c, r.sampler.model.HeadDim/2); err != nil {
			return nil, err
		}
		r.arrays[c] = a
	}
	clear(a.tokens.flat)
	half := r.sampler.model.HeadDim / 2
	for i := range r.places {
		p := &r.places[i]
		a.start.flat[i], a.count.flat[i], a.uniform.flat[i] = int32(p.length), 1, 0
		if p.row < 0 {
			continue
		}
		n := copy(a.tokens.flat[i*c:(i+1)*c], p.pending)
		copy(a.cos.flat[i*c*half:][:n*half], r.cos[p.length*half:])
		copy(a.sin.flat[i*c*half:][:n*half], r.sin[p.length*half:])
		a.count.flat[i] = int32(n)
		if n == len(p.pending) {
			a.uniform.flat[i] = float32(r.rows[p.row].Uniform())
		}
	}
	return a, nil
}

// execute runs one step: it appends to the cache and fills draws, whose entries mean something for places without
// pending tokens.
func (r *run) execute(a *stepArrays) error {
	s := r.sampler
	memory, size := r.cache.memory()
	small, err := a.inputs()
	if err != nil {
		return err
	}
	banned, forbidden, err := r.banned()
	if err != nil {
		return err
	}
	shape := stepShape{batch: len(r.places), chunk: a.chunk, memory: size, mode: modeOf(r.params, forbidden)}
	p, err := r.backend.program(s.model.key()+shape.key(), func(g *graph.Graph) []*graph.Node { return s.model.step(g, shape) })
	if err != nil {
		return err
	}
	inputs := slices.Concat(r.weights, small, memory, banned, r.settings)
	outputs, err := p.run(inputs)
	if err != nil {
		return err
	}
	defer free(outputs...)
	if err := r.readDraws(outputs); err != nil {
		return err
	}
	r.steps++
	return r.cache.add(outputs[3], a.chunk, a.start.flat, a.count.flat)
}

// banned uploads the tokens that each row may not repeat, [B, N], and returns N, which is 0 when none can be.
func (r *run) banned() ([]compute.Buffer, int, error) {
	if r.params.NoRepeat == 0 {
		return nil, 0, nil
	}
	rows, most := make([][]int32, len(r.places)), leastBanned
	for i := range r.places {
		rows[i] = repeats(r.places[i].tokens, r.params.NoRepeat, nil)
		slices.Sort(rows[i])
		rows[i] = slices.Compact(rows[i])
		most = max(most, batchSize(len(rows[i])))
	}
	flat := make([]int32, len(rows)*most)
	for i := range flat {
		flat[i] = -1
	}
	for i, row := range rows {
		copy(flat[i*most:], row)
	}
	free(r.forbidden...)
	buffer, err := upload(r.backend, flat, len(rows), most)
	r.forbidden = []compute.Buffer{buffer}
	return r.forbidden, most, err
}

// readDraws copies the drawn tokens from the device.
func (r *run) readDraws(outputs []compute.Buffer) error {
	n := len(r.places)
	var ids []int32
	var numbers [2][]float32
	tokens, err := view(r.backend, outputs[0], n, &ids)
	if err != nil {
		return fmt.Errorf("read drawn tokens: %w", err)
	}
	var logProbs [2][]float32 // true, sampling
	for i := range logProbs {
		if logProbs[i], err = view(r.backend, outputs[1+i], n, &numbers[i]); err != nil {
			return fmt.Errorf("read log-probabilities: %w", err)
		}
	}
	r.draws = r.draws[:0]
	for i := range n {
		r.draws = append(r.draws, policy.Draw{Token: tokens[i], LogProb: logProbs[0][i], Sampled: logProbs[1][i]})
	}
	return nil
}

// stepShape is what a step's graph depends on besides the model.
type stepShape struct {
	batch  int // B
	chunk  int // C
	memory int // S, positions of the cache
	mode   mode
}

func (s stepShape) key() string {
	return fmt.Sprintf("/step B%d C%d S%d %s", s.batch, s.chunk, s.memory, s.mode.key())
}

// modelShape builds the graphs of one network.
type modelShape struct {
	nn.Config
	transposed bool // weight matrices lie as [in, out]
}

func (m modelShape) key() string { return fmt.Sprintf("%+v", m.Config) }

// drawRows draws a token for each row from its last hidden state, last [B, D]. A single row is drawn twice, for the reason
// that leastChunk gives.
func (m modelShape) drawRows(weights nn.Weights, last, uniform, banned *graph.Node, s stepShape) nn.Drawn {
	if m.leastChunk(s.batch) == 1 {
		return s.mode.draw(m.Logits(weights, last), uniform, banned)
	}
	twice := func(x *graph.Node) *graph.Node {
		if x == nil {
			return nil
		}
		return graph.Concatenate([]*graph.Node{x, x}, 0)
	}
	d := s.mode.draw(m.Logits(weights, twice(last)), twice(uniform), twice(banned))
	first := func(x *graph.Node) *graph.Node { return graph.SliceAxis(x, 0, graph.AxisRange(0, 1)) }
	return nn.Drawn{Token: first(d.Token), LogProb: first(d.LogProb), Sampled: first(d.Sampled)}
}

// step is the graph of a step. Parameters: weights; tokens [B, C], start, count [B] int32; uniform [B], cosines and sines
// [B, 1, C, HeadDim/2] float32; keys and values of each layer, [B, KVHeads, S, HeadDim] in the network's type; tokens banned [B, N] int32, where
// the mode has any; the mode's scalars. Outputs: token, log-probability, sampled log-probability [B]; new keys and values
// [2·layers, B, KVHeads, C, HeadDim].
func (m modelShape) step(g *graph.Graph, s stepShape) []*graph.Node {
	weights := m.bind(g)
	tokens := graph.Parameter(g, "tokens", shapes.Make(dtypes.Int32, s.batch, s.chunk))
	start := graph.Parameter(g, "start", shapes.Make(dtypes.Int32, s.batch))
	count := graph.Parameter(g, "count", shapes.Make(dtypes.Int32, s.batch))
	uniform := graph.Parameter(g, "uniform", shapes.Make(dtypes.Float32, s.batch))
	angles := shapes.Make(dtypes.Float32, s.batch, 1, s.chunk, m.HeadDim/2)
	rotation := nn.Rotation{Cos: graph.Parameter(g, "cos", angles), Sin: graph.Parameter(g, "sin", angles)}
	cached := shapes.Make(m.ComputeType(), s.batch, m.KVHeads, s.memory, m.HeadDim)
	memory := make([]nn.Memory, m.Layers)
	for l := range memory {
		memory[l].Keys = graph.Parameter(g, fmt.Sprintf("keys%d", l), cached)
		memory[l].Values = graph.Parameter(g, fmt.Sprintf("values%d", l), cached)
	}
	hidden, fresh := m.Extend(weights, tokens, start, rotation, memory)
	last := nn.Pick(hidden, graph.SubScalar(count, 1))
	var banned *graph.Node
	if s.mode.banned > 0 {
		banned = graph.Parameter(g, "banned", shapes.Make(dtypes.Int32, s.batch, s.mode.banned))
	}
	d := m.drawRows(weights, last, uniform, banned, s)
	var grown []*graph.Node
	for _, f := range fresh {
		grown = append(grown, f.Keys, f.Values)
	}
	return []*graph.Node{d.Token, d.LogProb, d.Sampled, graph.Stack(grown, 0)}
}
