package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/gomlx/compute"

	"multiattempt/internal/policy"
)

// ErrSampling: rows or parameters that a sampler cannot serve, or a model whose logits are not finite.
var ErrSampling = errors.New("cannot sample")

// SamplerOptions size a sampler. The zero value is a good choice.
type SamplerOptions struct {
	// Slots is the number of rows decoded together, rounded up to a power of two; further rows take the places of those
	// that end. 0 chooses: at most 256, and a key-value cache of at most 4 GiB.
	Slots int
}

// Sampler draws dialogues from one set of weights. It may be used by several goroutines at once. It implements
// policy.Sampler.
type Sampler struct {
	backend *Backend
	model   modelShape
	weights []compute.Buffer // on the device, in the order of Config.Tensors
	options SamplerOptions

	mu       sync.Mutex
	cos, sin []float32 // of positions 0, 1, …, as far as they were needed: [position, HeadDim/2]
}

var _ policy.Sampler = (*Sampler)(nil)

// NewSampler copies the model's weights to the device. The caller closes the sampler.
func NewSampler(backend *Backend, model *Model, options SamplerOptions) (*Sampler, error) {
	s := &Sampler{backend: backend, model: modelShape{model.Config, backend.name != PureGo}, options: options}
	var err error
	s.weights, err = s.model.uploadWeights(backend, model.Weights)
	return s, err
}

// rotation returns cosines and sines of the positions below length, [length or more, HeadDim/2] each.
func (s *Sampler) rotation(length int) (cos, sin []float32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.cos) < length*s.model.HeadDim/2 {
		s.cos, s.sin = s.model.RotationTable(length)
	}
	return s.cos, s.sin
}

// Close frees the device's memory.
func (s *Sampler) Close() {
	free(s.weights...)
	s.weights = nil
}

// Limits of automatic sizing.
const (
	maxSlots      = 256
	maxCacheBytes = 4 << 30
)

// slots is the number of rows to decode together when there are n: a power of two, so that few programs are compiled.
func (s *Sampler) slots(n, maxLength int) int {
	if s.options.Slots > 0 {
		return batchSize(min(n, s.options.Slots))
	}
	size := batchSize(min(n, maxSlots))
	for size > 1 && s.model.cacheBytes(size, cacheSize(maxLength)) > maxCacheBytes {
		size /= 2
	}
	return size
}

// Sample drives every row to its end, as policy.Sampler says. Rows are served in order: the first ones start at once,
// each later one when a place is free, so that what a row holds never depends on chance.
func (s *Sampler) Sample(ctx context.Context, rows []policy.Row, p policy.Params, finished func(done int)) error {
	if err := s.check(p); err != nil {
		return err
	}
	if len(rows) == 0 {
		return nil
	}
	r, err := newRun(s, rows, p, finished)
	if err != nil {
		return err
	}
	defer r.free()
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("sampling stopped with %d of %d rows done: %w", r.done, len(rows), err)
		}
		if err := r.admit(); err != nil {
			return err
		}
		if r.done == len(rows) {
			return nil
		}
		if err := r.step(); err != nil {
			return err
		}
	}
}

// check refuses parameters outside their range.
func (s *Sampler) check(p policy.Params) error {
	limit := s.model.MaxPositions
	switch {
	case !(p.Temperature >= 0) || math.IsInf(p.Temperature, 0):
		return fmt.Errorf("%w: temperature is %g, must be 0 (greedy) or positive", ErrSampling, p.Temperature)
	case !(p.TopP > 0 && p.TopP <= 1):
		return fmt.Errorf("%w: top_p is %g, must be in (0, 1]", ErrSampling, p.TopP)
	case p.TopK < 0:
		return fmt.Errorf("%w: top_k is %d, must be 0 (off) or positive", ErrSampling, p.TopK)
	case p.MaxLength < 1 || p.MaxLength > limit:
		return fmt.Errorf("%w: rows of up to %d tokens, must be 1 to %d (the model's max_position_embeddings)", ErrSampling, p.MaxLength, limit)
	}
	return nil
}
