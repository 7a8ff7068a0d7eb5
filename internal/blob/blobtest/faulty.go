package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"multiattempt/internal/blob"
)

// ErrFault is what a Faulty store fails with. It goes away by itself.
var ErrFault = errors.New("injected fault")

// Faulty is a store over another that fails now and then in the ways real ones do: it is slow, it is away, its answer is
// lost after the work was done, an upload breaks off, a download breaks off or has a wrong byte, the disk is full.
type Faulty struct {
	blob.Store
	mu    sync.Mutex
	draw  *rand.Rand
	rate  float64
	count map[string]int
}

// NewFaulty returns a store of which each call fails with probability rate; seed says which.
func NewFaulty(s blob.Store, seed uint64, rate float64) *Faulty {
	return &Faulty{Store: s, draw: rand.New(rand.NewPCG(seed, 1)), rate: rate, count: map[string]int{}}
}

// Faults counts what was injected, by kind.
func (f *Faulty) Faults() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := map[string]int{}
	for kind, n := range f.count {
		all[kind] = n
	}
	return all
}

// strikes draws a kind of fault; empty: none.
func (f *Faulty) strikes(kinds ...string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.draw.Float64() >= f.rate {
		return ""
	}
	kind := kinds[f.draw.IntN(len(kinds))]
	f.count[kind]++
	return kind
}

func fault(kind, op, key string) error { return fmt.Errorf("%s %s: %w: %s", op, key, ErrFault, kind) }

// Put implements blob.Store.
func (f *Faulty) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, o blob.PutOptions) (blob.Info, error) {
	switch kind := f.strikes("slow", "503 SlowDown", "reset mid-upload", "answer lost", "disk full"); kind {
	case "", "slow":
		time.Sleep(time.Duration(len(kind)) * 100 * time.Microsecond) //nolint:forbidigo // slowness is the fault
	case "reset mid-upload":
		_, _ = io.CopyN(io.Discard, body, size/2) // nothing becomes visible, as Put's contract says
		return blob.Info{}, fault(kind, "put", key)
	case "answer lost":
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
	kind := f.strikes("slow", "503 SlowDown", "reset mid-download", "wrong byte")
	if kind == "503 SlowDown" {
		return nil, blob.Info{}, fault(kind, "get", key)
	}
	body, info, err := f.Store.Get(ctx, key)
	if err != nil || kind == "" || kind == "slow" {
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
	if kind := f.strikes("503 SlowDown"); kind != "" {
		return blob.Info{}, fault(kind, "stat", key)
	}
	return f.Store.Stat(ctx, key)
}

// List implements blob.Store.
func (f *Faulty) List(ctx context.Context, prefix string, yield func(blob.Info) error) error {
	if kind := f.strikes("503 SlowDown"); kind != "" {
		return fault(kind, "list", prefix)
	}
	return f.Store.List(ctx, prefix, yield)
}

// Delete implements blob.Store.
func (f *Faulty) Delete(ctx context.Context, key string) error {
	switch kind := f.strikes("503 SlowDown", "answer lost"); kind {
	case "":
	case "answer lost":
		if err := f.Store.Delete(ctx, key); err != nil {
			return err
		}
		return fault(kind, "delete", key)
	default:
		return fault(kind, "delete", key)
	}
	return f.Store.Delete(ctx, key)
}
