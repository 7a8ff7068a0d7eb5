package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/gomlx/compute"

	"multiattempt/internal/policy"
	"multiattempt/internal/spec"
)

// ErrSampling: rows or parameters that a sampler cannot serve, or a model whose logits are not finite.
var ErrSampling = errors.New("cannot sample")

// SamplerOptions size a sampler. The zero value is a good choice.
type SamplerOptions struct {
	// Compute is the type of activations, of weight matrices and of the key-value cache; empty is float32. Norms, softmax,
	// logits and draws are float32 in any case.
	Compute spec.Compute
	// Slots is the number of rows decoded together, rounded up to a power of two; further rows take the places of those
	// that end. 0 chooses: at most 256, and a key-value cache of at most 4 GiB.
	Slots int
	// MaxBytes is what weights, key-value cache and activations may take on the device; 0 is no limit. More is refused, with
	// ErrMemory, before anything is compiled for it.
	MaxBytes int64
}

// Sampler draws dialogues from one set of weights. It may be used by several goroutines at once. It implements
// policy.Sampler.
type Sampler struct {
	backend *Backend
	model   modelShape
	weights [][]compute.Buffer // by device, in the order of Config.Tensors; beyond the first, copied when a batch is split
	options SamplerOptions

	mu       sync.Mutex
	stats    SamplerStats
	cos, sin []float32 // of positions 0, 1, …, as far as they were needed: [position, HeadDim/2]
}

var _ policy.Sampler = (*Sampler)(nil)

// NewSampler copies the model's weights to the device. The caller closes the sampler.
func NewSampler(backend *Backend, model *Model, options SamplerOptions) (*Sampler, error) {
	s := &Sampler{backend: backend, model: shapeIn(backend.Forward(model.Config), options.Compute), options: options}
	s.model.transposed = backend.name != PureGo
	weights, err := s.model.uploadWeights(backend, model.Weights)
	s.weights = [][]compute.Buffer{weights}
	return s, err
}

// on returns the weights on a device, the next one after those that have them already.
func (s *Sampler) on(device compute.DeviceNum) ([]compute.Buffer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int(device) < len(s.weights) {
		return s.weights[device], nil
	}
	var copies []compute.Buffer
	for _, w := range s.weights[0] {
		c, err := w.CopyToDevice(device)
		if err != nil {
			free(copies...)
			return nil, fmt.Errorf("copy the weights to device %d: %w", device, err)
		}
		copies = append(copies, c)
	}
	s.weights = append(s.weights, copies)
	return copies, nil
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

// SamplerStats adds up what a sampler has done.
type SamplerStats struct {
	Sampled int // tokens drawn
	Forced  int // tokens fed without a draw
	Steps   int // programs run
	Time    time.Duration
}

// Stats returns the sums so far.
func (s *Sampler) Stats() SamplerStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

func (s *Sampler) count(l lanes, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range l {
		s.stats.Sampled += r.sampled
		s.stats.Forced += r.forced
		s.stats.Steps += r.steps
	}
	s.stats.Time += took
}

// Close frees the device's memory.
func (s *Sampler) Close() {
	for _, w := range s.weights {
		free(w...)
	}
	s.weights = nil
}

// Sample drives every row to its end, as policy.Sampler says. Rows are served in order: the first ones start at once,
// each later one when a place is free, so that what a row holds never depends on chance.
func (s *Sampler) Sample(ctx context.Context, rows []policy.Row, p policy.Params, progress func(done int)) error {
	if err := s.check(p); err != nil {
		return err
	}
	if len(rows) == 0 {
		return nil
	}
	plan, err := PlanSampler(s.model.Config, len(rows), p.MaxLength, s.options)
	if err != nil {
		return err
	}
	lanes, err := s.lanes(plan.Slots, &shard{rows: rows, progress: progress}, p)
	defer lanes.free()
	if err != nil {
		return err
	}
	defer func(start time.Time) { s.count(lanes, time.Since(start)) }(time.Now())
	return lanes.drive(ctx)
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
	case !(p.MinP >= 0 && p.MinP <= 1):
		return fmt.Errorf("%w: min_p is %g, must be in [0, 1]", ErrSampling, p.MinP)
	case p.NoRepeat < 0 || p.NoRepeat == 1:
		return fmt.Errorf("%w: sequences of %d tokens may not repeat, must be 0 (off) or at least 2", ErrSampling, p.NoRepeat)
	case p.MaxLength < 1 || p.MaxLength > limit:
		return fmt.Errorf("%w: rows of up to %d tokens, must be 1 to %d (the model's max_position_embeddings)", ErrSampling, p.MaxLength, limit)
	}
	return nil
}
