// Package forecast says before a run starts what it will cost: optimiser steps, tokens, memory, storage, and time.
package forecast

import (
	"multiattempt/internal/nn"
	"multiattempt/internal/spec"
)

// Model is a network whose cost is forecast.
type Model struct {
	Name         string    `json:"name"`
	Parameters   int64     `json:"parameters"` // of the policy; a head tied to the embedding counts once
	Layers       int       `json:"layers"`
	HiddenSize   int       `json:"hidden_size"`
	Intermediate int       `json:"intermediate_size"`
	Heads        int       `json:"heads"`
	KVWidth      int       `json:"kv_width"` // numbers of one position's keys in one layer; values as many
	MaxPositions int       `json:"max_positions"`
	Config       nn.Config `json:"-"`
}

// NewModel is a network of the shape that c describes.
func NewModel(name string, c nn.Config) *Model {
	return &Model{
		Name: name, Parameters: c.Parameters(), Layers: c.Layers, HiddenSize: c.HiddenSize, Intermediate: c.IntermediateSize,
		Heads: c.Heads, KVWidth: c.KVHeads * c.HeadDim, MaxPositions: c.MaxPositions, Config: c,
	}
}

// Cost is the forecast. Memory and storage are in bytes; a field whose model is not known is nil or 0.
type Cost struct {
	Iterations                 int `json:"iterations"`
	EpisodesPerIteration       int `json:"episodes_per_iteration"`
	OptimizerStepsPerIteration int `json:"optimizer_steps_per_iteration"`
	OptimizerSteps             int `json:"optimizer_steps"`
	// TokensPerIterationMax bounds the tokens sampled in an iteration: every episode uses its whole budget and, where the
	// budget is per attempt, all of its attempts.
	TokensPerIterationMax int64   `json:"tokens_sampled_per_iteration_max"`
	Evaluations           int     `json:"evaluations"`
	EpisodesPerProblem    int     `json:"evaluation_episodes_per_problem"` // over the whole run
	Memory                *Memory `json:"memory,omitempty"`
	CheckpointBytes       int64   `json:"checkpoint_bytes,omitempty"` // of float32 numbers
	CheckpointsKept       int     `json:"checkpoints_kept"`
	StorageBytes          int64   `json:"storage_bytes,omitempty"` // checkpoints kept and the steps' weights between two of them; dialogues come on top
	PublishedBytesPerIt   int64   `json:"published_bytes_per_iteration,omitempty"`
}

const float = 4 // bytes

// Of returns the cost of a resolved run; model is nil when it is not known.
func Of(r spec.Run, model *Model) Cost {
	episodes := r.Data.ProblemsPerStep * r.Data.GroupSize
	c := Cost{
		Iterations: r.Iterations, EpisodesPerIteration: episodes,
		OptimizerStepsPerIteration: (episodes + r.Update.Minibatch - 1) / r.Update.Minibatch * r.Update.Epochs,
		TokensPerIterationMax:      int64(episodes) * tokensMax(r.Attempts),
		CheckpointsKept:            min(max(2, r.Checkpoint.Keep)+1, (r.Iterations+r.Checkpoint.Every-1)/r.Checkpoint.Every+1), // the best one may be another
	}
	if every := r.Checkpoint.KeepEvery; every > 0 {
		c.CheckpointsKept += r.Iterations / every
	}
	c.OptimizerSteps = c.OptimizerStepsPerIteration * r.Iterations
	c.evaluations(r)
	if model == nil {
		return c
	}
	c.Memory = memory(r, model.Config)
	policy, value := trained(r, model.Config)
	c.PublishedBytesPerIt = float * model.Parameters
	c.CheckpointBytes = float * (policy + value + 2*(policy+value)) // weights and both moments
	if r.LoRA.Policy.Enabled() {
		c.CheckpointBytes += float * model.Parameters // the policy's folder holds all weights, its adapters merged
	}
	c.StorageBytes = c.CheckpointBytes*int64(c.CheckpointsKept) + c.PublishedBytesPerIt*int64(r.Checkpoint.Every)
	return c
}

// tokensMax bounds the tokens sampled in an episode.
func tokensMax(a spec.Attempts) int64 {
	if a.Budget == spec.BudgetPerAttempt {
		return int64(a.MaxNewTokens) * int64(a.Max)
	}
	return int64(a.MaxNewTokens)
}

// evaluations counts them, and what they ask of each problem.
func (c *Cost) evaluations(r spec.Run) {
	e := r.Evaluation
	if e.Every > 0 {
		c.Evaluations = (r.Iterations - 1) / e.Every
		c.EpisodesPerProblem = c.Evaluations * len(e.Attempts) * e.Samples
	}
	if len(e.Final) > 0 {
		c.Evaluations++
		c.EpisodesPerProblem += len(e.Final)*e.Samples + e.Parallel
	}
}

// trained counts the numbers that the optimiser changes in policy and critic: all weights, or their adapters. A critic's
// scalar head is too small to count.
func trained(r spec.Run, c nn.Config) (policy, value int64) {
	policy = numbers(r.LoRA.Policy, c, c.Tensors())
	if r.Update.Critic() {
		value = numbers(r.LoRA.Critic, c, c.CriticTensors())
	}
	return policy, value
}

// numbers counts those of a network's adapters, or of all its weights.
func numbers(l spec.LoRA, c nn.Config, all []nn.TensorSpec) int64 {
	if l.Enabled() {
		all = c.AdapterTensors(l)
	}
	return nn.Count(all)
}
