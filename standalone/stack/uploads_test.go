package stack_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
	"multiattempt/internal/blob/s3"
)

// cut is the way to the store, on which the connection breaks within the second part of an upload.
type cut struct {
	mu     sync.Mutex
	breaks int  // how often
	dead   bool // and nothing gets through afterwards: the writer is gone
	broken int
}

func (c *cut) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	strikes := r.Method == http.MethodPut && r.URL.Query().Get("partNumber") == "2" && c.broken < c.breaks
	if strikes {
		c.broken++
	}
	gone := c.dead && c.broken > 0 && !strikes
	c.mu.Unlock()
	reset := &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", syscall.ECONNRESET)}
	if gone {
		return nil, reset
	}
	if !strikes {
		return http.DefaultTransport.RoundTrip(r)
	}
	r.Body = io.NopCloser(io.MultiReader(io.LimitReader(r.Body, 1<<20), failing{reset})) // the server has seen 1 MiB of it
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil {
		err = resp.Body.Close()
	}
	return nil, errorOr(err, reset)
}

func errorOr(err, other error) error {
	if err == nil {
		return other
	}
	return err
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestUploadsThatBreakInTheirSecondPart: with the embedded service, an upload goes on, or leaves no object; what a dead writer
// leaves is found and aborted.
func TestUploadsThatBreakInTheirSecondPart(t *testing.T) {
	service := start(t, options(t))
	data := bytes.Repeat([]byte("0123456789abcdef"), 11<<16) // two parts of 5 MiB and one of 1
	ref := blob.Ref{Key: "runs/r/checkpoints/000001/parts-1/state/critic.safetensors", SHA256: blob.Sum(data), Size: int64(len(data))}
	through := func(c *cut, retries int) *s3.Store {
		o := access(service)
		o.PartSize, o.MaxRetries, o.Transport = 5<<20, retries, c
		s, err := s3.Open(t.Context(), o)
		require.NoError(t, err)
		return s
	}
	calm := store(t, service)
	left := func(prefix string, before time.Time, dry bool) (int, int64) {
		uploads, n, err := calm.SweepUploads(t.Context(), prefix, before, dry)
		require.NoError(t, err)
		return uploads, n
	}
	later := time.Now().Add(time.Hour)

	away := &cut{breaks: 9}
	require.ErrorIs(t, blob.Ensure(t.Context(), through(away, 2), ref, bytes.NewReader(data)), s3.ErrUnreachable)
	require.Equal(t, 2, away.broken)
	_, err := calm.Stat(t.Context(), ref.Key)
	require.ErrorIs(t, err, blob.ErrNotFound, "all of it or nothing")
	n, _ := left("runs/", later, true)
	require.Zero(t, n, "whoever lives cleans up")

	dead := &cut{breaks: 1, dead: true}
	require.Error(t, blob.Ensure(t.Context(), through(dead, 1), ref, bytes.NewReader(data)))
	n, size := left("runs/r/", later, true)
	require.Equal(t, 1, n)
	require.EqualValues(t, 5<<20, size%(6<<20), "the first part, and perhaps the last")
	for prefix, before := range map[string]time.Time{"runs/other/": later, "blobs/": later, "runs/r/": time.Now().Add(-time.Hour)} {
		n, _ = left(prefix, before, false)
		require.Zero(t, n, "another run's, or young")
	}
	n, _ = left("runs/r/", later, false)
	require.Equal(t, 1, n)
	n, _ = left("", later, true)
	require.Zero(t, n)

	once := &cut{breaks: 1}
	require.NoError(t, blob.Ensure(t.Context(), through(once, 3), ref, bytes.NewReader(data)))
	require.Equal(t, 1, once.broken)
	b, err := blob.Load(t.Context(), calm, ref)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, b))
	n, _ = left("", later, true)
	require.Zero(t, n)
}
