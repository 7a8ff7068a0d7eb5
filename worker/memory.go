package worker

import (
	"context"
	"errors"
	"fmt"

	"multiattempt/internal/engine"
	"multiattempt/internal/spec"
)

// FitsTraining compares what the run takes of the device with what there is: the learner's part where this worker learns, the
// sampler's where it samples, both where it does both. A worker that computes nothing does not know the devices of those that
// do, and refuses nothing: they do, before they load anything.
func (d device) FitsTraining(ctx context.Context, dir string, run spec.Run) error {
	config, err := engine.ReadConfig(dir)
	if err != nil {
		return permanent(err)
	}
	plan := engine.PlanTraining(run, d.backend.Forward(config))
	var part engine.Estimate = plan
	switch {
	case d.learns && !d.samples:
		part = plan.Learner()
	case d.samples && !d.learns:
		part = plan.Sampler
	}
	return d.admit(ctx, "the run", run.Model.Source, part, fmt.Sprintf("train adapters (lora.policy.rank, lora.critic.rank), "+
		"compute in bfloat16 (model.compute, sampling.compute), shorten the rows (model.max_length, attempts.max_new_tokens), make update.microbatch (%d) "+
		"or data.shard_size (%d) smaller, or choose a smaller model", run.Update.Microbatch, run.Data.ShardSize))
}

// FitsEvaluation is FitsTraining for an evaluation by itself.
func (d device) FitsEvaluation(ctx context.Context, dir string, run spec.Run) error {
	config, err := engine.ReadConfig(dir)
	if err != nil || d.learns && !d.samples {
		return permanent(err)
	}
	return d.admit(ctx, "the evaluation", run.Model.Source, engine.PlanEvaluation(run, d.backend.Forward(config)),
		fmt.Sprintf("sample in bfloat16 (sampling.compute), shorten the rows (model.max_length), make evaluation.shard_size (%d) smaller, or choose a smaller model", run.Evaluation.ShardSize))
}

// FitsTuning is FitsTraining for a fine-tuning.
func (d device) FitsTuning(ctx context.Context, dir string, f spec.Finetune, longest int) error {
	config, err := engine.ReadConfig(dir)
	if err != nil || d.samples && !d.learns {
		return permanent(err)
	}
	return d.admit(ctx, "the fine-tuning", f.Model.Source, engine.PlanTuning(f, config, longest),
		fmt.Sprintf("train adapters (lora.rank), compute in bfloat16 (model.compute), make microbatch (%d) smaller, shorten the dialogues, "+
			"or choose a smaller model", f.Microbatch))
}

// admit refuses what does not fit, and logs each estimate once.
func (d device) admit(ctx context.Context, work, model string, e engine.Estimate, advice string) error {
	if _, seen := d.told.LoadOrStore(work+e.String(), true); !seen {
		d.log.Info("memory estimate", "work", work, "model", model, "estimate", e.String())
	}
	if d.backend == nil {
		return nil
	}
	return permanent(d.backend.Admit(ctx, work, e, advice))
}

// advised adds to a sampler's refusal of a shard what to do about it.
func advised(err error) error {
	if !errors.Is(err, engine.ErrMemory) {
		return err
	}
	return fmt.Errorf("%w; sample in bfloat16 (sampling.compute), shorten the rows (model.max_length), roll out fewer together (data.shard_size, evaluation.shard_size), "+
		"or choose a smaller model", err)
}
