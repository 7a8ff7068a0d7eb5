package web

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/klauspost/compress/gzhttp"

	"multiattempt/internal/chat"
	"multiattempt/internal/runs"
)

// liveFresh is how long an answer of the service is given to everybody who asks.
const liveFresh = time.Second

// liveTimeout bounds how long a page waits for the service.
const liveTimeout = 3 * time.Second

// cachedLive asks the service once for all browsers. A nil service knows no run.
type cachedLive struct {
	live Live
	mu   sync.Mutex
	list answer[[]LiveRun]
	runs map[string]*answer[LiveRun]
}

// answer is what the service said last.
type answer[T any] struct {
	mu    sync.Mutex
	at    time.Time
	value T
	err   error
}

func newCachedLive(live Live) *cachedLive {
	return &cachedLive{live: live, runs: map[string]*answer[LiveRun]{}}
}

// ask returns the last answer while it is fresh, or a new one; only one asks at a time.
func (a *answer[T]) ask(ctx context.Context, fresh func(context.Context) (T, error)) (T, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Since(a.at) < liveFresh {
		return a.value, a.err
	}
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	a.value, a.err = fresh(ctx)
	a.at = time.Now()
	return a.value, a.err
}

func (c *cachedLive) List(ctx context.Context) ([]LiveRun, error) {
	if c.live == nil {
		return nil, nil
	}
	return c.list.ask(ctx, c.live.List)
}

// Look returns what the service knows of a run; ErrUnknown when it knows none of that name.
func (c *cachedLive) Look(ctx context.Context, run string) (LiveRun, error) {
	if c.live == nil {
		return LiveRun{}, ErrUnknown
	}
	c.mu.Lock()
	a := c.runs[run]
	if a == nil {
		if len(c.runs) > 1000 { // names that browsers made up
			clear(c.runs)
		}
		a = &answer[LiveRun]{}
		c.runs[run] = a
	}
	c.mu.Unlock()
	return a.ask(ctx, func(ctx context.Context) (LiveRun, error) { return c.live.Look(ctx, run) })
}

// forget makes the next Look ask anew.
func (c *cachedLive) forget(run string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.runs, run)
}

func (c *cachedLive) home() string {
	if c.live == nil {
		return ""
	}
	return c.live.Home()
}

// tokenizers keeps the tokenizer used last: a large one takes tens of megabytes.
type tokenizers struct {
	mu   sync.Mutex
	run  string
	kept *chat.Template
}

// of returns the tokenizer of a run; a run keeps one for all its steps.
func (t *tokenizers) of(ctx context.Context, run *runs.Run, step int) (*chat.Template, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.run == run.Name && t.kept != nil {
		return t.kept, nil
	}
	template, err := run.Tokenizer(ctx, step)
	if err != nil {
		return nil, err
	}
	t.run, t.kept = run.Name, template
	return template, nil
}

// compressed sends pages and numbers with gzip, event streams as they are.
func compressed(next http.Handler) http.Handler {
	small := gzhttp.GzipHandler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/events" {
			next.ServeHTTP(w, r)
			return
		}
		small.ServeHTTP(w, r)
	})
}
