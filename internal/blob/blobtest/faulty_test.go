package blobtest_test

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
	"multiattempt/internal/blob/blobtest"
	"multiattempt/internal/blob/local"
	"multiattempt/internal/blob/s3"
)

// TestFaultsComeAndGo: whoever repeats gets through, and what was acknowledged is there.
func TestFaultsComeAndGo(t *testing.T) {
	below := blob.NewMemory()
	s := blobtest.NewFaulty(below, 1, 0.5)
	s.Patience = time.Microsecond
	for met := 0; met < 60; {
		met = 0
		ref, err := blob.PutAs(t.Context(), s, "k", []byte("bytes"))
		for err != nil {
			require.ErrorIs(t, err, blobtest.ErrFault)
			ref, err = blob.PutAs(t.Context(), s, "k", []byte("bytes"))
		}
		_, err = blob.Load(t.Context(), below, ref)
		require.NoError(t, err)
		for err = s.Delete(t.Context(), "k"); err != nil; err = s.Delete(t.Context(), "k") {
			require.ErrorIs(t, err, blobtest.ErrFault)
		}
		for kind, n := range s.Met() {
			require.Positive(t, n, kind)
			met += n
		}
	}
}

// TestFaultsAreThoseOfRealStores: what callers tell apart, and what people are told, is what the stores say themselves.
func TestFaultsAreThoseOfRealStores(t *testing.T) {
	s := blobtest.NewFaulty(blob.NewMemory(), 1, 1)
	s.Patience = time.Microsecond
	var got []error
	for range blobtest.Faults["put"] {
		_, err := s.Put(t.Context(), "k", strings.NewReader("x"), 1, blob.PutOptions{})
		require.NoError(t, err)
		_, err = s.Put(t.Context(), "k", strings.NewReader("x"), 1, blob.PutOptions{})
		got = append(got, err)
	}
	for kind, want := range map[string]error{
		"slow": nil, "503 SlowDown": blobtest.ErrFault, "reset mid-upload": syscall.ECONNRESET, "answer lost": blobtest.ErrFault,
		"time-out before": os.ErrDeadlineExceeded, "time-out after": s3.ErrUnreachable, "disk full": local.ErrFull, "service full": s3.ErrFull,
		"expired credentials": s3.ErrExpired, "clock skew": s3.ErrClockSkew,
	} {
		i := slices.Index(blobtest.Faults["put"], kind)
		require.GreaterOrEqual(t, i, 0, kind)
		require.ErrorIs(t, got[i], want, kind)
		require.Equal(t, 1, s.Met()["put "+kind])
	}
	require.Len(t, s.Met(), len(blobtest.Faults["put"]))
}
