package forecast

import (
	"multiattempt/internal/engine"
	"multiattempt/internal/nn"
	"multiattempt/internal/spec"
)

// Memory is what a run takes on a device at most, in bytes, as engine.PlanTraining estimates it: the same numbers by which a
// learner refuses a run that does not fit. What is not held at the same time is not added up.
type Memory struct {
	RowTokens   int   `json:"row_tokens"`                  // of the longest dialogue that was reckoned with
	Weights     int64 `json:"weights_bytes"`               // of policy, critic and reference; adapters and reference share the base
	Moments     int64 `json:"adam_moments_bytes"`          //
	Gradients   int64 `json:"gradients_bytes"`             //
	Activations int64 `json:"activations_bytes"`           // of the largest micro-batch
	Adam        int64 `json:"adam_copies_bytes"`           // new weights and moments of one network, beside the old ones
	Rows        int   `json:"sampler_rows"`                // decoded together
	Policy      int64 `json:"sampler_weights_bytes"`       //
	Cache       int64 `json:"sampler_kv_cache_bytes"`      //
	Step        int64 `json:"sampler_activations_bytes"`   //
	Learner     int64 `json:"learner_total_bytes"`         // of a device that only learns
	Sampler     int64 `json:"sampler_total_bytes"`         // of a device that only samples
	Total       int64 `json:"learner_sampler_total_bytes"` // of one device that does both
}

func memory(r spec.Run, c nn.Config) *Memory {
	plan := engine.PlanTraining(r, c)
	m := &Memory{
		RowTokens: plan.Length, Weights: plan.Weights, Moments: plan.Optimizer, Gradients: plan.Gradients, Activations: plan.Activations,
		Adam: plan.Adam, Rows: plan.Sampler.Slots, Policy: plan.Sampler.Weights, Cache: plan.Sampler.Cache, Step: plan.Sampler.Step,
		Sampler: plan.Sampler.Total(), Total: plan.Total(),
	}
	plan.Sampler = engine.SamplerMemory{}
	m.Learner = plan.Total()
	return m
}
