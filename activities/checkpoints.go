package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"multiattempt/internal/blob"
	"multiattempt/internal/checkpoint"
	"multiattempt/internal/spec"
)

// saveCheckpoint stores the state below dir as a checkpoint, makes it the run's latest, and only then deletes those that
// are not to be kept. It returns the policy as the checkpoint itself holds it. The one before stays in any case: until the
// workflow has this one on record, a learner that takes over starts from there.
func saveCheckpoint(ctx context.Context, s blob.Store, meta checkpoint.Meta, keep checkpoint.Retention, dir string) (CheckpointRef, Policy, error) {
	ref, err := checkpoint.Save(ctx, s, meta, dir)
	if err != nil {
		return ref, Policy{}, err
	}
	policy, err := policyAt(ctx, s, ref)
	if err != nil {
		return ref, policy, err
	}
	if _, err := checkpoint.Advance(ctx, s, checkpoint.Latest, checkpoint.Target{Checkpoint: ref}); err != nil {
		return ref, policy, err
	}
	keep.Keep = max(2, keep.Keep)
	_, err = checkpoint.Prune(ctx, s, meta.Run, keep)
	return ref, policy, err
}

// policyAt names the policy that a checkpoint holds.
func policyAt(ctx context.Context, s blob.Store, ref CheckpointRef) (Policy, error) {
	m, err := checkpoint.LoadManifest(ctx, s, ref)
	if err != nil {
		return Policy{}, err
	}
	return storeFolder(ctx, s, m.Folder(checkpoint.PolicyDir))
}

// standing finds where a run with these settings stands: at its newest checkpoint, or at the start when it has none. A
// run of other settings is never continued, let alone overwritten.
func (d *Data) standing(ctx context.Context, run, settings string) (CheckpointRef, Policy, error) {
	refs, err := checkpoint.List(ctx, d.store, run)
	if err != nil || len(refs) == 0 {
		return CheckpointRef{}, Policy{}, err
	}
	newest := refs[len(refs)-1]
	m, err := checkpoint.LoadManifest(ctx, d.store, newest)
	if err != nil {
		return CheckpointRef{}, Policy{}, err
	}
	if m.Spec != settings {
		return CheckpointRef{}, Policy{}, fmt.Errorf("%w: %s has a checkpoint of step %d with settings %.12s, asked for are %.12s; choose another name, or the settings it was started with",
			ErrRunExists, run, newest.Step, m.Spec, settings)
	}
	policy, err := policyAt(ctx, d.store, newest)
	return newest, policy, err
}

// MarkBest makes a checkpoint the run's best, decided after its evaluation.
func (d *Data) MarkBest(ctx context.Context, in MarkBestInput) error {
	_, err := alive(ctx, func(*pulse) (checkpoint.Target, error) {
		return checkpoint.Advance(ctx, d.store, checkpoint.Best, checkpoint.Target{Checkpoint: in.Checkpoint, Score: in.Score})
	})
	return err
}

// bestSoFar is what an earlier part of the run marked as its best checkpoint; nil when there is none.
func (d *Data) bestSoFar(ctx context.Context, run string) (*checkpoint.Target, error) {
	best, err := checkpoint.Resolve(ctx, d.store, run, checkpoint.Best)
	if errors.Is(err, checkpoint.ErrNone) {
		return nil, nil
	}
	return &best, err
}

// evaluationOf finds policy and settings of an evaluation of a run's checkpoint. The user's fields change the run's.
func (d *Data) evaluationOf(ctx context.Context, in ResolveEvaluationInput) (EvaluationTask, json.RawMessage, error) {
	task := EvaluationTask{Run: in.Run}
	if err := checkRun(in.Run); err != nil {
		return task, nil, err
	}
	ref, err := d.findCheckpoint(ctx, in.Run, in.Step)
	if err != nil {
		return task, nil, err
	}
	task.Step = ref.Step
	if task.Policy, err = policyAt(ctx, d.store, ref); err != nil {
		return task, nil, err
	}
	m, err := checkpoint.LoadManifest(ctx, d.store, ref)
	if err != nil {
		return task, nil, err
	}
	settings, err := d.settingsOf(ctx, in.Run, m.Spec)
	if err != nil {
		return task, nil, err
	}
	merged, err := overlay(settings, in.Spec)
	return task, merged, err
}

// findCheckpoint returns a run's checkpoint of a step, or its latest for step 0.
func (d *Data) findCheckpoint(ctx context.Context, run string, step int) (CheckpointRef, error) {
	if step > 0 {
		return checkpoint.Find(ctx, d.store, run, step)
	}
	latest, err := checkpoint.Resolve(ctx, d.store, run, checkpoint.Latest)
	return latest.Checkpoint, err
}

// settingsOf finds the resolved settings of a run by their digest.
func (d *Data) settingsOf(ctx context.Context, run, digest string) (spec.Run, error) {
	var found *spec.Run
	err := d.store.List(ctx, runKey(run)+"/spec-", func(o blob.Info) error {
		b, err := read(ctx, d.store, o.Key)
		if err != nil {
			return err
		}
		var r spec.Run
		if err := json.Unmarshal(b, &r); err != nil {
			return fmt.Errorf("decode %s: %w", o.Key, err)
		}
		if got, err := r.Digest(); err != nil || got != digest {
			return err // the digest proves the content
		}
		found = &r
		return errFound
	})
	if found != nil {
		return *found, nil
	}
	if err == nil {
		err = fmt.Errorf("%w: settings %.12s of run %s are not in the store", checkpoint.ErrNone, digest, run)
	}
	return spec.Run{}, err
}

// errFound ends a listing early.
var errFound = errors.New("found")

// overlay writes a user's fields over complete settings, as JSON.
func overlay(settings spec.Run, fields json.RawMessage) (json.RawMessage, error) {
	settings.Preset = "" // its settings are spelled out
	below, err := json.Marshal(settings)
	if err != nil {
		return nil, err
	}
	return spec.Merge(below, fields)
}
