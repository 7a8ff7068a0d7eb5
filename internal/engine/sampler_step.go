package engine

import (
	"fmt"

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
		if a, err = newStepArrays(r.sampler.backend, len(r.places), c, r.sampler.model.HeadDim/2); err != nil {
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
	longest := 0
	for i := range r.places {
		longest = max(longest, r.places[i].length)
	}
	memory, size, err := r.cache.memory(longest)
	if err != nil {
		return err
	}
	small, err := a.inputs()
	if err != nil {
		return err
	}
	shape := stepShape{batch: len(r.places), chunk: a.chunk, memory: size, parts: r.cache.parts(), mode: modeOf(r.params)}
	p, err := s.backend.program(s.model.key()+shape.key(), func(g *graph.Graph) []*graph.Node { return s.model.step(g, shape) })
	if err != nil {
		return err
	}
	settings, err := shape.mode.settings(s.backend, r.params, s.model.VocabSize)
	defer free(settings...)
	if err != nil {
		return err
	}
	inputs := append(append(append(append([]compute.Buffer{}, s.weights...), small...), settings...), memory...)
	outputs, err := p.run(inputs)
	if err != nil {
		return err
	}
	defer free(outputs...)
	if err := r.readDraws(outputs); err != nil {
		return err
	}
	return r.cache.add(outputs[3], a.chunk, a.start.flat, a.count.flat)
}

// readDraws copies the drawn tokens from the device.
func (r *run) readDraws(outputs []compute.Buffer) error {
	n := len(r.places)
	var ids []int32
	var numbers [2][]float32
	tokens, err := view(r.sampler.backend, outputs[0], n, &ids)
	if err != nil {
		return fmt.Errorf("read drawn tokens: %w", err)
	}
	var logProbs [2][]float32 // true, sampling
	for i := range logProbs {
		if logProbs[i], err = view(r.sampler.backend, outputs[1+i], n, &numbers[i]); err != nil {
			return fmt.Errorf("read log-probabilities: %w", err)
		}
	}
	r.draws = r.draws[:0]
	for i := range n {
		r.draws = append(r.draws, policy.Draw{Token: tokens[i], LogProb: logProbs[0][i], Sampled: logProbs[1][i]})
	}
	return nil
}

// mode is a way to draw tokens; each has its own graph.
type mode string

const (
	greedy    mode = "greedy"
	plain     mode = "plain"
	truncated mode = "truncated" // top-k or top-p
)

func modeOf(p policy.Params) mode {
	switch {
	case p.Temperature == 0:
		return greedy
	case p.TopP < 1 || p.TopK > 0:
		return truncated
	}
	return plain
}

// settings are the mode's scalar inputs: temperature, then top-k and top-p.
func (m mode) settings(b *Backend, p policy.Params, vocabulary int) ([]compute.Buffer, error) {
	if m == greedy {
		return nil, nil
	}
	temperature, err := upload(b, []float32{float32(p.Temperature)})
	if err != nil || m == plain {
		return []compute.Buffer{temperature}, err
	}
	k := p.TopK
	if k == 0 {
		k = vocabulary
	}
	topK, err := upload(b, []int32{int32(k)})
	if err != nil {
		return []compute.Buffer{temperature}, err
	}
	topP, err := upload(b, []float32{float32(p.TopP)})
	return []compute.Buffer{temperature, topK, topP}, err
}

// stepShape is what a step's graph depends on besides the model.
type stepShape struct {
	batch  int // B
	chunk  int // C
	memory int // S, positions of the cache; 0: every row starts
	parts  int // of the cache
	mode   mode
}

func (s stepShape) key() string {
	return fmt.Sprintf("/step B%d C%d S%d/%d %s", s.batch, s.chunk, s.memory, s.parts, s.mode)
}

// modelShape builds the graphs of one network.
type modelShape struct {
	nn.Config
	transposed bool // weight matrices lie as [in, out]
}

func (m modelShape) key() string { return fmt.Sprintf("%+v", m.Config) }

// step is the graph of a step. Parameters: weights; tokens [B, C], start, count [B] int32; uniform [B], cosines and
// sines [B, 1, C, HeadDim/2] float32; the mode's scalars; keys and values of each layer, [B, KVHeads, S, HeadDim]. Outputs: token, log-probability, sampled
// log-probability [B]; new keys and values [2·layers, B, KVHeads, C, HeadDim].
func (m modelShape) step(g *graph.Graph, s stepShape) []*graph.Node {
	weights := m.bind(g)
	tokens := graph.Parameter(g, "tokens", shapes.Make(dtypes.Int32, s.batch, s.chunk))
	start := graph.Parameter(g, "start", shapes.Make(dtypes.Int32, s.batch))
	count := graph.Parameter(g, "count", shapes.Make(dtypes.Int32, s.batch))
	uniform := graph.Parameter(g, "uniform", shapes.Make(dtypes.Float32, s.batch))
	angles := shapes.Make(dtypes.Float32, s.batch, 1, s.chunk, m.HeadDim/2)
	rotation := nn.Rotation{Cos: graph.Parameter(g, "cos", angles), Sin: graph.Parameter(g, "sin", angles)}
	var scalars []*graph.Node
	for i, t := range map[mode][]dtypes.DType{plain: {dtypes.Float32}, truncated: {dtypes.Float32, dtypes.Int32, dtypes.Float32}}[s.mode] {
		scalars = append(scalars, graph.Parameter(g, fmt.Sprintf("setting%d", i), shapes.Make(t)))
	}
	var memory [][]nn.Memory
	if s.memory > 0 {
		cached := shapes.Make(dtypes.Float32, s.batch/s.parts, m.KVHeads, s.memory, m.HeadDim)
		for l := range m.Layers {
			parts := make([]nn.Memory, s.parts)
			for i := range parts {
				parts[i].Keys = graph.Parameter(g, fmt.Sprintf("keys%d.%d", l, i), cached)
			}
			for i := range parts {
				parts[i].Values = graph.Parameter(g, fmt.Sprintf("values%d.%d", l, i), cached)
			}
			memory = append(memory, parts)
		}
	}
	hidden, fresh := m.Extend(weights, tokens, start, rotation, memory)
	logits := m.Logits(weights, nn.Pick(hidden, graph.SubScalar(count, 1)))
	var d nn.Drawn
	switch s.mode {
	case greedy:
		d = nn.Greedy(logits)
	case plain:
		d = nn.Draw(logits, uniform, scalars[0])
	case truncated:
		d = nn.DrawTruncated(logits, uniform, scalars[0], scalars[1], scalars[2])
	}
	var grown []*graph.Node
	for _, f := range fresh {
		grown = append(grown, f.Keys, f.Values)
	}
	return []*graph.Node{d.Token, d.LogProb, d.Sampled, graph.Stack(grown, 0)}
}
