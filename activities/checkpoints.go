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

// storeCheckpoint stores the state below dir, whose files are digested, as a candidate: a checkpoint once CommitCheckpoint
// gives it that name. It returns the policy as the checkpoint itself holds it.
func storeCheckpoint(ctx context.Context, s blob.Store, meta checkpoint.Meta, dir string, files []blob.FolderFile) (blob.Ref, Policy, error) {
	candidate, m, err := checkpoint.Put(ctx, s, meta, dir, files)
	if err != nil {
		return candidate, Policy{}, err
	}
	policy, err := storeFolder(ctx, s, m.Folder(checkpoint.PolicyDir))
	return candidate, policy, err
}

// CommitCheckpoint makes a candidate the run's newest checkpoint, moves latest, and only then deletes those that are not to
// be kept, and the published weights that it makes superfluous. The workflow asks for it once it has accepted the learner's
// answer: what a learner writes that was given up for dead never becomes a checkpoint. The one before stays in any case:
// until the workflow has this one on record, a learner that takes over starts from there.
func (d *Data) CommitCheckpoint(ctx context.Context, in CommitCheckpointInput) (CheckpointRef, error) {
	ref, err := d.commitCheckpoint(ctx, in)
	return ref, failure(err)
}

func (d *Data) commitCheckpoint(ctx context.Context, in CommitCheckpointInput) (CheckpointRef, error) {
	ref, err := checkpoint.Commit(ctx, d.store, in.Run, in.Step, in.Candidate)
	if err != nil {
		return ref, err
	}
	if _, err := checkpoint.Advance(ctx, d.store, checkpoint.Latest, checkpoint.Target{Checkpoint: ref}); err != nil {
		return ref, err
	}
	in.Retain.Keep = max(2, in.Retain.Keep)
	if _, err := checkpoint.Prune(ctx, d.store, in.Run, in.Retain); err != nil {
		return ref, err
	}
	for step := max(1, in.Before); step < in.Step; step++ {
		if err := unpublish(ctx, d.store, in.Run, step); err != nil {
			return ref, err
		}
	}
	return ref, nil
}

// policyAt names the policy that a checkpoint holds.
func policyAt(ctx context.Context, s blob.Store, ref CheckpointRef) (Policy, error) {
	m, err := checkpoint.LoadManifest(ctx, s, ref)
	if err != nil {
		return Policy{}, err
	}
	return storeFolder(ctx, s, m.Folder(checkpoint.PolicyDir))
}

// standing is where a run stands that may have begun before.
type standing struct {
	made       bool          // steps
	checkpoint CheckpointRef // the newest; zero: none, and the run begins at the start
	policy     Policy        // as the checkpoint holds it
}

// standing finds where a run with these settings stands. A run of other settings is never continued, let alone overwritten.
// Steps that no checkpoint holds are made again by the same settings, and come out the same.
func (d *Data) standing(ctx context.Context, run, settings string) (standing, error) {
	refs, err := checkpoint.List(ctx, d.store, run)
	if err != nil {
		return standing{}, err
	}
	if len(refs) == 0 {
		made, err := d.mayBeginAgain(ctx, run, settings)
		return standing{made: made}, err
	}
	newest := refs[len(refs)-1]
	m, err := checkpoint.LoadManifest(ctx, d.store, newest)
	if err != nil {
		return standing{}, err
	}
	if m.Spec != settings {
		return standing{}, fmt.Errorf("%w: %s has a checkpoint of step %d with settings %.12s, asked for are %.12s; %s",
			ErrRunExists, run, newest.Step, m.Spec, settings, otherwise)
	}
	policy, err := policyAt(ctx, d.store, newest)
	return standing{made: true, checkpoint: newest, policy: policy}, err
}

// otherwise is what to do about a run of other settings.
const otherwise = "choose another name (--run), continue it with the settings it was started with (--continue), or delete it and start over (--overwrite)"

// mayBeginAgain refuses to start a run over whose steps, none of which is in a checkpoint, were made with other settings.
func (d *Data) mayBeginAgain(ctx context.Context, run, settings string) (made bool, err error) {
	records, err := Records(ctx, d.store, run)
	for _, r := range records {
		if r.Spec != settings {
			return true, fmt.Errorf("%w: %s has no checkpoint, but its step %d was made with settings %.12s, asked for are %.12s; %s",
				ErrRunExists, run, r.Step, r.Spec, settings, otherwise)
		}
	}
	return len(records) > 0, err
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
	if err := spec.CheckRunID(in.Run); err != nil {
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
