package activities

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"multiattempt/internal/checkpoint"
)

// Checkpoint stores the learner's full state after the input's last step as a candidate, which CommitCheckpoint makes a
// checkpoint. The state is copied to the local disk first: while the copy is on its way to the store the device is free.
func (l *Learner) Checkpoint(ctx context.Context, in CheckpointInput) (CheckpointOutput, error) {
	return alive(ctx, func(p *pulse) (CheckpointOutput, error) {
		var copied snapshot
		err := l.alone(ctx, p, func() (err error) {
			copied, err = l.snapshot(ctx, in.At, p)
			return err
		})
		if err != nil {
			return CheckpointOutput{}, err
		}
		defer os.RemoveAll(copied.dir) //nolint:errcheck // emptied when the next process starts
		return l.keep(ctx, in.At, copied, p)
	})
}

// snapshot is a learner's full state on the local disk.
type snapshot struct {
	dir  string // PolicyDir and StateDir, of this process alone
	meta checkpoint.Meta
}

// snapshot copies the state that at describes; the caller removes the folder. Nobody else may use the device meanwhile.
func (l *Learner) snapshot(ctx context.Context, at Position, pulse *pulse) (s snapshot, err error) {
	r, err := l.hold(ctx, at, pulse)
	if err != nil {
		return s, err
	}
	s.meta = checkpoint.Meta{Run: at.Run, Step: at.Step()}
	if s.meta.Spec, err = r.spec.Digest(); err != nil {
		return s, err
	}
	if s.dir, err = os.MkdirTemp(l.dir, "checkpoint-"); err != nil {
		return s, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(s.dir))
		}
	}()
	pulse.report(Progress{What: "copy state"})
	if err := l.room(s.dir, l.stateBytes, true); err != nil {
		return s, err
	}
	if err := writeState(ctx, r.learner, s.dir); err != nil {
		return s, errors.Join(err, l.drop())
	}
	if err := r.state.Write(filepath.Join(s.dir, checkpoint.StateDir), r.spec.Update); err != nil {
		return s, err
	}
	l.stateBytes = treeBytes(s.dir)
	return s, nil
}

// keep stores a snapshot as a candidate.
func (l *Learner) keep(ctx context.Context, at Position, s snapshot, pulse *pulse) (out CheckpointOutput, err error) {
	pulse.report(Progress{What: "store state"})
	out.Own = l.own
	files, err := checkpoint.Digest(ctx, s.dir)
	if err != nil {
		return out, err
	}
	got := policyDigest(checkpoint.Manifest{Files: files}.Folder(checkpoint.PolicyDir))
	if got != at.Policy.Digest { // a checkpoint is never replaced, so it is compared before it is there
		return out, fmt.Errorf("%w: the state after step %d holds policy %s, published was %s; no checkpoint of it was made",
			ErrReplay, at.Step(), got.Short(), at.Policy.Digest.Short())
	}
	out.Candidate, out.Policy, err = storeCheckpoint(ctx, l.store, s.meta, s.dir, files)
	return out, err
}
