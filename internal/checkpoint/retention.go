package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"multiattempt/internal/blob"
)

// Retention says which of a run's checkpoints stay. What latest or best points at always does.
type Retention struct {
	Keep      int   `json:"keep"`                 // the newest so many, at least 1
	KeepEvery int   `json:"keep_every,omitempty"` // and those whose step is a multiple of it; 0: none
	Pinned    []int `json:"pinned,omitempty"`     // and these steps
}

// keeps reports whether a step stays for its own sake.
func (r Retention) keeps(step int) bool {
	return slices.Contains(r.Pinned, step) || r.KeepEvery > 0 && step%r.KeepEvery == 0
}

// Prune deletes the run's checkpoints that are not to stay. A manifest goes before its parts, so that what is half deleted
// is no checkpoint; parts without a manifest below the latest step, left by such a deletion or by a learner that died, go
// too.
func Prune(ctx context.Context, s blob.Store, run string, r Retention) (deleted []int, err error) {
	stays, latest := map[int]bool{}, 0
	for _, p := range []Pointer{Latest, Best} { // before the listing: what is below them now has its manifest then, or never
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
	objects, steps, err := stepObjects(ctx, s, run)
	if err != nil {
		return nil, err
	}
	whole := map[int]bool{}
	for _, step := range steps {
		whole[step] = true
	}
	for _, step := range steps[:max(0, len(steps)-max(1, r.Keep))] {
		if stays[step] || r.keeps(step) {
			continue
		}
		if err := remove(ctx, s, Key(run, step), objects[step]); err != nil {
			return deleted, fmt.Errorf("delete checkpoint %s@%d: %w", run, step, err)
		}
		deleted = append(deleted, step)
	}
	var left []string
	for step, keys := range objects {
		if step < latest && !whole[step] {
			left = append(left, keys...)
		}
	}
	return deleted, deleteAll(ctx, s, left)
}

// stepObjects lists everything below the run's checkpoints by step, and the steps that have a manifest, ascending.
func stepObjects(ctx context.Context, s blob.Store, run string) (objects map[int][]string, steps []int, err error) {
	objects = map[int][]string{}
	err = s.List(ctx, Prefix(run), func(o blob.Info) error {
		digits, _, _ := strings.Cut(strings.TrimPrefix(o.Key, Prefix(run)), "/")
		step, err := strconv.Atoi(digits)
		if err != nil {
			return nil //nolint:nilerr // nothing of ours
		}
		objects[step] = append(objects[step], o.Key)
		if o.Key == Key(run, step) {
			steps = append(steps, step)
		}
		return nil
	})
	slices.Sort(steps)
	return objects, steps, err
}

// remove deletes a checkpoint: candidates, then the manifest, then the parts. Commit relies on that order.
func remove(ctx context.Context, s blob.Store, manifest string, objects []string) error {
	var candidates, rest []string
	for _, key := range objects {
		switch {
		case strings.HasPrefix(path.Base(key), candidatePrefix) && path.Dir(key) == path.Dir(manifest):
			candidates = append(candidates, key)
		case key != manifest:
			rest = append(rest, key)
		}
	}
	for _, keys := range [][]string{candidates, {manifest}, rest} {
		if err := deleteAll(ctx, s, keys); err != nil {
			return err
		}
	}
	return nil
}

// deleteAll deletes objects, several at the same time.
func deleteAll(ctx context.Context, s blob.Store, keys []string) error {
	return eachPart(ctx, len(keys), func(ctx context.Context, i int) error { return s.Delete(ctx, keys[i]) })
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
