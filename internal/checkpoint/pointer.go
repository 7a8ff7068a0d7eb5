package checkpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

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
		return Target{}, "", fmt.Errorf("%w: run %s has no %s; `multiattempt checkpoints %s` lists what it has, `multiattempt runs` the runs", ErrNone, run, p, run)
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
