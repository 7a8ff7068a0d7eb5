package runs

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"multiattempt/activities"
	"multiattempt/internal/blob"
)

// Run is one training run as the store has it.
type Run struct {
	Name   string
	reader *Reader

	mu      sync.Mutex
	loaded  bool // what is on disk was read
	at      time.Time
	records []stored // ascending by step
	unsaved int      // records that are not on disk yet
	faults  []Fault
}

// stored is a step's record with the version of the object that it was read from.
type stored struct {
	Key    string                `json:"key"`
	ETag   string                `json:"etag"`
	At     time.Time             `json:"at"`     // when it was written: when the step was done
	Bytes  json.RawMessage       `json:"record"` // as stored: a later version of this program may read more from it
	Record activities.StepRecord `json:"-"`
}

const (
	recordsFresh  = time.Second // how long a list of records is taken for the current one
	readsAtOnce   = 16          // objects read at the same time
	savedTogether = 64          // records that are new before the file is written again
)

// Records returns the numbers of every step, ascending. The slice is the caller's.
func (r *Run) Records() []activities.StepRecord {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]activities.StepRecord, len(r.records))
	for i := range r.records {
		all[i] = r.records[i].Record
	}
	return all
}

// Times returns when each step of Records was done.
func (r *Run) Times() []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]time.Time, len(r.records))
	for i := range r.records {
		all[i] = r.records[i].At
	}
	return all
}

// Record returns the numbers of one step.
func (r *Run) Record(step int) (activities.StepRecord, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.records { // steps are not always 1, 2, 3: a record may be unreadable
		if r.records[i].Record.Step == step {
			return r.records[i].Record, true
		}
	}
	return activities.StepRecord{}, false
}

// Last returns the newest step with a record; 0 before the first.
func (r *Run) Last() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.records) == 0 {
		return 0
	}
	return r.records[len(r.records)-1].Record.Step
}

// Faults says which records could not be read.
func (r *Run) Faults() []Fault {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Fault(nil), r.faults...)
}

// refresh reads the records that are new or changed since the last time.
func (r *Run) refresh(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.loaded && time.Since(r.at) < recordsFresh {
		return nil
	}
	if !r.loaded {
		r.load()
	}
	known := make(map[string]stored, len(r.records))
	for _, s := range r.records {
		known[s.Key] = s
	}
	var now []stored
	err := r.reader.store.List(ctx, activities.RecordPrefix(r.Name), func(o blob.Info) error {
		s := stored{Key: o.Key, ETag: o.ETag, At: o.Modified}
		if k, ok := known[o.Key]; ok && k.ETag == o.ETag {
			s = k
		}
		now = append(now, s)
		return nil
	})
	if err != nil {
		return fmt.Errorf("list records of %s: %w", r.Name, err)
	}
	fresh, faults := r.read(ctx, now)
	if err := ctx.Err(); err != nil {
		return err
	}
	r.records, r.faults, r.loaded, r.at = r.records[:0], faults, true, time.Now()
	for _, s := range now {
		if s.Record.Step > 0 {
			r.records = append(r.records, s)
		}
	}
	if r.unsaved += fresh; r.unsaved >= savedTogether {
		r.save()
	}
	return nil
}

// read fills in the records that are not known, several at a time, and returns how many they are.
func (r *Run) read(ctx context.Context, now []stored) (fresh int, faults []Fault) {
	var mu sync.Mutex
	var work sync.WaitGroup
	slots := make(chan struct{}, readsAtOnce)
	for i := range now {
		if now[i].Record.Step > 0 {
			continue
		}
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			b, err := blob.Read(ctx, r.reader.store, now[i].Key)
			if err == nil {
				err = now[i].parse(b)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				faults = append(faults, Fault{What: "record " + filepath.Base(now[i].Key), Err: err})
				return
			}
			fresh++
		})
	}
	work.Wait()
	return fresh, faults
}

// parse fills in the record from its bytes.
func (s *stored) parse(b []byte) error {
	var version struct {
		Version int `json:"version"`
	}
	var r activities.StepRecord
	if err := json.Unmarshal(b, &version); err != nil {
		return fmt.Errorf("half-written or damaged: %w", err)
	}
	if version.Version > 1 {
		return fmt.Errorf("format version %d, this program reads 1; use the program that wrote it", version.Version)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return fmt.Errorf("half-written or damaged: %w", err)
	}
	if r.Step < 1 || activities.RecordKey(r.Run, r.Step) != s.Key {
		return fmt.Errorf("it is of run %q, step %d", r.Run, r.Step)
	}
	s.Bytes, s.Record = b, r
	return nil
}

func (r *Run) file() string { return filepath.Join(r.reader.folder(r.Name), "records.jsonl") }

// load takes over what an earlier process kept; whatever is wrong with it is read from the store again.
func (r *Run) load() {
	f, err := os.Open(r.file())
	if err != nil {
		return
	}
	defer f.Close() //nolint:errcheck // only read
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var s stored
		if json.Unmarshal(lines.Bytes(), &s) == nil && s.parse(s.Bytes) == nil {
			r.records = append(r.records, s)
		}
	}
}

// save keeps the records for the next process. A disk that is full costs speed, nothing else.
func (r *Run) save() {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	for i := range r.records {
		if err := e.Encode(&r.records[i]); err != nil {
			return
		}
	}
	if os.MkdirAll(filepath.Dir(r.file()), 0o755) == nil && renameio.WriteFile(r.file(), b.Bytes(), 0o644) == nil {
		r.unsaved = 0
	}
}
