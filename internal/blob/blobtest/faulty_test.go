package blobtest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
	"multiattempt/internal/blob/blobtest"
)

// TestFaultsComeAndGo: whoever repeats gets through, and what was acknowledged is there.
func TestFaultsComeAndGo(t *testing.T) {
	below := blob.NewMemory()
	s := blobtest.NewFaulty(below, 1, 0.5)
	var ref blob.Ref
	var err error
	for range 200 {
		if ref, err = blob.PutAs(t.Context(), s, "k", []byte("bytes")); err == nil {
			break
		}
		require.ErrorIs(t, err, blobtest.ErrFault)
	}
	require.NoError(t, err)
	_, err = blob.Load(t.Context(), below, ref)
	require.NoError(t, err)
	require.NotEmpty(t, s.Faults())
}
