package activities

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"multiattempt/internal/blob"
	"multiattempt/internal/chat"
	"multiattempt/internal/checkpoint"
	"multiattempt/internal/dataset"
	"multiattempt/internal/imitation"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
)

// tuning is a fine-tuning's state on the device. It is only a cache: any learner can load the last part's checkpoint.
type tuning struct {
	run       string
	settings  blob.Ref
	spec      spec.Finetune
	step      int // optimiser steps done
	template  *chat.Template
	dialogues *dataset.Dialogues
	imitator  update.Imitator
	bytes     int64 // about what its full state takes on disk
}

func (t *tuning) close() error { return t.imitator.Close() }

// Tune makes the next optimiser steps of a fine-tuning and stores its full state as a candidate, which CommitCheckpoint makes
// a checkpoint.
func (l *Learner) Tune(ctx context.Context, in TuneInput) (TuneOutput, error) {
	return alive(ctx, func(p *pulse) (out TuneOutput, err error) {
		err = l.alone(ctx, p, func() error {
			out, err = l.tune(ctx, in, p)
			return err
		})
		return out, err
	})
}

func (l *Learner) tune(ctx context.Context, in TuneInput, pulse *pulse) (out TuneOutput, err error) {
	t, err := l.holdTuning(ctx, in, pulse)
	if err != nil {
		return out, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.drop()) // between two parts: of no use to a retry
		}
	}()
	stats, err := imitation.Run(ctx, t.imitator, t.template, t.dialogues, t.spec, t.step, in.Steps, pulse.counter("steps", in.Steps))
	if err != nil {
		return out, err
	}
	dir, err := os.MkdirTemp(l.dir, "checkpoint-")
	if err != nil {
		return out, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // emptied when the next process starts
	if err := l.room(dir, t.bytes, true); err != nil {
		return out, err
	}
	if err := writeState(ctx, t.imitator, dir); err != nil {
		return out, err
	}
	t.bytes = treeBytes(dir)
	meta := checkpoint.Meta{Run: in.Run, Step: t.step + in.Steps}
	if meta.Spec, err = t.spec.Digest(); err != nil {
		return out, err
	}
	out = TuneOutput{Loss: stats.Loss, Own: l.own}
	files, err := checkpoint.Digest(ctx, dir)
	if err != nil {
		return out, err
	}
	if out.Candidate, out.Policy, err = storeCheckpoint(ctx, l.store, meta, dir, files); err != nil {
		return out, err
	}
	t.step = meta.Step
	return out, nil
}

// momentsPerModel is about how many times the model a fine-tuning's state holds: weights and two Adam moments.
const momentsPerModel = 3

// tuningCheckpoints is the number of a fine-tuning's newest checkpoints that are kept.
const tuningCheckpoints = 2

// holdTuning returns the fine-tuning in the state that the input names: the one on the device, or a restored one.
func (l *Learner) holdTuning(ctx context.Context, in TuneInput, pulse *pulse) (*tuning, error) {
	if t := l.tuning; t != nil && t.run == in.Run && t.settings == in.Spec && t.step == in.Checkpoint.Step {
		return t, nil
	}
	if err := l.park(ctx, pulse); err != nil {
		return nil, err
	}
	f, err := loadJSON[spec.Finetune](ctx, l.store, in.Spec)
	if err != nil {
		return nil, err
	}
	t := &tuning{run: in.Run, settings: in.Spec, spec: f, step: in.Checkpoint.Step}
	if t.dialogues, err = dataset.OpenDialogues(f.Data, f.Prompt); err != nil {
		return nil, missingIsBad(err)
	}
	model, release, err := l.models.Use(ctx, in.Base)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := l.engine.FitsTuning(ctx, model, f, in.Longest); err != nil {
		return nil, err
	}
	t.bytes = momentsPerModel * treeBytes(model)
	o := ImitatorOptions{Model: model, Optimizer: f.Optimizer, Compute: f.Model.Compute, LoRA: f.LoRA, Seed: f.Seed, Microbatch: f.Microbatch}
	if !in.Checkpoint.IsZero() {
		dir, err := os.MkdirTemp(l.dir, "restore-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir) //nolint:errcheck // emptied when the next process starts
		if _, err := checkpoint.Load(ctx, l.store, in.Checkpoint, dir); err != nil {
			return nil, err
		}
		o.State = filepath.Join(dir, checkpoint.StateDir)
		if !f.LoRA.Enabled() { // the policy's folder has adapters merged; their base is where the run began
			o.Model = filepath.Join(dir, checkpoint.PolicyDir)
		}
	}
	if t.template, err = chat.Load(model); err != nil {
		return nil, err
	}
	if t.imitator, err = l.engine.NewImitator(ctx, o); err != nil {
		return nil, fmt.Errorf("restore fine-tuning of %s at step %d: %w", in.Run, in.Checkpoint.Step, err)
	}
	l.tuning = t
	return t, nil
}
