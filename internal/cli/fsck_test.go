package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
)

// cutOff is a store with uploads that were never finished.
type cutOff struct {
	blob.Store
	asked []string
}

func (c *cutOff) SweepUploads(_ context.Context, prefix string, before time.Time, dry bool) (int, int64, error) {
	if time.Since(before) < blob.CollectAfter {
		prefix += " young"
	}
	if !dry {
		prefix += " aborted"
	}
	c.asked = append(c.asked, prefix)
	return 2, 3_000_000, nil
}

// TestFsckLooksForUploadsWithinItsRunsOnly: a bucket may be shared, and an upload under way is none of its concern.
func TestFsckLooksForUploadsWithinItsRunsOnly(t *testing.T) {
	store := &cutOff{Store: blob.NewMemory()}
	_, err := store.Put(t.Context(), "runs/r/records/000001.json", strings.NewReader("{}"), 2, blob.PutOptions{})
	require.NoError(t, err)
	for args, want := range map[string][]string{
		"":                           {"runs/", "blobs/"},
		"--gc --older 1ms":           {"runs/ aborted", "blobs/ aborted"},
		"r":                          {"runs/r/"},
		"r --gc --older 1ms":         {"runs/r/ aborted"},
		"r --gc --older 48h --read ": {"runs/r/ aborted"},
	} {
		var out bytes.Buffer
		store.asked = nil
		a := &app{stdout: &out, stderr: &out, connected: func(context.Context) (*services, error) { return &services{store: store}, nil }}
		cmd := a.newFsck()
		cmd.SetArgs(strings.Fields(args))
		require.NoError(t, cmd.ExecuteContext(t.Context()), args)
		require.Equal(t, want, store.asked, args)
		require.Contains(t, out.String(), "2 uploads of 3.0 MB were never finished", args)
	}
}
