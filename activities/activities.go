// Package activities is the thin edge between workflows and stages: an activity reads what its references name, calls one
// stage, stores what comes out and returns references.
package activities

import (
	"context"
	"io/fs"
	"time"

	sdkworker "go.temporal.io/sdk/worker"

	"multiattempt/internal/policy"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
)

// Engine computes: it samples from language models and trains them.
type Engine interface {
	// Describe reads what a model folder says of itself and refuses, as ErrModel, what the engine cannot run.
	Describe(dir string) (ModelInfo, error)
	// Check reads a model folder's weights and refuses, as ErrModel, what cannot be used: tensors that are missing,
	// misshapen or not finite, and a tokenizer with ids that the embedding lacks.
	Check(dir string) error
	// FitsTraining refuses, as ErrModel and with the numbers, a run that does not fit the device's memory: the part of it that
	// this process does. It reads no weights, nor do the other two.
	FitsTraining(ctx context.Context, dir string, run spec.Run) error
	// FitsEvaluation is FitsTraining for the run's evaluation alone.
	FitsEvaluation(ctx context.Context, dir string, run spec.Run) error
	// FitsTuning is FitsTraining for a fine-tuning whose longest dialogue has so many tokens.
	FitsTuning(ctx context.Context, dir string, f spec.Finetune, longest int) error
	// Patience says how long what the device does at present may take before it must be taken for stuck: long for what it
	// compiles or does for the first time, 0 when it is idle.
	Patience() time.Duration
	// NewSampler loads the weights of a model folder for sampling, computed in the type that is named.
	NewSampler(ctx context.Context, dir string, compute spec.Compute) (Sampler, error)
	// NewLearner loads policy, critic and reference.
	NewLearner(ctx context.Context, o LearnerOptions) (update.Learner, error)
	// NewImitator loads a model for supervised fine-tuning.
	NewImitator(ctx context.Context, o ImitatorOptions) (update.Imitator, error)
	// Create writes a new model folder into dir: random weights, and a tokenizer of one token a character of alphabet.
	Create(ctx context.Context, dir string, a spec.Architecture, alphabet string, seed uint64) error
}

// ModelInfo is what a run must know of a model before it starts.
type ModelInfo struct {
	MaxPositions int // tokens that a dialogue may hold
}

// Sampler is a policy.Sampler that owns memory of a device. It may be used by several goroutines at once.
type Sampler interface {
	policy.Sampler
	Close()
}

// LearnerOptions say what a learner starts from; the strings are folders.
type LearnerOptions struct {
	Model     string // policy
	State     string // what update.Learner.WriteState wrote; empty: a new critic, no moments
	Reference string
	Update    spec.Update
	Optimizer spec.Optimizer
	LoRA      spec.LoRAs
	Compute   spec.Compute
	Seed      uint64
}

// ImitatorOptions say what a fine-tuning starts from; the strings are folders.
type ImitatorOptions struct {
	Model      string // with adapters: their base, as it was before the first step
	State      string // what update.Imitator.WriteState wrote; empty: no moments
	Optimizer  spec.Optimizer
	Compute    spec.Compute
	LoRA       spec.LoRA // the base of adapters is Model
	Seed       uint64
	Microbatch int
}

// Presets are the named settings and the models that lie in the binary.
type Presets struct {
	Train    fs.FS // NAME.yaml of spec.Run
	Finetune fs.FS // NAME.yaml of spec.Finetune
	Model    func(name string) (fs.FS, error)
}

// Set holds the activities that one process offers; a nil field offers none of its kind.
type Set struct {
	Data     *Data
	Rollouts *Rollouts
	Learner  *Learner
}

// Register makes the set known to a worker or a test environment.
func (s Set) Register(r sdkworker.ActivityRegistry) {
	if s.Data != nil {
		r.RegisterActivity(s.Data)
	}
	if s.Rollouts != nil {
		r.RegisterActivity(s.Rollouts)
	}
	if s.Learner != nil {
		r.RegisterActivity(s.Learner)
	}
}

// Close frees the devices' memory. Activities have been told to stop; ErrBusy: one does not.
func (s Set) Close() error {
	if s.Rollouts != nil {
		s.Rollouts.samplers.close()
	}
	if s.Learner != nil {
		return s.Learner.close()
	}
	return nil
}
