// Package forecast says before a run starts what it will cost: optimiser steps, tokens, memory, storage, and time.
package forecast

import "multiattempt/internal/spec"

// Model is what a network costs.
type Model struct {
	Name         string `json:"name"`
	Parameters   int64  `json:"parameters"` // of the policy; a head tied to the embedding counts once
	HeadOnly     int64  `json:"-"`          // of those, in a logits head of its own, which a critic lacks
	Layers       int    `json:"layers"`
	HiddenSize   int    `json:"hidden_size"`
	Intermediate int    `json:"intermediate_size"`
	Heads        int    `json:"heads"`
	KVWidth      int    `json:"kv_width"` // numbers of one position's keys in one layer; values as many
	MaxPositions int    `json:"max_positions"`
}

// Cost is the forecast. Memory and storage are in bytes of float32 numbers; a field whose model is not known is nil.
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
	CheckpointBytes       int64   `json:"checkpoint_bytes,omitempty"`
	CheckpointsKept       int     `json:"checkpoints_kept"`
	StorageBytes          int64   `json:"storage_bytes,omitempty"` // checkpoints kept and the steps' weights between two of them; dialogues come on top
	PublishedBytesPerIt   int64   `json:"published_bytes_per_iteration,omitempty"`
}

// Memory is what lies on a device, in bytes. One device that samples and learns holds both.
type Memory struct {
	Learner Learner `json:"learner"`
	Sampler Sampler `json:"sampler"`
}

// Learner is the training half. Activations are those of one microbatch of longest dialogues, kept for the backward pass.
type Learner struct {
	Policy      int64 `json:"policy_bytes"`
	Critic      int64 `json:"critic_bytes"`
	Reference   int64 `json:"reference_bytes"`
	Gradients   int64 `json:"gradients_bytes"`
	Moments     int64 `json:"adam_moments_bytes"`
	Activations int64 `json:"activations_bytes_max"`
	Total       int64 `json:"total_bytes"`
}

// Sampler is the rollout half: a shard of longest dialogues.
type Sampler struct {
	Policy int64 `json:"policy_bytes"`
	Cache  int64 `json:"kv_cache_bytes_max"`
	Total  int64 `json:"total_bytes"`
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
	length := model.MaxPositions
	if r.Model.MaxLength > 0 {
		length = min(length, r.Model.MaxLength)
	}
	c.Memory = &Memory{Learner: learner(r, model, length), Sampler: sampler(r, model, length)}
	policy, value := trained(r, model)
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

// longest bounds a dialogue's tokens by the model's limit, as an opening's length is not known here.
func longest(length, microbatch int) int64 { return int64(length) * int64(microbatch) }

// trained counts the numbers that the optimiser changes in policy and critic: all weights, or their adapters.
func trained(r spec.Run, m *Model) (policy, value int64) {
	if policy = m.Parameters; r.LoRA.Policy.Enabled() {
		policy = m.adapters(r.LoRA.Policy)
	}
	if !r.Update.Critic() {
		return policy, 0
	}
	if value = m.Parameters - m.HeadOnly; r.LoRA.Critic.Enabled() {
		value = m.adapters(r.LoRA.Critic)
	}
	return policy, value
}

// adapters counts the numbers of low-rank adapters: rank × (in + out) for each linear map that is adapted.
func (m *Model) adapters(l spec.LoRA) int64 {
	d, kv, i := int64(m.HiddenSize), int64(m.KVWidth), int64(m.Intermediate)
	ends := map[string]int64{ // in + out
		"q_proj": 2 * d, "k_proj": d + kv, "v_proj": d + kv, "o_proj": 2 * d, "gate_proj": d + i, "up_proj": d + i, "down_proj": i + d,
	}
	n := int64(0)
	for _, target := range l.Targets {
		n += int64(l.Rank) * ends[target]
	}
	return n * int64(m.Layers)
}

func learner(r spec.Run, m *Model, length int) Learner {
	policy, value := trained(r, m)
	l := Learner{Policy: float * policy, Critic: float * value, Reference: float * m.Parameters} // adapters share the reference
	l.Gradients, l.Moments = float*max(policy, value), 2*float*(policy+value)                    // one network's gradients at a time
	tokens := longest(length, r.Update.Microbatch)
	layer := tokens * (8*int64(m.HiddenSize) + 3*int64(m.Intermediate) + int64(m.Heads)*int64(length))
	l.Activations = float * int64(m.Layers) * layer
	l.Total = l.Policy + l.Critic + l.Reference + l.Gradients + l.Moments + l.Activations
	return l
}

func sampler(r spec.Run, m *Model, length int) Sampler {
	s := Sampler{Policy: float * m.Parameters}
	rows := min(r.Data.ShardSize, r.Data.ProblemsPerStep*r.Data.GroupSize)
	s.Cache = float * 2 * int64(m.Layers) * int64(m.KVWidth) * longest(length, rows)
	s.Total = s.Policy + s.Cache
	return s
}
