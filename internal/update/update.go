// Package update improves the policy with an iteration's episodes: score, build experience, optimise in minibatches.
package update

import (
	"context"

	"multiattempt/internal/experience"
	"multiattempt/internal/rollout"
)

// ErrNotFinite: a loss, gradient or score is NaN or infinite. The optimiser step was not applied; repeating it does not help.
var ErrNotFinite = experience.ErrNotFinite

// Rates are one optimiser step's learning rates. A rate of 0 leaves that network, its moments included, untouched.
type Rates struct {
	Policy float64 `json:"policy"`
	Critic float64 `json:"critic"`
}

// StepStats are the facts of one optimiser step; means are over the minibatch's sampled tokens, before the step.
type StepStats struct {
	PolicyLoss     float64 `json:"policy_loss"`
	ValueLoss      float64 `json:"value_loss"`        // with its factor 0.5
	KLMeanPerToken float64 `json:"kl_mean_per_token"` // with the spec's estimator, against the reference
	Entropy        float64 `json:"entropy_mean_per_token"`
	ClipFraction   float64 `json:"clip_fraction"` // share of tokens where the clipped ratio decided
	RatioMax       float64 `json:"ratio_max"`
	ApproxKL       float64 `json:"approx_kl"`        // k3 against the policy before the update
	PolicyGradNorm float64 `json:"policy_grad_norm"` // before clipping
	CriticGradNorm float64 `json:"critic_grad_norm"`
	Tokens         int     `json:"tokens"`
	Padding        float64 `json:"padding"` // share of the computed positions that hold no token
}

// Learner holds policy, critic and frozen reference with their optimiser state on one device. It is used by one
// goroutine. Two learners that were restored from equal files and given equal calls hold equal bytes.
type Learner interface {
	// Score returns one Scores an episode, computed with the weights as they are. progress, when not nil, is told the
	// number of episodes finished.
	Score(ctx context.Context, episodes []rollout.Episode, progress func(done int)) ([]experience.Scores, error)
	// Step makes one optimiser step on a minibatch. ErrNotFinite leaves everything as it was.
	Step(ctx context.Context, minibatch []experience.Row, rates Rates) (StepStats, error)
	// WritePolicy writes the policy as a Hugging Face folder (config.json, model.safetensors, tokenizer files) into dir.
	WritePolicy(ctx context.Context, dir string) error
	// WriteState writes what Restore needs besides the policy's folder: critic, Adam moments, counts (safetensors).
	WriteState(ctx context.Context, dir string) error
	// Close frees the device's memory.
	Close() error
}
