package activities

import (
	"context"
	"slices"
	"sync"

	"multiattempt/internal/blob"
	"multiattempt/internal/rollout"
)

// Recent keeps the shards of episodes that this process sampled or read last, decoded: rewards and the update want what a
// rollout has just written. A shard goes by the digest of its bytes, so what is kept is what the store holds. Whoever gets
// episodes shares them with others and must not change them. A nil Recent keeps nothing.
type Recent struct {
	limit int64 // bytes

	mu    sync.Mutex
	held  int64
	parts []recentShard // the one that was not wanted for longest first
}

type recentShard struct {
	run      string
	step     int // iterations done before
	digest   blob.Digest
	episodes []rollout.Episode
	size     int64
}

// NewRecent returns a Recent of at most about so many bytes.
func NewRecent(limit int64) *Recent { return &Recent{limit: limit} }

// Share makes the activities of one process use r.
func (s Set) Share(r *Recent) {
	if s.Data != nil {
		s.Data.recent = r
	}
	if s.Rollouts != nil {
		s.Rollouts.recent = r
	}
	if s.Learner != nil {
		s.Learner.recent = r
	}
}

// load is LoadEpisodes for shards of a run's step that may be here already.
func (r *Recent) load(ctx context.Context, s blob.Store, run string, step int, shards []blob.Ref) ([]rollout.Episode, error) {
	return eachShard(ctx, shards, func(ctx context.Context, ref blob.Ref) ([]rollout.Episode, error) {
		if episodes, ok := r.find(ref.SHA256); ok {
			return episodes, nil
		}
		episodes, err := loadShard(ctx, s, ref)
		if err == nil {
			r.keep(run, step, ref.SHA256, episodes)
		}
		return episodes, err
	})
}

func (r *Recent) find(digest blob.Digest) ([]rollout.Episode, bool) {
	if r == nil {
		return nil, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.take(digest)
}

// take is find under the lock.
func (r *Recent) take(digest blob.Digest) ([]rollout.Episode, bool) {
	i := slices.IndexFunc(r.parts, func(p recentShard) bool { return p.digest == digest })
	if i < 0 {
		return nil, false
	}
	p := r.parts[i]
	r.parts = append(slices.Delete(r.parts, i, i+1), p)
	return p.episodes, true
}

// keep adds a stored shard of a run's step. It lets go of the run's earlier steps, which nobody wants any more, and of the
// oldest beyond the limit.
func (r *Recent) keep(run string, step int, digest blob.Digest, episodes []rollout.Episode) {
	if r == nil {
		return
	}
	p := recentShard{run, step, digest, episodes, memory(episodes)}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.take(digest); ok {
		return
	}
	r.parts, r.held = append(r.parts, p), r.held+p.size
	r.parts = slices.DeleteFunc(r.parts, func(old recentShard) bool {
		over := old.run == run && old.step < step || r.held > r.limit
		if over {
			r.held -= old.size
		}
		return over
	})
}

// memory is about what episodes take, in bytes.
func memory(episodes []rollout.Episode) int64 {
	n := 0
	for _, e := range episodes {
		n += 512 + 4*cap(e.Tokens) + cap(e.Mask) + 4*cap(e.LogProbs) + len(e.Question) + len(e.Gold)
		for _, a := range e.Attempts {
			n += 128 + len(a.Text)
		}
	}
	return int64(n)
}
