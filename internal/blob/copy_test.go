package blob_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
)

func TestCopySumCopiesAndHashes(t *testing.T) {
	body := make([]byte, 5<<20+3)
	for i := range body {
		body[i] = byte(i % 251)
	}
	for _, size := range []int{0, 1, 1<<20 - 1, 1 << 20, 1<<20 + 1, 4 << 20, len(body)} {
		var to bytes.Buffer
		got, n, err := blob.CopySum(&to, iotest.HalfReader(bytes.NewReader(body[:size])))
		require.NoError(t, err)
		require.Equal(t, blob.Sum(body[:size]), got, "%d bytes", size)
		require.Equal(t, int64(size), n)
		require.True(t, bytes.Equal(body[:size], to.Bytes()))
	}
	for _, size := range []int{7, 3 << 20} {
		_, _, err := blob.CopySum(io.Discard, io.MultiReader(bytes.NewReader(body[:size]), iotest.ErrReader(io.ErrUnexpectedEOF)))
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "a connection that ends too early is no end of the bytes")
		_, _, err = blob.CopySum(full{}, bytes.NewReader(body[:size]))
		require.ErrorIs(t, err, errFull)
	}
}

var errFull = errors.New("full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }
