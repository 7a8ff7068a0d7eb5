package checkpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"multiattempt/internal/blob"
)

// Pointer is a name that moves from checkpoint to checkpoint.
type Pointer string

// The pointers of a run.
const (
	Latest Pointer = "latest" // the newest checkpoint
	Best   Pointer = "best"   // the one with the highest score, decided after its evaluation
)

// Target is what a pointer points at.
type Target struct {
	Checkpoint Ref     `json:"checkpoint"`
	Score      float64 `json:"score,omitempty"` // of Best
}

func (p Pointer) key(run string) string { return "runs/" + run + "/" + string(p) + ".json" }

// Resolve returns what the pointer points at; ErrNone before it was first set.
func Resolve(ctx context.Context, s blob.Store, run string, p Pointer) (Target, error) {
	t, _, err := resolve(ctx, s, run, p)
	return t, err
}

func resolve(ctx context.Context, s blob.Store, run string, p Pointer) (Target, string, error) {
	b, info, err := readSmall(ctx, s, p.key(run))
	if errors.Is(err, blob.ErrNotFound) {
		return Target{}, "", fmt.Errorf("%w: run %s has no %s", ErrNone, run, p)
	}
	if err != nil {
		return Target{}, "", err
	}
	var t Target
	if err := json.Unmarshal(b, &t); err != nil {
		return Target{}, "", fmt.Errorf("%w: %s: %w", blob.ErrCorrupt, p.key(run), err)
	}
	return t, info.ETag, nil
}

// Advance moves the pointer to t unless it points at something later (Latest: a higher step; Best: a higher score, or the
// same score at an earlier step). It returns what the pointer points at afterwards. Concurrent moves do not get lost.
func Advance(ctx context.Context, s blob.Store, p Pointer, t Target) (Target, error) {
	run := t.Checkpoint.Run
	b, err := json.Marshal(t)
	if err != nil {
		return Target{}, err
	}
	for {
		now, version, err := resolve(ctx, s, run, p)
		opts := blob.PutOptions{IfMatch: version}
		switch {
		case errors.Is(err, ErrNone):
			opts = blob.PutOptions{IfAbsent: true}
		case err != nil:
			return Target{}, err
		case now == t || !p.before(now, t):
			return now, nil
		}
		_, err = s.Put(ctx, p.key(run), bytes.NewReader(b), int64(len(b)), opts)
		if err == nil {
			return t, nil
		}
		if !errors.Is(err, blob.ErrConflict) && !errors.Is(err, blob.ErrExists) {
			return Target{}, fmt.Errorf("move %s of %s: %w", p, run, err)
		}
	}
}

// before reports whether the pointer should leave now for t.
func (p Pointer) before(now, t Target) bool {
	if p == Best && now.Score != t.Score {
		return now.Score < t.Score
	}
	if p == Best {
		return t.Checkpoint.Step < now.Checkpoint.Step
	}
	return now.Checkpoint.Step <= t.Checkpoint.Step
}

// Prune deletes the run's checkpoints beyond the keep newest ones (at least 1). What latest or best points at and the
// pinned steps stay. A manifest goes before its parts, so that what is half deleted is no checkpoint; parts without a
// manifest below the latest step, left by such a deletion or by a learner that died, go too.
func Prune(ctx context.Context, s blob.Store, run string, keep int, pinned ...int) (deleted []int, err error) {
	refs, err := List(ctx, s, run)
	if err != nil {
		return nil, err
	}
	whole, stays, latest := map[int]bool{}, map[int]bool{}, 0
	for _, ref := range refs {
		whole[ref.Step] = true
	}
	for _, step := range pinned {
		stays[step] = true
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
	for _, ref := range refs[:max(0, len(refs)-max(1, keep))] {
		if stays[ref.Step] {
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
