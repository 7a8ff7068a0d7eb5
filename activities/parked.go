package activities

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"multiattempt/internal/blob"
	"multiattempt/internal/checkpoint"
)

// parkedKept is the number of learners that wait on the local disk while another one is on the device.
const parkedKept = 3

// parked is a learner that gave the device to another run's. It comes back from the local disk as it was: two runs that
// share a worker cost a write and a read at each change, and no step is repeated.
type parked struct {
	resident             // its learner is nil
	dir      string      // PolicyDir and StateDir, of this process alone
	digest   blob.Digest // of every file in dir
}

// park writes the resident to the local disk and frees the device. What cannot be written is only forgotten: any learner
// can be rebuilt from the store.
func (l *Learner) park(ctx context.Context, pulse *pulse) error {
	if l.resident == nil {
		return l.drop()
	}
	pulse.report(Progress{What: "park " + l.resident.run, Done: l.resident.step})
	dir, err := os.MkdirTemp(l.dir, "parked-")
	if err != nil {
		return err
	}
	p := parked{resident: *l.resident, dir: dir}
	p.learner = nil
	if err = l.room(dir, l.stateBytes, false); err == nil {
		err = writeState(ctx, l.resident.learner, dir)
	}
	if err == nil {
		p.digest, err = digestTree(dir)
	}
	if err != nil {
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), os.RemoveAll(dir))
		}
		return errors.Join(l.drop(), os.RemoveAll(dir))
	}
	// An older state of the same run is of no use any more.
	at := slices.IndexFunc(l.parked, func(old parked) bool { return old.run == p.run && old.settings == p.settings })
	if at < 0 && len(l.parked) == parkedKept {
		at = 0
	}
	if at >= 0 {
		err = os.RemoveAll(l.parked[at].dir)
		l.parked = slices.Delete(l.parked, at, at+1)
	}
	l.parked = append(l.parked, p)
	return errors.Join(err, l.drop())
}

// unpark brings back the learner in the state that at describes; nil when none waits.
func (l *Learner) unpark(ctx context.Context, at Position, pulse *pulse) (*resident, error) {
	for i := range l.parked {
		p := &l.parked[i]
		if !p.is(at) {
			continue
		}
		pulse.report(Progress{What: "unpark " + p.run, Done: p.step})
		r := p.resident
		dir, want := p.dir, p.digest
		l.parked = append(l.parked[:i:i], l.parked[i+1:]...)
		defer os.RemoveAll(dir) //nolint:errcheck // emptied when the next process starts
		if got, err := digestTree(dir); err != nil || got != want {
			return nil, nil // the local disk is no longer to be trusted: the store is
		}
		base, release, err := l.models.Use(ctx, at.Base)
		if err != nil {
			return nil, err
		}
		defer release()
		o := learnerOptions(r.spec, base)
		o.Model, o.State = filepath.Join(dir, checkpoint.PolicyDir), filepath.Join(dir, checkpoint.StateDir)
		r.learner, err = l.engine.NewLearner(ctx, o)
		return &r, err
	}
	return nil, nil
}

// digestTree is the digest of the names and contents of all files below dir: of a policy's folder, its policyDigest.
func digestTree(dir string) (blob.Digest, error) {
	h := sha256.New()
	err := eachFile(dir, func(name, path string) error {
		sum, _, err := blob.SumFile(path)
		fmt.Fprintf(h, "%s %s\n", name, sum)
		return err
	})
	return blob.Digest(h.Sum(nil)), err
}
