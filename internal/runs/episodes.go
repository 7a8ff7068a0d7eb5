package runs

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/internal/packed"
	"multiattempt/internal/rollout"
)

// Dialogue is one training episode with its place and reward. Its token arrays are only there when it was read by
// Run.Dialogue.
type Dialogue struct {
	Run      string
	Step     int // iterations done, the one of the dialogue included
	Position int // in the order of the step's shards
	Reward   float64
	rollout.Episode
}

// experience reads the list of a step's shards and rewards.
func (r *Run) experience(ctx context.Context, step int) (activities.Experience, error) {
	record, ok := r.Record(step)
	if !ok {
		return activities.Experience{}, fmt.Errorf("step %d of run %s: %w", step, r.Name, ErrNone)
	}
	b, err := blob.Load(ctx, r.reader.store, record.Experience)
	if err != nil {
		return activities.Experience{}, err
	}
	var x activities.Experience
	if err := json.Unmarshal(b, &x); err != nil {
		return x, fmt.Errorf("decode %s: %w", record.Experience.Key, err)
	}
	return x, nil
}

// Dialogue reads one dialogue of a step with its tokens.
func (r *Run) Dialogue(ctx context.Context, step, position int) (Dialogue, error) {
	x, err := r.experience(ctx, step)
	if err != nil {
		return Dialogue{}, err
	}
	if position < 0 || position >= len(x.Rewards) {
		return Dialogue{}, fmt.Errorf("step %d has %d dialogues: %w", step, len(x.Rewards), ErrNone)
	}
	at := 0
	var faults []error
	for _, ref := range x.Episodes {
		episodes, err := activities.LoadEpisodes(ctx, r.reader.store, []blob.Ref{ref})
		if err != nil {
			faults = append(faults, err)
			break // how many it held is not known
		}
		if position < at+len(episodes) {
			return Dialogue{Run: r.Name, Step: step, Position: position, Reward: x.Rewards[position], Episode: episodes[position-at]}, nil
		}
		at += len(episodes)
	}
	return Dialogue{}, errors.Join(append(faults, fmt.Errorf("dialogue %d of step %d: %w", position, step, ErrNone))...)
}

// eachBrief decodes a shard, without token arrays, one episode at a time. Errors name the line.
func eachBrief(b []byte, visit func(row int, e *rollout.Episode) error) error {
	return packed.Decode(b, func(r io.Reader) error { return eachBriefLine(bufio.NewReaderSize(r, 64<<10), visit) })
}

func eachBriefLine(lines *bufio.Reader, visit func(row int, e *rollout.Episode) error) (err error) {
	var line []byte
	for row := 0; ; row++ {
		line, err = readLine(lines, line[:0])
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: line %d: %w", rollout.ErrFormat, row+1, err)
		}
		var e struct {
			Version int `json:"v"`
			rollout.Episode
		}
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("%w: line %d: %w", rollout.ErrFormat, row+1, err)
		}
		if e.Version != rollout.FormatVersion {
			return fmt.Errorf("%w: line %d: format version %d, this program reads %d; use the program that wrote it",
				rollout.ErrFormat, row+1, e.Version, rollout.FormatVersion)
		}
		if err := visit(row, &e.Episode); err != nil {
			return err
		}
	}
}

// readLine reads up to a line feed into line, which is used again.
func readLine(r *bufio.Reader, line []byte) ([]byte, error) {
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// shardCache keeps the shards read last, without token arrays.
type shardCache struct {
	mu    sync.Mutex
	kept  []keptShard // the newest last
	bytes int64
}

type keptShard struct {
	key      string
	episodes []rollout.Episode
	bytes    int64
}

// mostCached bounds the text that the cache holds. Unit: bytes, about.
const mostCached = 24 << 20

// shard returns the episodes of a shard, without token arrays. They are shared: nobody changes them.
func (r *Reader) shard(ctx context.Context, ref blob.Ref) ([]rollout.Episode, error) {
	if episodes, ok := r.shards.get(ref.Key); ok {
		return episodes, nil
	}
	b, err := blob.Load(ctx, r.store, ref)
	if err != nil {
		return nil, err
	}
	k := keptShard{key: ref.Key}
	err = eachBrief(b, func(_ int, e *rollout.Episode) error {
		k.episodes = append(k.episodes, *e)
		k.bytes += int64(512 + len(e.Question) + len(e.Gold))
		for _, a := range e.Attempts {
			k.bytes += int64(128 + len(a.Text) + len(a.Answer))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("episodes %s: %w", ref.Key, err)
	}
	r.shards.put(k)
	return k.episodes, nil
}

func (c *shardCache) get(key string) ([]rollout.Episode, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, k := range c.kept {
		if k.key == key {
			c.kept = append(append(c.kept[:i:i], c.kept[i+1:]...), k)
			return k.episodes, true
		}
	}
	return nil, false
}

func (c *shardCache) put(k keptShard) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept = append(c.kept, k)
	c.bytes += k.bytes
	for c.bytes > mostCached && len(c.kept) > 1 {
		c.bytes -= c.kept[0].bytes
		c.kept = c.kept[1:]
	}
}
