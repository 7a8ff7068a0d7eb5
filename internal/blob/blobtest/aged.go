package blobtest

import (
	"context"
	"io"
	"sync"
	"time"

	"multiattempt/internal/blob"
)

// Aged is a store whose objects grow old at once.
type Aged struct {
	blob.Store
	mu    sync.Mutex
	since time.Time
	by    time.Duration
}

// Age makes every object that is there now older by d; what is written from now on is young.
func (a *Aged) Age(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.since, a.by = time.Now(), d
}

func (a *Aged) aged(i blob.Info) blob.Info {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !i.Modified.After(a.since) {
		i.Modified = i.Modified.Add(-a.by)
	}
	return i
}

// Get implements blob.Store.
func (a *Aged) Get(ctx context.Context, key string) (io.ReadCloser, blob.Info, error) {
	body, i, err := a.Store.Get(ctx, key)
	return body, a.aged(i), err
}

// Stat implements blob.Store.
func (a *Aged) Stat(ctx context.Context, key string) (blob.Info, error) {
	i, err := a.Store.Stat(ctx, key)
	return a.aged(i), err
}

// List implements blob.Store.
func (a *Aged) List(ctx context.Context, prefix string, yield func(blob.Info) error) error {
	return a.Store.List(ctx, prefix, func(i blob.Info) error { return yield(a.aged(i)) })
}
