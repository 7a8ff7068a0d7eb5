package runs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/internal/rollout"
)

// DefaultIndexBytes bounds the index on disk; the runs unused for longest go first.
const DefaultIndexBytes = 4 << 30

// indexersAtOnce is the number of steps that are indexed at the same time, over all runs.
const indexersAtOnce = 2

var indexSlots = make(chan struct{}, indexersAtOnce)

// indexer builds the segments of one run that are missing.
type indexer struct {
	done atomic.Int64 // steps with a segment
	of   atomic.Int64
	ends chan struct{} // closed when it has finished
}

// Indexed says how far the index of a run is.
type Indexed struct {
	Steps, Of int
	Building  bool
}

// segmentPath is where the index of a step lies. It names the episodes it was made from, so that a step that was made
// again has another.
func (r *Run) segmentPath(record activities.StepRecord) string {
	return filepath.Join(r.reader.folder(r.Name), "index", fmt.Sprintf("%06d-%s.seg", record.Step, record.Experience.SHA256.Short()))
}

// buildSegment indexes one step, unless that is done already.
func (r *Run) buildSegment(ctx context.Context, record activities.StepRecord) error {
	path := r.segmentPath(record)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	x, err := r.experience(ctx, record.Step)
	if err != nil {
		return err
	}
	b := newBuilder(len(x.Rewards))
	at := 0
	for i, ref := range x.Episodes {
		object, err := blob.Load(ctx, r.reader.store, ref)
		if err != nil {
			return err
		}
		err = eachBrief(object, func(row int, e *rollout.Episode) error {
			if at >= len(x.Rewards) {
				return fmt.Errorf("%w: more episodes than the %d rewards of step %d", rollout.ErrFormat, len(x.Rewards), record.Step)
			}
			texts := make([]string, 0, 3+len(e.Attempts))
			texts = append(texts, e.ProblemID, e.Question, e.Gold)
			for _, a := range e.Attempts {
				texts = append(texts, a.Text)
			}
			b.add(newEntry(e, x.Rewards[at], i, row), texts...)
			at++
			return ctx.Err()
		})
		if err != nil {
			return fmt.Errorf("episodes %s: %w", ref.Key, err)
		}
	}
	if at != len(x.Rewards) {
		return fmt.Errorf("%w: %d episodes, %d rewards", rollout.ErrFormat, at, len(x.Rewards))
	}
	return writeSegment(path, b.bytes())
}

// Index makes the missing part of a run's index in the background, the newest steps first, until ctx ends. It returns at
// once; a second call while one is at work changes nothing.
func (r *Run) Index(ctx context.Context) {
	rd := r.reader
	rd.mu.Lock()
	defer rd.mu.Unlock()
	if ix := rd.indexing[r.Name]; ix != nil && !ix.ended() {
		return
	}
	records := r.Records()
	ix := &indexer{ends: make(chan struct{})}
	ix.of.Store(int64(len(records)))
	rd.indexing[r.Name] = ix
	rd.work.Go(func() {
		defer close(ix.ends)
		_ = rd.evict(r.Name) // a disk that is too full shows in the segments that cannot be written
		r.indexAll(ctx, records, ix)
	})
}

// Wait returns when nothing is being indexed any more.
func (r *Reader) Wait() { r.work.Wait() }

func (ix *indexer) ended() bool {
	select {
	case <-ix.ends:
		return true
	default:
		return false
	}
}

func (r *Run) indexAll(ctx context.Context, records []activities.StepRecord, ix *indexer) {
	var work sync.WaitGroup
	defer work.Wait()
	for _, record := range slices.Backward(records) {
		if _, err := os.Stat(r.segmentPath(record)); err == nil {
			ix.done.Add(1)
			continue
		}
		select {
		case <-ctx.Done():
			return
		case indexSlots <- struct{}{}:
		}
		work.Go(func() {
			defer func() { <-indexSlots }()
			// What is wrong with a step's episodes the search says when it meets it.
			if r.buildSegment(ctx, record) == nil {
				ix.done.Add(1)
			}
		})
	}
}

// Indexed says how far the run's index is, as far as this process knows.
func (r *Run) Indexed() Indexed {
	r.reader.mu.Lock()
	ix := r.reader.indexing[r.Name]
	r.reader.mu.Unlock()
	if ix == nil {
		return Indexed{}
	}
	return Indexed{Steps: int(ix.done.Load()), Of: int(ix.of.Load()), Building: !ix.ended()}
}

// Wait returns when the index that is being made is finished, or ctx ends.
func (r *Run) Wait(ctx context.Context) error {
	r.reader.mu.Lock()
	ix := r.reader.indexing[r.Name]
	r.reader.mu.Unlock()
	if ix == nil {
		return nil
	}
	select {
	case <-ix.ends:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// evict removes the indices of the runs unused for longest until the rest fits, never that of keep.
func (r *Reader) evict(keep string) error {
	type folder struct {
		path  string
		bytes int64
		used  time.Time
	}
	var all []folder
	var total int64
	entries, err := os.ReadDir(r.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		f := folder{path: filepath.Join(r.dir, e.Name(), "index")}
		err := filepath.WalkDir(f.path, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".seg") {
				return nil // gone meanwhile, or never there
			}
			if info, err := d.Info(); err == nil {
				f.bytes += info.Size()
			}
			return nil
		})
		if err != nil {
			return err
		}
		if info, err := os.Stat(f.path); err == nil {
			f.used = info.ModTime()
		}
		total += f.bytes
		if e.Name() != keep {
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b folder) int { return a.used.Compare(b.used) })
	for _, f := range all {
		if total <= DefaultIndexBytes {
			break
		}
		if err := os.RemoveAll(f.path); err != nil {
			return err
		}
		total -= f.bytes
	}
	now := time.Now()
	if err := os.Chtimes(filepath.Join(r.folder(keep), "index"), now, now); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
