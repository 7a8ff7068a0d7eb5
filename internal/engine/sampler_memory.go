package engine

import (
	"fmt"

	"multiattempt/internal/nn"
	"multiattempt/internal/spec"
)

// SamplerMemory is what sampling takes on the device at most, in bytes.
type SamplerMemory struct {
	Slots   int   // rows decoded together
	Length  int   // tokens of the longest of them
	Weights int64 // in the type that is computed in
	Cache   int64 // keys and values of all slots at full length, twice while it grows
	Step    int64 // activations and logits of the largest step, estimated
}

// Total is the sum of all parts.
func (m SamplerMemory) Total() int64 { return m.Weights + m.Cache + m.Step }

func (m SamplerMemory) String() string {
	return fmt.Sprintf("%.1f GB (weights %.1f, key-value cache of %d rows of %d tokens %.1f, activations %.1f)",
		gigabytes(m.Total()), gigabytes(m.Weights), m.Slots, m.Length, gigabytes(m.Cache), gigabytes(m.Step))
}

// Limits of automatic sizing.
const (
	maxSlots      = 256
	maxCacheBytes = 4 << 30
)

// PlanSampler says what it takes to sample n rows of at most maxLength tokens, and how many of them run together.
// ErrMemory when that does not fit the options' limit: how many rows run together must not depend on a machine's memory,
// because a row's last bits depend on it.
func PlanSampler(config nn.Config, n, maxLength int, o SamplerOptions) (SamplerMemory, error) {
	m := shapeIn(config, o.Compute)
	plan := SamplerMemory{Slots: batchSize(min(n, maxSlots)), Length: maxLength}
	if o.Slots > 0 {
		plan.Slots = batchSize(min(n, o.Slots))
	}
	plan.Weights = m.weightBytes()
	for {
		plan.Cache = 2 * m.cacheBytes(plan.Slots, cacheSize(maxLength))
		plan.Step = m.stepBytes(plan.Slots, cacheSize(maxLength))
		if o.Slots > 0 || plan.Cache <= 2*maxCacheBytes || plan.Slots == 1 {
			break
		}
		plan.Slots /= 2
	}
	if o.MaxBytes > 0 && plan.Total() > o.MaxBytes {
		return plan, fmt.Errorf("%w: sampling takes %v, the device has %.1f GB", ErrMemory, plan, gigabytes(o.MaxBytes))
	}
	return plan, nil
}

// planRollout is for the largest shard of a run's iteration.
func planRollout(run spec.Run, config nn.Config) SamplerMemory {
	problems := min(max(1, run.Data.ShardSize/run.Data.GroupSize), run.Data.ProblemsPerStep)
	return planShard(run, config, problems*run.Data.GroupSize)
}

// PlanEvaluation estimates the memory of a run's evaluation, or of one by itself, for the largest shard that it may have.
func PlanEvaluation(run spec.Run, config nn.Config) SamplerMemory {
	e, episodes := run.Evaluation, 1
	for _, each := range []int{e.Samples, e.Parallel} { // of one problem, which stays whole
		if each > 0 {
			episodes = max(episodes, (e.ShardSize+each-1)/each*each)
		}
	}
	return planShard(run, config, episodes)
}

func planShard(run spec.Run, config nn.Config, episodes int) SamplerMemory {
	m, _ := PlanSampler(config, episodes, rowLimit(run, config), SamplerOptions{Compute: run.SamplerCompute()}) // without a limit it cannot fail
	return m
}

// weightBytes is the memory of all weights.
func (m modelShape) weightBytes() (bytes int64) {
	for _, s := range m.Tensors() {
		bytes += int64(m.StoredType(s).Size()) * int64(elements(s.Shape))
	}
	return bytes
}

// cacheBytes is the memory of keys and values.
func (m modelShape) cacheBytes(batch, size int) int64 {
	return int64(m.ComputeType().Size()) * 2 * int64(m.Layers) * int64(batch) * int64(m.KVHeads) * int64(size) * int64(m.HeadDim)
}

// stepBytes estimates what a step that feeds the longest chunk holds besides weights and cache: the new keys and values of
// all layers, what one layer computes, and the logits with what is drawn from them.
func (m modelShape) stepBytes(batch, size int) int64 {
	tokens := int64(batch) * int64(chunks[0])
	layer, scores := tokens*int64(6*m.HiddenSize+3*m.IntermediateSize), tokens*int64(2*m.Heads*(size+chunks[0]))
	return int64(m.ComputeType().Size())*layer + 4*(scores+5*int64(batch)*int64(m.VocabSize)) + m.cacheBytes(batch, chunks[0])
}

// cacheSize rounds a number of positions up to one that graphs are compiled for: multiples of 32 up to 128, then powers
// of two and one and a half times these, so that a run meets few and at most a third of a cache is empty.
func cacheSize(n int) int {
	if n <= 128 {
		return (max(n, 1) + 31) / 32 * 32
	}
	size := batchSize(n)
	if n <= size/4*3 {
		return size / 4 * 3
	}
	return size
}

// batchSize rounds a number of rows up to one that graphs are compiled for: powers of two.
func batchSize(n int) int {
	size := 1
	for size < n {
		size *= 2
	}
	return size
}
