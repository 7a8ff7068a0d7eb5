package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/graph"

	"multiattempt/internal/nn"
	"multiattempt/internal/spec"
)

// Scorer says how probable a model finds given tokens. It may be used by several goroutines at once.
type Scorer struct {
	backend *Backend
	model   modelShape
	weights []compute.Buffer // on the device, in the order of Config.Tensors
	options ScorerOptions
}

// ScorerMemory is what scoring takes on the device at most, in bytes.
type ScorerMemory struct {
	Rows    int   // scored together
	Length  int   // tokens of the longest of them
	Weights int64 // in the type that is computed in
	Step    int64 // what one layer computes, and logits, estimated
}

// Total is the sum of all parts.
func (m ScorerMemory) Total() int64 { return m.Weights + m.Step }

func (m ScorerMemory) String() string {
	return fmt.Sprintf("%.1f GB (weights %.1f, activations of %d rows of %d tokens %.1f)",
		gigabytes(m.Total()), gigabytes(m.Weights), m.Rows, m.Length, gigabytes(m.Step))
}

// ScorerOptions size a scorer. The zero value is a good choice.
type ScorerOptions struct {
	// Compute is the type of activations and of weight matrices; empty is float32. Norms, softmax and logits are float32 in any
	// case.
	Compute spec.Compute
	// MaxBytes is what rows and weights may take on the device; 0 is no limit. More is refused, with ErrMemory, before anything
	// is compiled for it.
	MaxBytes int64
}

// PlanScorer says what it takes to score so many rows of so many tokens together.
func PlanScorer(config nn.Config, rows, length int, o ScorerOptions) ScorerMemory {
	m := shapeIn(config, o.Compute)
	return ScorerMemory{Rows: rows, Length: length, Weights: m.weightBytes(), Step: m.ScoringBytes(rows, bucket(length-1))}
}

// NewScorer copies the model's weights to the device. The caller closes the scorer.
func NewScorer(backend *Backend, model *Model, o ScorerOptions) (*Scorer, error) {
	s := &Scorer{backend: backend, model: shapeIn(backend.Forward(model.Config), o.Compute), options: o}
	var err error
	if s.weights, err = s.model.uploadWeights(backend, model.Weights); err != nil {
		return nil, fmt.Errorf("scorer: %w", err)
	}
	return s, nil
}

// Close frees the device's memory.
func (s *Scorer) Close() {
	free(s.weights...)
	s.weights = nil
}

// scoredAtOnce bounds the positions of one batch of rows, padding included.
const scoredAtOnce = 2048

// Check refuses, as ErrRow, a row that LogProbs cannot take: empty, longer than the model's context, or with ids that the
// vocabulary lacks.
func (s *Scorer) Check(row []int32) error {
	switch {
	case len(row) == 0:
		return fmt.Errorf("%w: it is empty; expected 1 to %d tokens", ErrRow, s.model.MaxPositions)
	case len(row) > s.model.MaxPositions:
		return fmt.Errorf("%w: expected at most %d tokens (max_position_embeddings), found %d", ErrRow, s.model.MaxPositions, len(row))
	}
	for t, id := range row {
		if id < 0 || int(id) >= s.model.VocabSize {
			return fmt.Errorf("%w: token %d: expected an id below %d (vocab_size), found %d", ErrRow, t, s.model.VocabSize, id)
		}
	}
	return nil
}

// LogProbs returns, for each row of T tokens, T−1 natural logarithms: entry t is log p(row[t+1] | row[..t]). What comes
// out for a row depends on nothing but the row and the shape of its batch.
func (s *Scorer) LogProbs(ctx context.Context, rows [][]int32) ([][]float32, error) {
	for i, row := range rows {
		if err := s.Check(row); err != nil {
			return nil, fmt.Errorf("row %d: %w", i, err)
		}
	}
	out := make([][]float32, len(rows))
	for _, m := range s.batches(rows) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		flat, err := s.score(m, func(i int) []int32 { return rows[i] })
		if err != nil {
			return nil, err
		}
		for r, i := range m.rows {
			out[i] = slices.Clone(flat[r*m.length:][:len(rows[i])-1])
		}
	}
	return out, nil
}

// batches groups rows of about equal length, the longest first, into few shapes of at most scoredAtOnce positions.
func (s *Scorer) batches(rows [][]int32) []microbatch {
	var list []microbatch
	order := plan(lengthsOf(rows), 1)
	for len(order) > 0 {
		length := order[0].length
		batch := 1
		for 2*batch*length <= scoredAtOnce && batch < len(order) {
			batch *= 2
		}
		m := microbatch{batch: batch, length: length}
		for b, one := range order[:min(batch, len(order))] {
			m.rows, m.slots = append(m.rows, one.rows...), append(m.slots, slot{b, 0})
		}
		list, order = append(list, m), order[len(m.rows):]
	}
	return list
}

func lengthsOf(rows [][]int32) []int {
	n := make([]int, len(rows))
	for i, row := range rows {
		n[i] = len(row)
	}
	return n
}

// score returns the micro-batch's log-probabilities, [B, T].
func (s *Scorer) score(m microbatch, row func(i int) []int32) ([]float32, error) {
	c, most := s.model.Config, s.options.MaxBytes
	if plan := PlanScorer(c, m.batch, m.length+1, s.options); most > 0 && plan.Total() > most {
		return nil, fmt.Errorf("%w: scoring takes %v, the device has %.1f GB", ErrMemory, plan, gigabytes(most))
	}
	key := fmt.Sprintf("logprobs %s %+v", m.shape(), c)
	p, err := s.backend.program(key, func(g *graph.Graph) []*graph.Node {
		logProbs, _ := c.NextTokens(s.model.bind(g), m.parameter(g))
		return []*graph.Node{logProbs}
	})
	if err != nil {
		return nil, err
	}
	buffer, err := m.upload(s.backend, row)
	if err != nil {
		return nil, err
	}
	defer free(buffer)
	out, err := p.run(append(slices.Clip(s.weights), buffer))
	if err != nil {
		return nil, err
	}
	defer free(out...)
	flat := make([]float32, m.batch*m.length)
	return flat, out[0].ToFlatData(flat)
}
