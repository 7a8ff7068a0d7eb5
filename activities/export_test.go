package activities

import (
	"context"
	"path/filepath"

	"multiattempt/internal/blob"
	"multiattempt/internal/rollout"
)

// SetFree makes the learner believe what free says of the disk that a folder is on: how many bytes are free, and its name.
func SetFree(l *Learner, free func(dir string) (bytes int64, name string)) {
	l.statfs = func(dir string) (disk, error) {
		n, name := free(dir)
		return disk{free: n, id: name}, nil
	}
}

// Copies are the states in the learner's own folder that are on their way to the store.
func Copies(l *Learner) []string {
	found, _ := filepath.Glob(filepath.Join(l.dir, "checkpoint-*"))
	return found
}

// LoadRecent is Recent's way to load shards.
func LoadRecent(ctx context.Context, r *Recent, s blob.Store, run string, step int, shards []blob.Ref) ([]rollout.Episode, error) {
	return r.load(ctx, s, run, step, shards)
}

// HeldBy is what a Recent holds, in bytes.
func HeldBy(r *Recent) int64 { return r.held }
