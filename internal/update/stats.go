package update

import (
	"math"

	"multiattempt/internal/experience"
	"multiattempt/internal/spec"
)

// Means of |log-probability of sampler − of trainer| above which they are not the same policy. In float32 they differ by about
// 1e-6 (measured). Where one of them rounds to bfloat16, or both do, it is 0.003 to 0.03 (measured; docs/training.md).
const (
	mismatchFloat32  = 0.01
	mismatchBFloat16 = 0.05
)

// MismatchLimit is the largest mean mismatch that the types a run computes in explain.
func MismatchLimit(r spec.Run) float64 {
	if r.Model.Compute == spec.ComputeBFloat16 || r.SamplerCompute() == spec.ComputeBFloat16 {
		return mismatchBFloat16
	}
	return mismatchFloat32
}

// Stats are the facts of one iteration's update. Names carry unit and denominator; "token" is a sampled token.
type Stats struct {
	TokensTrained  int `json:"tokens_trained"`
	OptimizerSteps int `json:"optimizer_steps"`
	// OptimizerStepsSkipped were left out because the policy had moved further than update.stop_kl.
	OptimizerStepsSkipped int `json:"optimizer_steps_skipped"`
	// Groups with advantage.drop_equal_groups, and those left out because all their rewards were equal.
	Groups          int `json:"groups"`
	GroupsDropped   int `json:"groups_dropped"`
	EpisodesDropped int `json:"episodes_dropped"`
	// AttemptsWithoutPeers got the advantage 0: no other episode of their group made that attempt.
	AttemptsWithoutPeers int     `json:"attempts_without_peers"`
	PolicyLR             float64 `json:"policy_lr"` // of the last optimiser step
	CriticLR             float64 `json:"critic_lr"`
	PolicyLoss           float64 `json:"policy_loss"` // means over optimiser steps, weighted by tokens
	ValueLoss            float64 `json:"value_loss"`
	KL                   float64 `json:"kl_k3_mean_per_token"` // against the reference, before the update
	KLCoefficient        float64 `json:"kl_coefficient"`       // of this iteration
	NextKLCoefficient    float64 `json:"kl_coefficient_next"`
	Entropy              float64 `json:"entropy_mean_per_token_nats"`
	ClipFraction         float64 `json:"clip_fraction_of_tokens"`
	RatioMax             float64 `json:"ratio_max"`
	ApproxKL             float64 `json:"approx_kl_k3_mean_per_token"` // against the policy before the update
	PolicyGradNorm       float64 `json:"policy_grad_norm_mean"`       // before clipping
	CriticGradNorm       float64 `json:"critic_grad_norm_mean"`
	Padding              float64 `json:"padding_share_of_positions"` // computed for nothing, in optimiser steps
	AdvantageMean        float64 `json:"advantage_mean_per_token"`   // before whitening
	AdvantageStd         float64 `json:"advantage_std_per_token"`
	ReturnMean           float64 `json:"return_mean_per_token"` // 0 without a critic, as are the next two
	ValueMean            float64 `json:"value_mean_per_token"`
	ExplainedVariance    float64 `json:"value_explained_variance"`
	MismatchMeanAbs      float64 `json:"sampler_mismatch_mean_abs_per_token"` // |log-prob of sampler − of trainer|
	MismatchMax          float64 `json:"sampler_mismatch_max_abs"`
	MismatchLimit        float64 `json:"sampler_mismatch_limit"` // of the mean: above it, rounding is no explanation
	// Of the weights that correct for the mismatch, with update.old_log_probs sampling.
	WeightMean      float64 `json:"importance_weight_mean_per_token"`
	WeightTruncated float64 `json:"importance_truncated_share_of_tokens"`
}

// collector gathers the facts of an iteration's optimiser steps.
type collector struct {
	s      Stats
	tokens float64
}

func newCollector(b experience.Batch) *collector {
	return &collector{s: Stats{
		TokensTrained: b.TokensTrained, KL: b.KLMeanPerToken,
		AdvantageMean: b.AdvantageMean, AdvantageStd: b.AdvantageStd, ReturnMean: b.ReturnMean, ValueMean: b.ValueMean,
		ExplainedVariance: b.ExplainedVariance, MismatchMeanAbs: b.MismatchMeanAbs, MismatchMax: b.MismatchMax,
		WeightMean: b.WeightMean, WeightTruncated: b.WeightTruncated, AttemptsWithoutPeers: b.AttemptsWithoutPeers,
	}}
}

func (c *collector) add(st StepStats, r Rates) {
	w := float64(st.Tokens)
	c.tokens += w
	c.s.PolicyLoss += w * st.PolicyLoss
	c.s.ValueLoss += w * st.ValueLoss
	c.s.Entropy += w * st.Entropy
	c.s.ClipFraction += w * st.ClipFraction
	c.s.ApproxKL += w * st.ApproxKL
	c.s.PolicyGradNorm += w * st.PolicyGradNorm
	c.s.CriticGradNorm += w * st.CriticGradNorm
	c.s.Padding += w * st.Padding
	c.s.RatioMax = math.Max(c.s.RatioMax, st.RatioMax)
	c.s.PolicyLR, c.s.CriticLR = r.Policy, r.Critic
	c.s.OptimizerSteps++
}

func (c *collector) stats() Stats {
	s := c.s
	if c.tokens > 0 {
		for _, mean := range []*float64{&s.PolicyLoss, &s.ValueLoss, &s.Entropy, &s.ClipFraction, &s.ApproxKL, &s.PolicyGradNorm, &s.CriticGradNorm, &s.Padding} {
			*mean /= c.tokens
		}
	}
	return s
}
