package activities

import (
	"context"
	"errors"
	"fmt"
	"os"

	"multiattempt/internal/blob"
	"multiattempt/internal/checkpoint"
	"multiattempt/internal/spec"
)

// settings resolves what a run is to compute: the user's fields over the defaults or, for a fork, over the settings of the
// run that it starts from. from is the older run's checkpoint, nil without a fork.
func (d *Data) settings(ctx context.Context, in ResolveSpecInput) (run spec.Run, from *CheckpointRef, err error) {
	if in.Fork == nil {
		run, err = spec.Resolve(in.Spec, d.presets.Train)
		return run, nil, err
	}
	if err := spec.CheckRunID(in.Fork.Run); err != nil {
		return run, nil, err
	}
	if in.Fork.Run == in.Run {
		return run, nil, fmt.Errorf("%w: a run cannot be a fork of itself: give the new one another id", ErrRunExists)
	}
	if run, err = d.forked(ctx, in); !errors.Is(err, checkpoint.ErrNone) {
		return run, nil, err
	}
	ref, err := d.findCheckpoint(ctx, in.Fork.Run, in.Fork.Step)
	if err != nil {
		return run, nil, err
	}
	m, err := checkpoint.LoadManifest(ctx, d.store, ref)
	if err != nil {
		return run, nil, err
	}
	old, err := d.settingsOf(ctx, in.Fork.Run, m.Spec)
	if err != nil {
		return run, nil, err
	}
	fields, err := overlay(withoutName(old), in.Spec)
	if err != nil {
		return run, nil, err
	}
	if run, err = spec.Resolve(fields, d.presets.Train); err != nil {
		return run, nil, err
	}
	return run, &ref, mayFork(old, run, ref.Step)
}

// forked resolves the settings of a fork that was made before, without looking at the older run, which may be gone.
// checkpoint.ErrNone: it was not.
func (d *Data) forked(ctx context.Context, in ResolveSpecInput) (spec.Run, error) {
	own, err := checkpoint.Resolve(ctx, d.store, in.Run, checkpoint.Latest)
	if err != nil {
		return spec.Run{}, err
	}
	m, err := checkpoint.LoadManifest(ctx, d.store, own.Checkpoint)
	if err != nil {
		return spec.Run{}, err
	}
	settings, err := d.settingsOf(ctx, in.Run, m.Spec)
	if err != nil {
		return spec.Run{}, err
	}
	fields, err := overlay(settings, in.Spec)
	if err != nil {
		return spec.Run{}, err
	}
	return spec.Resolve(fields, d.presets.Train)
}

// withoutName lets the new run be called as its id says.
func withoutName(r spec.Run) spec.Run {
	r.Name = ""
	return r
}

// mayFork refuses changes that the older run's state cannot follow.
func mayFork(old, run spec.Run, step int) error {
	var wrong []spec.FieldError
	if run.Model.Source != old.Model.Source {
		wrong = append(wrong, spec.FieldError{Path: "model.source", Value: run.Model.Source,
			Allowed: fmt.Sprintf("%q, the older run's: a fork goes on with its weights and its reference", old.Model.Source)})
	}
	if run.Iterations <= step {
		wrong = append(wrong, spec.FieldError{Path: "iterations", Value: run.Iterations,
			Allowed: fmt.Sprintf("more than %d, the step that the fork starts from", step)})
	}
	if len(wrong) > 0 {
		return &spec.InvalidError{What: "fork", Fields: wrong}
	}
	return nil
}

// branch stores another run's checkpoint as a candidate for the first one of run. Its parts are copied: what becomes of the
// older run does not matter to the new one.
func (d *Data) branch(ctx context.Context, from CheckpointRef, run, settings string) (candidate blob.Ref, p Policy, err error) {
	dir, err := os.MkdirTemp("", "multiattempt-fork-")
	if err != nil {
		return candidate, p, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if _, err := checkpoint.Load(ctx, d.store, from, dir); err != nil {
		return candidate, p, err
	}
	files, err := checkpoint.Digest(ctx, dir)
	if err != nil {
		return candidate, p, err
	}
	meta := checkpoint.Meta{Run: run, Step: from.Step, Spec: settings, Parent: &from}
	return storeCheckpoint(ctx, d.store, meta, dir, files)
}
