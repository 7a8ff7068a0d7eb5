package activities

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"multiattempt/internal/blob"
	"multiattempt/internal/checkpoint"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
)

// resident is a run's learner on the device. It is only a cache: any learner can be rebuilt from the store.
type resident struct {
	run      string
	settings blob.Ref // the resolved spec
	spec     spec.Run
	step     int         // iterations done
	policy   blob.Digest // after them
	learner  update.Learner
	state    update.State // what the last step left to the next
}

// is reports whether the resident is in the state that at describes.
func (r *resident) is(at Position) bool {
	return r != nil && r.run == at.Run && r.settings == at.Spec && r.step == at.Step() && r.policy == at.Policy.Digest
}

// close frees the device's memory.
func (r *resident) close() error { return r.learner.Close() }

// statesPerModel is about how many times the model a checkpoint holds: policy and critic, each with two Adam moments.
const statesPerModel = 6

// hold returns a learner in the state that at describes: the one on the device, or a rebuilt one in its place.
func (l *Learner) hold(ctx context.Context, at Position, pulse *pulse) (*resident, error) {
	if l.resident.is(at) {
		return l.resident, nil
	}
	if err := l.park(ctx, pulse); err != nil {
		return nil, err
	}
	r, err := l.unpark(ctx, at, pulse)
	if err != nil {
		return nil, fmt.Errorf("bring back learner of %s at step %d: %w", at.Run, at.Step(), err)
	}
	if r != nil {
		l.resident = r
		return r, nil
	}
	r, err = l.restore(ctx, at, pulse)
	if err != nil {
		return nil, fmt.Errorf("restore learner of %s at step %d: %w", at.Run, at.Step(), err)
	}
	if err := l.replay(ctx, r, at, pulse); err != nil {
		return nil, errors.Join(err, r.close())
	}
	l.resident = r
	return r, nil
}

// restore loads the last checkpoint, or the base model when there is none.
func (l *Learner) restore(ctx context.Context, at Position, pulse *pulse) (*resident, error) {
	pulse.report(Progress{What: "restore", Done: at.Checkpoint.Step, Of: at.Step()})
	run, err := loadRun(ctx, l.store, at.Spec)
	if err != nil {
		return nil, err
	}
	base, release, err := l.models.Use(ctx, at.Base)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := l.engine.FitsTraining(ctx, base, run); err != nil {
		return nil, err
	}
	r := &resident{run: at.Run, settings: at.Spec, spec: run, policy: at.Base.Digest}
	o := learnerOptions(run, base)
	if !at.Checkpoint.IsZero() {
		dir, err := os.MkdirTemp(l.dir, "restore-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir) //nolint:errcheck // emptied when the next process starts
		if _, err := checkpoint.Load(ctx, l.store, at.Checkpoint, dir); err != nil {
			return nil, err
		}
		o.Model, o.State = filepath.Join(dir, checkpoint.PolicyDir), filepath.Join(dir, checkpoint.StateDir)
		if r.state, err = update.ReadState(o.State, run.Update); err != nil {
			return nil, err
		}
		r.step, r.policy = at.Checkpoint.Step, at.Restored
		l.stateBytes = treeBytes(dir)
	} else {
		l.stateBytes = statesPerModel * treeBytes(base)
	}
	r.learner, err = l.engine.NewLearner(ctx, o)
	return r, err
}

// learnerOptions are those of a run before its first step; base is the folder of the model that it starts from.
func learnerOptions(run spec.Run, base string) LearnerOptions {
	return LearnerOptions{
		Model: base, Reference: base, Update: run.Update, Optimizer: run.Optimizer, LoRA: run.LoRA, Compute: run.Model.Compute, Seed: run.Seed,
	}
}

// replay repeats the stored steps since the checkpoint: no episode is rolled out again. The policy that comes out must be
// the one that was published.
func (l *Learner) replay(ctx context.Context, r *resident, at Position, pulse *pulse) error {
	for _, done := range at.Since {
		if _, _, err := l.learn(ctx, r, done.Experience, done.Rates, pulse, nil); err != nil {
			return fmt.Errorf("repeat step %d: %w", r.step+1, err)
		}
		r.step, r.policy = r.step+1, done.Policy
	}
	if len(at.Since) == 0 {
		return nil
	}
	got, err := l.digestOf(ctx, r.learner)
	if err != nil {
		return err
	}
	if got != r.policy {
		return fmt.Errorf("%w: after step %d policy %s, published was %s; go on where it was made, or from the checkpoint of step %d under a new name",
			ErrReplay, r.step, got.Short(), r.policy.Short(), at.Checkpoint.Step)
	}
	return nil
}

// learn makes one step of r with stored experience. seen, when not nil, is told what happens.
func (l *Learner) learn(ctx context.Context, r *resident, experience blob.Ref, peak *update.Rates, pulse *pulse, seen *witness) (Experience, update.Stats, error) {
	x, err := loadJSON[Experience](ctx, l.store, experience)
	if err != nil {
		return x, update.Stats{}, err
	}
	episodes, err := l.recent.load(ctx, l.store, r.run, x.Step, x.Episodes)
	if err != nil {
		return x, update.Stats{}, err
	}
	in := update.Input{Spec: r.spec, Step: r.step, Episodes: episodes, Rewards: x.earned(), Peak: peak, State: r.state}
	stats, err := update.Run(ctx, seen.of(r.learner), in, func(stage string, done, total int) {
		seen.enter(stage)
		pulse.report(Progress{What: fmt.Sprintf("step %d: %s", r.step+1, stage), Done: done, Of: total})
	})
	r.state = update.After(stats) // of no consequence after an error: the resident is dropped then
	if err == nil {
		err = seen.keep(ctx, r.learner, r.spec.Record, episodes)
	}
	return x, stats, err
}

// digestOf writes the learner's policy and returns its digest.
func (l *Learner) digestOf(ctx context.Context, learner update.Learner) (blob.Digest, error) {
	dir, err := os.MkdirTemp(l.dir, "digest-")
	if err != nil {
		return blob.Digest{}, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // emptied when the next process starts
	if err := learner.WritePolicy(ctx, dir); err != nil {
		return blob.Digest{}, err
	}
	return digestTree(dir)
}
