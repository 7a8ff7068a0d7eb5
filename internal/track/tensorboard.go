package track

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"multiattempt/internal/blob"
)

// eventFile is the one file of a run: its name sorts before those that TensorFlow writes.
const eventFile = "events.out.tfevents.0000000001.multiattempt"

// TensorBoard writes one folder of events a run.
type TensorBoard struct {
	dir string

	mu      sync.Mutex
	written map[string]*written // by run
}

// written is what a run's file holds.
type written struct {
	size   int64 // of the file when it was last looked at; another process may have changed it since
	places map[place]bool
	steps  int // records up to this step are in the file
}

// NewTensorBoard writes below dir, which is what `tensorboard --logdir` reads.
func NewTensorBoard(dir string) *TensorBoard {
	return &TensorBoard{dir: dir, written: map[string]*written{}}
}

// Name implements Tracker.
func (t *TensorBoard) Name() string { return "TensorBoard in " + t.dir }

// Sync implements Tracker: it appends scalars, settings and sample dialogues that the run's file lacks. A record that a
// crash left half written is cut off first.
func (t *TensorBoard) Sync(ctx context.Context, s blob.Store, run string) (err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	dir := filepath.Join(t.dir, run)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	lock := flock.New(filepath.Join(dir, ".multiattempt.lock"))
	if _, err := lock.TryLockContext(ctx, 100*time.Millisecond); err != nil {
		return fmt.Errorf("event file of %s: %w", run, err)
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	f, err := os.OpenFile(filepath.Join(dir, eventFile), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	have, err := t.open(f, run)
	if err != nil {
		return fmt.Errorf("event file of %s: %w", run, err)
	}
	w := &eventWriter{ctx: ctx, store: s, have: have}
	if err := w.collect(run); err != nil {
		delete(t.written, run) // it says more than the file holds
		return err
	}
	n, err := f.Write(w.buffer)
	have.size += int64(n)
	if err != nil {
		delete(t.written, run)
	}
	return err
}

// open finds out what the file holds and leaves it at its end.
func (t *TensorBoard) open(f *os.File, run string) (*written, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if w := t.written[run]; w != nil && w.size == info.Size() {
		_, err := f.Seek(0, io.SeekEnd)
		return w, err
	}
	w := &written{places: map[place]bool{}}
	r := bufio.NewReaderSize(f, 1<<20)
	for {
		event, err := readRecord(r)
		if errors.Is(err, io.EOF) || errors.Is(err, errTorn) {
			break
		}
		if err != nil {
			return nil, err
		}
		w.size += int64(len(event)) + 16
		if p, ok := placeOf(event); ok {
			w.places[p] = true
		}
	}
	for p := range w.places {
		if p.tag == lastTag {
			w.steps = max(w.steps, p.step)
		}
	}
	if err := f.Truncate(w.size); err != nil {
		return nil, err
	}
	t.written[run] = w
	_, err = f.Seek(w.size, io.SeekStart)
	return w, err
}

// lastTag is written after all others of a step: a step that has it is complete.
const lastTag = "progress/step_iterations"

// eventWriter collects the events that a file lacks.
type eventWriter struct {
	ctx    context.Context
	store  blob.Store
	have   *written
	buffer []byte
}

func (w *eventWriter) collect(run string) error {
	settings, err := ReadSettings(w.ctx, w.store, run)
	if err != nil {
		return err
	}
	if w.have.size == 0 {
		w.buffer = appendRecord(w.buffer, versionEvent(settings.At))
	}
	start, err := startValue(settings)
	if err != nil {
		return err
	}
	w.add(settings.At, place{tagHparamsStart, 0}, start)
	steps, err := Steps(w.ctx, w.store, run, w.have.steps)
	if err != nil {
		return err
	}
	for _, step := range steps {
		if err := w.step(step); err != nil {
			return err
		}
	}
	evaluations, err := Evaluations(w.ctx, w.store, run)
	if err != nil {
		return err
	}
	for _, e := range evaluations {
		for _, sc := range e.Scalars() {
			w.add(e.At, place{sc.Tag(), e.Step}, scalarValue(sc.Tag(), sc.Value))
		}
	}
	if n := len(steps); n > 0 && steps[n-1].Step == settings.Iterations {
		w.add(steps[n-1].At, place{tagHparamsEnd, 0}, endValue(steps[n-1].At))
	}
	return nil
}

func (w *eventWriter) step(step Step) error {
	scalars, err := step.Scalars()
	if err != nil {
		return err
	}
	for _, sc := range scalars {
		w.add(step.At, place{sc.Tag(), step.Step}, scalarValue(sc.Tag(), sc.Value))
	}
	if step.Step%sampleEvery == 0 || step.Step == 1 {
		text, err := samples(w.ctx, w.store, step)
		if err != nil {
			return err
		}
		if text != "" {
			w.add(step.At, place{"dialogues", step.Step}, textValue("dialogues", text))
		}
	}
	w.add(step.At, place{lastTag, step.Step}, scalarValue(lastTag, float64(step.Step)))
	w.have.steps = step.Step
	return nil
}

// add appends a value unless the file has it.
func (w *eventWriter) add(at time.Time, p place, value []byte) {
	if w.have.places[p] {
		return
	}
	w.have.places[p] = true
	w.buffer = appendRecord(w.buffer, summaryEvent(at, p.step, value))
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
