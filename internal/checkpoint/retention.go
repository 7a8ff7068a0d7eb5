package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"multiattempt/internal/blob"
)

// Retention says which of a run's checkpoints stay. What latest or best points at always does.
type Retention struct {
	Keep      int   // the newest so many, at least 1
	KeepEvery int   // and those whose step is a multiple of it; 0: none
	Pinned    []int // and these steps
}

// keeps reports whether a step stays for its own sake.
func (r Retention) keeps(step int) bool {
	return slices.Contains(r.Pinned, step) || r.KeepEvery > 0 && step%r.KeepEvery == 0
}

// Prune deletes the run's checkpoints that are not to stay. A manifest goes before its parts, so that what is half deleted
// is no checkpoint; parts without a manifest below the latest step, left by such a deletion or by a learner that died, go
// too.
func Prune(ctx context.Context, s blob.Store, run string, r Retention) (deleted []int, err error) {
	refs, err := List(ctx, s, run)
	if err != nil {
		return nil, err
	}
	whole, stays, latest := map[int]bool{}, map[int]bool{}, 0
	for _, ref := range refs {
		whole[ref.Step] = true
	}
	for _, p := range []Pointer{Latest, Best} {
		t, err := Resolve(ctx, s, run, p)
		if err != nil && !errors.Is(err, ErrNone) {
			return nil, err
		}
		if err == nil {
			stays[t.Checkpoint.Step] = true
		}
		if err == nil && p == Latest {
			latest = t.Checkpoint.Step
		}
	}
	for _, ref := range refs[:max(0, len(refs)-max(1, r.Keep))] {
		if stays[ref.Step] || r.keeps(ref.Step) {
			continue
		}
		if err := remove(ctx, s, ref); err != nil {
			return deleted, fmt.Errorf("delete checkpoint %s@%d: %w", run, ref.Step, err)
		}
		deleted = append(deleted, ref.Step)
	}
	return deleted, sweep(ctx, s, run, func(step int) bool { return step >= latest || whole[step] })
}

// remove deletes a checkpoint, its manifest first.
func remove(ctx context.Context, s blob.Store, ref Ref) error {
	if err := s.Delete(ctx, ref.Key); err != nil {
		return err
	}
	return sweep(ctx, s, ref.Run, func(step int) bool { return step != ref.Step })
}

// sweep deletes every object of the run's steps that keep does not name.
func sweep(ctx context.Context, s blob.Store, run string, keep func(step int) bool) error {
	var parts []string
	err := s.List(ctx, Prefix(run), func(o blob.Info) error {
		digits, _, _ := strings.Cut(strings.TrimPrefix(o.Key, Prefix(run)), "/")
		if step, err := strconv.Atoi(digits); err == nil && !keep(step) {
			parts = append(parts, o.Key)
		}
		return nil
	})
	for _, key := range parts {
		err = errors.Join(err, s.Delete(ctx, key))
	}
	return err
}

// Erase deletes everything that a run has in the store, so that it may start over, and returns the number of objects. The
// newest manifests go first: what is half erased stands at an older checkpoint, or at none, and never at half of one. No
// worker may be at work on the run.
func Erase(ctx context.Context, s blob.Store, run string) (objects int, err error) {
	var manifests, rest []string
	err = s.List(ctx, "runs/"+run+"/", func(o blob.Info) error {
		if r, _, ok := ParseKey(o.Key); ok && r == run {
			manifests = append(manifests, o.Key)
		} else {
			rest = append(rest, o.Key)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	slices.Reverse(manifests)
	pointers := []string{Latest.key(run), Best.key(run)}
	for _, key := range slices.Concat(pointers, manifests, rest) {
		if err := s.Delete(ctx, key); err != nil {
			return objects, fmt.Errorf("erase %s: %w", run, err)
		}
		objects++
	}
	return max(0, objects-len(pointers)), nil
}
