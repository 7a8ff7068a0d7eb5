package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"time"

	"multiattempt/internal/blob"
	"multiattempt/internal/blob/local"
	"multiattempt/internal/blob/s3"
)

// ErrFault is what a Faulty store fails with, beside the errors of real stores. It goes away by itself.
var ErrFault = errors.New("injected fault")

// Faults are the kinds of faults by call. Each call's come in this order, over and over.
var Faults = map[string][]string{
	"put": {
		"slow", "503 SlowDown", "reset mid-upload", "answer lost", "time-out before", "time-out after",
		"disk full", "service full", "expired credentials", "clock skew",
	},
	"get":    {"slow", "503 SlowDown", "reset mid-download", "wrong byte", "time-out before", "expired credentials", "clock skew"},
	"stat":   {"503 SlowDown", "time-out before", "expired credentials"},
	"list":   {"503 SlowDown", "time-out before"},
	"delete": {"503 SlowDown", "answer lost", "time-out after"},
}

// causes are the errors that stores of ours report for faults; the others are ErrFault alone.
var causes = map[string]error{
	"reset mid-upload":    fmt.Errorf("%w (%w)", s3.ErrUnreachable, syscall.ECONNRESET),
	"reset mid-download":  syscall.ECONNRESET,
	"time-out before":     fmt.Errorf("%w (%w)", s3.ErrUnreachable, os.ErrDeadlineExceeded),
	"time-out after":      fmt.Errorf("%w (%w)", s3.ErrUnreachable, os.ErrDeadlineExceeded),
	"disk full":           fmt.Errorf("%w (%w)", local.ErrFull, syscall.ENOSPC),
	"service full":        s3.ErrFull,
	"expired credentials": s3.ErrExpired,
	"clock skew":          s3.ErrClockSkew,
}

// Faulty is a store over another that fails now and then in the ways real ones do: it is slow, it is away, it does not answer in
// time, its answer is lost after the work was done, an upload breaks off, a download breaks off or has a wrong byte, the disk is
// full, credentials expire and are renewed, a clock is wrong and set.
type Faulty struct {
	blob.Store
	// Patience is how long a caller waits for an answer: a slow call takes half of it, one that times out all of it.
	Patience time.Duration

	mu    sync.Mutex
	draw  *rand.Rand
	rate  float64
	calls map[string]int // by call
	met   map[string]int // faults by call
	count map[string]int // by call and kind
}

// NewFaulty returns a store of which every other call fails until each kind of fault has come once, and then each call with
// probability rate; seed says which.
func NewFaulty(s blob.Store, seed uint64, rate float64) *Faulty {
	return &Faulty{
		Store: s, Patience: 10 * time.Millisecond, draw: rand.New(rand.NewPCG(seed, 1)), rate: rate,
		calls: map[string]int{}, met: map[string]int{}, count: map[string]int{},
	}
}

// Met counts what was injected, by call and kind: "put disk full".
func (f *Faulty) Met() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.count)
}

// strikes says whether a call fails, and how; empty: it does not. It waits as long as such a failure takes.
func (f *Faulty) strikes(call string) string {
	f.mu.Lock()
	kind, kinds := "", Faults[call]
	f.calls[call]++
	strikes := f.calls[call]%2 == 0
	if f.met[call] >= len(kinds) { // all were met
		strikes = f.draw.Float64() < f.rate
	}
	if strikes {
		kind = kinds[f.met[call]%len(kinds)]
		f.met[call]++
		f.count[call+" "+kind]++
	}
	f.mu.Unlock()
	switch kind {
	case "slow":
		time.Sleep(f.Patience / 2) //nolint:forbidigo // slowness is the fault
	case "time-out before", "time-out after":
		time.Sleep(f.Patience) //nolint:forbidigo // slowness is the fault
	}
	return kind
}

func fault(kind, call, key string) error {
	err := fmt.Errorf("%s %s: %w: %s", call, key, ErrFault, kind)
	if cause := causes[kind]; cause != nil {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return err
}

// Put implements blob.Store.
func (f *Faulty) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, o blob.PutOptions) (blob.Info, error) {
	switch kind := f.strikes("put"); kind {
	case "", "slow":
	case "reset mid-upload":
		_, _ = io.CopyN(io.Discard, body, size/2) // nothing becomes visible, as Put's contract says
		return blob.Info{}, fault(kind, "put", key)
	case "answer lost", "time-out after":
		if _, err := f.Store.Put(ctx, key, body, size, o); err != nil {
			return blob.Info{}, err
		}
		return blob.Info{}, fault(kind, "put", key)
	default:
		return blob.Info{}, fault(kind, "put", key)
	}
	return f.Store.Put(ctx, key, body, size, o)
}

// Get implements blob.Store.
func (f *Faulty) Get(ctx context.Context, key string) (io.ReadCloser, blob.Info, error) {
	kind := f.strikes("get")
	switch kind {
	case "", "slow":
		return f.Store.Get(ctx, key)
	case "reset mid-download", "wrong byte":
	default:
		return nil, blob.Info{}, fault(kind, "get", key)
	}
	body, info, err := f.Store.Get(ctx, key)
	if err != nil {
		return body, info, err
	}
	b, err := io.ReadAll(body)
	if err = errors.Join(err, body.Close()); err != nil {
		return nil, info, err
	}
	if kind == "reset mid-download" {
		return io.NopCloser(io.MultiReader(bytes.NewReader(b[:len(b)/2]), broken{fault(kind, "get", key)})), info, nil
	}
	if b = bytes.Clone(b); len(b) > 0 {
		b[len(b)/2] ^= 1
	}
	return io.NopCloser(bytes.NewReader(b)), info, nil
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

// Stat implements blob.Store.
func (f *Faulty) Stat(ctx context.Context, key string) (blob.Info, error) {
	if kind := f.strikes("stat"); kind != "" {
		return blob.Info{}, fault(kind, "stat", key)
	}
	return f.Store.Stat(ctx, key)
}

// List implements blob.Store.
func (f *Faulty) List(ctx context.Context, prefix string, yield func(blob.Info) error) error {
	if kind := f.strikes("list"); kind != "" {
		return fault(kind, "list", prefix)
	}
	return f.Store.List(ctx, prefix, yield)
}

// Delete implements blob.Store.
func (f *Faulty) Delete(ctx context.Context, key string) error {
	switch kind := f.strikes("delete"); kind {
	case "":
	case "answer lost", "time-out after":
		if err := f.Store.Delete(ctx, key); err != nil {
			return err
		}
		return fault(kind, "delete", key)
	default:
		return fault(kind, "delete", key)
	}
	return f.Store.Delete(ctx, key)
}
