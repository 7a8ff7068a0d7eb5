package watch_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"multiattempt/internal/blob"
	"multiattempt/internal/blob/blobtest"
	"multiattempt/internal/blob/watch"
)

// tally adds up.
type tally struct {
	mu            sync.Mutex
	calls, failed map[string]int
	bytes         map[string]int64
}

func newTally() *tally {
	return &tally{calls: map[string]int{}, failed: map[string]int{}, bytes: map[string]int64{}}
}

func (t *tally) Store(op string, bytes int64, _ time.Duration, failed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls[op]++
	t.bytes[op] += bytes
	if failed {
		t.failed[op]++
	}
}

func TestConformance(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blob.Store { return watch.New(blob.NewMemory(), newTally(), nil) })
}

// full refuses every write.
type full struct{ blob.Store }

var errFull = errors.New("full")

func (full) Put(context.Context, string, io.ReadSeeker, int64, blob.PutOptions) (blob.Info, error) {
	return blob.Info{}, errFull
}

func TestCallsAreCountedAndTraced(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test")
	n := newTally()
	memory := blob.NewMemory()
	s := watch.New(memory, n, tracer)

	ref, err := blob.PutAs(t.Context(), s, "a/b", []byte("12345"))
	require.NoError(t, err)
	_, err = blob.Load(t.Context(), s, ref)
	require.NoError(t, err)
	_, err = s.Stat(t.Context(), "none")
	require.ErrorIs(t, err, blob.ErrNotFound)
	_, err = s.Put(t.Context(), "a/b", strings.NewReader("x"), 1, blob.PutOptions{IfAbsent: true})
	require.ErrorIs(t, err, blob.ErrExists)
	stop := errors.New("enough")
	require.ErrorIs(t, s.List(t.Context(), "", func(blob.Info) error { return stop }), stop)
	require.NoError(t, s.Delete(t.Context(), "a/b"))
	_, err = watch.New(full{memory}, n, tracer).Put(t.Context(), "c", strings.NewReader("x"), 1, blob.PutOptions{})
	require.ErrorIs(t, err, errFull)

	require.Equal(t, map[string]int{"put": 3, "get": 1, "stat": 1, "list": 1, "delete": 1}, n.calls)
	require.Equal(t, int64(5), n.bytes["put"])
	require.Equal(t, int64(5), n.bytes["get"])
	require.Equal(t, map[string]int{"put": 1}, n.failed, "absent keys and conditions are answers, not failures")
	require.Len(t, spans.Ended(), 7)
	require.Equal(t, "store.put", spans.Ended()[0].Name())
	require.Equal(t, codes.Error, spans.Ended()[6].Status().Code)
}
