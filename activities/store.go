package activities

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"multiattempt/internal/blob"
	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
)

// putJSON stores v as dir/name-DIGEST.json.
func putJSON(ctx context.Context, s blob.Store, dir, name string, v any) (blob.Ref, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return blob.Ref{}, fmt.Errorf("encode %s: %w", name, err)
	}
	return blob.PutAs(ctx, s, named(dir, name, ".json", b), b)
}

// loadJSON reads an object that putJSON stored.
func loadJSON[T any](ctx context.Context, s blob.Store, ref blob.Ref) (T, error) {
	var v T
	b, err := blob.Load(ctx, s, ref)
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return v, fmt.Errorf("decode %s: %w", ref.Key, err)
	}
	return v, nil
}

// latest remembers the object that was read last: the shards of an iteration want the same. Nobody changes what it returns.
type latest[T any] struct {
	mu    sync.Mutex
	ref   blob.Ref
	value T
}

// load is loadJSON.
func (l *latest[T]) load(ctx context.Context, s blob.Store, ref blob.Ref) (T, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ref == l.ref && ref != (blob.Ref{}) {
		return l.value, nil
	}
	v, err := loadJSON[T](ctx, s, ref)
	if err == nil {
		l.ref, l.value = ref, v
	}
	return v, err
}

// loadRun reads a resolved spec.Run.
func loadRun(ctx context.Context, s blob.Store, ref blob.Ref) (spec.Run, error) {
	return loadJSON[spec.Run](ctx, s, ref)
}

// putEpisodes stores a shard's episodes as dir/name-DIGEST.jsonl.zst.
func putEpisodes(ctx context.Context, s blob.Store, dir, name string, episodes []rollout.Episode) (blob.Ref, error) {
	b, err := rollout.Encode(episodes)
	if err != nil {
		return blob.Ref{}, err
	}
	return blob.PutAs(ctx, s, named(dir, name, ".jsonl.zst", b), b)
}

// LoadEpisodes reads shards of episodes, side by side, and returns them in the order given.
func LoadEpisodes(ctx context.Context, s blob.Store, shards []blob.Ref) ([]rollout.Episode, error) {
	return eachShard(ctx, shards, func(ctx context.Context, ref blob.Ref) ([]rollout.Episode, error) { return loadShard(ctx, s, ref) })
}

func eachShard(ctx context.Context, shards []blob.Ref, load func(context.Context, blob.Ref) ([]rollout.Episode, error)) ([]rollout.Episode, error) {
	parts := make([][]rollout.Episode, len(shards))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, ref := range shards {
		group.Go(func() (err error) {
			parts[i], err = load(ctx, ref)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return slices.Concat(parts...), nil
}

func loadShard(ctx context.Context, s blob.Store, ref blob.Ref) ([]rollout.Episode, error) {
	b, err := blob.Load(ctx, s, ref)
	if err != nil {
		return nil, err
	}
	episodes, err := rollout.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("episodes %s: %w", ref.Key, err)
	}
	return episodes, nil
}
