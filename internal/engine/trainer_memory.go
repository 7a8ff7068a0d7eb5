package engine

import (
	"fmt"

	"multiattempt/internal/nn"
	"multiattempt/internal/spec"
)

// TrainingMemory is what training takes on its device at most, in bytes, estimated: of a run a learner and a sampler in one
// process, of a fine-tuning a learner alone.
type TrainingMemory struct {
	Length      int   // tokens of the longest row that was reckoned with
	Weights     int64 // of reference, policy and critic; adapters and reference share the base
	Optimizer   int64 // Adam's moments
	Gradients   int64 // sums, twice while a micro-batch is added
	Activations int64 // of the largest micro-batch: what policy and critic keep for the gradient, and one layer at work
	Adam        int64 // new weights and moments of the larger network, beside the old ones
	Sampler     SamplerMemory
}

// Total is the largest sum of what is held at the same time: while rows are sampled, gradients are computed, or Adam runs.
// The sampler's weights stay throughout.
func (m TrainingMemory) Total() int64 {
	phases := max(m.Sampler.Cache+m.Sampler.Step, m.Gradients+m.Activations, m.Gradients/2+m.Adam)
	return m.Weights + m.Optimizer + m.Sampler.Weights + phases
}

// Learner is the part of a process that does not sample.
func (m TrainingMemory) Learner() TrainingMemory {
	m.Sampler = SamplerMemory{}
	return m
}

func (m TrainingMemory) String() string {
	sampler := ""
	if m.Sampler.Slots > 0 {
		sampler = fmt.Sprintf("; sampler: weights %.1f, cache of %d rows of %d tokens %.1f, step %.1f", gigabytes(m.Sampler.Weights),
			m.Sampler.Slots, m.Sampler.Length, gigabytes(m.Sampler.Cache), gigabytes(m.Sampler.Step))
	}
	return fmt.Sprintf("%.1f GB for rows of %d tokens (weights %.1f, optimiser %.1f, gradients %.1f, activations %.1f, Adam's copies %.1f%s)",
		gigabytes(m.Total()), m.Length, gigabytes(m.Weights), gigabytes(m.Optimizer), gigabytes(m.Gradients), gigabytes(m.Activations),
		gigabytes(m.Adam), sampler)
}

// Tokens that PlanTraining allows for what is not sampled: the opening, and each feedback.
const (
	openingTokens  = 1024
	feedbackTokens = 64
)

// PlanTraining estimates a run's memory for a model.
func PlanTraining(run spec.Run, config nn.Config) TrainingMemory {
	config.Compute = computeType(run.Model.Compute)
	policy := trainedBytes(config, run.LoRA.Policy, config.Tensors())
	var critic int64
	networks := 1
	if run.Update.Critic() {
		critic, networks = trainedBytes(config, run.LoRA.Critic, config.CriticTensors()), 2
	}
	m := learnerMemory(bytesOf(config.Tensors()), policy, critic)
	m.Length = longestRow(run, config)
	batch, length := largest(min(run.Update.Microbatch, run.Update.Minibatch), m.Length)
	m.Activations = config.TrainingBytes(networks, batch, length)
	m.Sampler = planRollout(run, config)
	if len(run.Evaluation.Sets) > 0 {
		if e := PlanEvaluation(run, config); e.Total() > m.Sampler.Total() {
			m.Sampler = e
		}
	}
	return m
}

// PlanTuning estimates the memory of a fine-tuning whose longest dialogue has so many tokens.
func PlanTuning(f spec.Finetune, config nn.Config, longest int) TrainingMemory {
	config.Compute = computeType(f.Model.Compute)
	var base int64
	if f.LoRA.Enabled() {
		base = bytesOf(config.Tensors())
	}
	m := learnerMemory(base, trainedBytes(config, f.LoRA, config.Tensors()), 0)
	m.Length = max(min(longest, config.MaxPositions), 2)
	batch, length := largest(min(f.Microbatch, f.Data.BatchSize), m.Length)
	m.Activations = config.TrainingBytes(1, batch, length)
	return m
}

// learnerMemory is what does not depend on rows: frozen weights, and two networks' trained ones with all that goes with them.
func learnerMemory(frozen, policy, critic int64) TrainingMemory {
	trained := policy + critic
	return TrainingMemory{Weights: frozen + trained, Optimizer: 2 * trained, Gradients: 2 * trained, Adam: 3 * max(policy, critic)}
}

// rowLimit is the most tokens that a dialogue of the run may hold.
func rowLimit(run spec.Run, config nn.Config) int {
	if run.Model.MaxLength > 0 {
		return min(config.MaxPositions, run.Model.MaxLength)
	}
	return config.MaxPositions
}

// longestRow is the most tokens that a dialogue of the run may have.
func longestRow(run spec.Run, config nn.Config) int {
	sampled := run.Attempts.MaxNewTokens
	if run.Attempts.Budget == spec.BudgetPerAttempt {
		sampled *= run.Attempts.Max
	}
	return max(min(rowLimit(run, config), openingTokens+feedbackTokens*run.Attempts.Max+sampled), 2)
}

// trainedBytes is the size of what is trained of a network: all of it, or adapters (and, whatever it is, a critic's head,
// which is too small to count).
func trainedBytes(config nn.Config, l spec.LoRA, all []nn.TensorSpec) int64 {
	if l.Enabled() {
		return bytesOf(config.AdapterTensors(l))
	}
	return bytesOf(all)
}

func bytesOf(specs []nn.TensorSpec) int64 {
	var n int64
	for _, s := range specs {
		n += 4 * int64(elements(s.Shape))
	}
	return n
}
