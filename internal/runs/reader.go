// Package runs reads what training runs left in the store: numbers of each step, dialogues, evaluations, checkpoints; and
// keeps an index beside itself, on disk, in which a million dialogues are searched in a second.
package runs

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"multiattempt/internal/blob"
	"multiattempt/internal/spec"
)

// ErrNone: nothing of that name is in the store.
var ErrNone = errors.New("not found")

// Fault is something of a run that could not be read; the rest of the run can.
type Fault struct {
	What string // "record of step 12"
	Err  error
}

func (f Fault) String() string { return fmt.Sprintf("%s: %v", f.What, f.Err) }

// keptRuns is the number of runs whose records stay in memory, about 2 KB a step.
const keptRuns = 32

// Reader reads runs. It may be used by several goroutines.
type Reader struct {
	store blob.Store
	dir   string // of files that can be made again

	mu       sync.Mutex
	runs     map[string]*Run
	use      map[string]int64 // when a run was used last, in uses
	uses     int64
	names    []string
	namesAt  time.Time
	shards   shardCache
	indexing map[string]*indexer
	work     sync.WaitGroup // of the indexers
}

// NewReader returns a reader of store that keeps an index below dir, an absolute path.
func NewReader(store blob.Store, dir string) *Reader {
	return &Reader{
		store: store, dir: filepath.Join(dir, "runs"), runs: map[string]*Run{}, use: map[string]int64{}, indexing: map[string]*indexer{},
	}
}

// Store is where the runs are.
func (r *Reader) Store() blob.Store { return r.store }

// namesFresh is how long a list of runs is taken for the current one.
const namesFresh = 2 * time.Second

// Names lists the runs that left anything, ascending.
func (r *Reader) Names(ctx context.Context) ([]string, error) {
	r.mu.Lock()
	names, at := r.names, r.namesAt
	r.mu.Unlock()
	if time.Since(at) < namesFresh {
		return names, nil
	}
	names, err := blob.Folders(ctx, r.store, "runs/")
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !spec.ValidRunID(n) })
	r.mu.Lock()
	r.names, r.namesAt = names, time.Now()
	r.mu.Unlock()
	return names, nil
}

// Run returns the run of that name with the records that are in the store now; ErrNone when it left nothing there.
func (r *Reader) Run(ctx context.Context, name string) (*Run, error) {
	if !spec.ValidRunID(name) { // which could be a path to somewhere else
		return nil, fmt.Errorf("run %q: %w", name, ErrNone)
	}
	run := r.run(name)
	if err := run.refresh(ctx); err != nil {
		return nil, err
	}
	if run.Last() > 0 {
		return run, nil
	}
	names, err := r.Names(ctx)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(names, name) {
		return nil, fmt.Errorf("run %q: %w", name, ErrNone)
	}
	return run, nil
}

// run returns the run in memory, and lets go of the one unused for longest when there are too many.
func (r *Reader) run(name string) *Run {
	r.mu.Lock()
	defer r.mu.Unlock()
	run, ok := r.runs[name]
	if !ok {
		run = &Run{Name: name, reader: r}
		r.runs[name] = run
	}
	r.uses++
	r.use[name] = r.uses
	if len(r.runs) > keptRuns {
		oldest := name
		for n, at := range r.use {
			if at < r.use[oldest] {
				oldest = n
			}
		}
		delete(r.runs, oldest)
		delete(r.use, oldest)
	}
	return run
}

// folder is where files about a run are kept on disk.
func (r *Reader) folder(run string) string { return filepath.Join(r.dir, run) }
