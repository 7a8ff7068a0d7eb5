package packed_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"multiattempt/internal/packed"
)

func TestWhatGoesInComesOut(t *testing.T) {
	text := strings.Repeat("equal bytes in, equal bytes out\n", 10_000)
	write := func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}
	once, err := packed.Encode(write)
	require.NoError(t, err)
	require.Less(t, len(once), len(text)/10)
	again, err := packed.Encode(write)
	require.NoError(t, err)
	require.Equal(t, once, again)

	var got []byte
	read := func(r io.Reader) (err error) {
		got, err = io.ReadAll(r)
		return err
	}
	require.NoError(t, packed.Decode(once, read))
	require.Equal(t, text, string(got))
	require.Error(t, packed.Decode(once[:len(once)/2], read), "a torn frame")
	require.Error(t, packed.Decode([]byte("no frame"), read))
	require.NoError(t, packed.Decode(once, read), "nor do errors show in what comes next")
	require.Equal(t, text, string(got))
}

// TestWhatWasPackedBeforeDoesNotShow packs texts of all sizes one after the other, often enough for an encoder's positions to
// start over, and compares every frame with that of an encoder of its own: a retry elsewhere must give the same bytes.
func TestWhatWasPackedBeforeDoesNotShow(t *testing.T) {
	draw := rand.New(rand.NewPCG(1, 2))
	alphabet := make([]byte, 1<<20)
	for i := range alphabet {
		alphabet[i] = `abcdefgh ,{}":0123`[draw.IntN(18)]
	}
	for round := range 300 {
		size := []int{0, 1, 10, 1000, 100_000, 128 << 10, 128<<10 + 1, 300_000}[draw.IntN(8)]
		if round%60 == 0 {
			size = 9 << 20 // beyond the window
		}
		var text []byte
		for len(text) < size {
			length := 1 + draw.IntN(60)
			from, at := alphabet, draw.IntN(1<<(8+draw.IntN(12)))
			if draw.IntN(3) == 0 && len(text) > length {
				from, at = text, draw.IntN(len(text)-length)
			}
			text = append(text, from[at:at+length]...)
		}
		got, err := packed.Encode(func(w io.Writer) error {
			_, err := w.Write(text)
			return err
		})
		require.NoError(t, err)
		var want bytes.Buffer
		z, err := zstd.NewWriter(&want, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault))
		require.NoError(t, err)
		_, err = z.Write(text)
		require.NoError(t, err)
		require.NoError(t, z.Close())
		require.True(t, bytes.Equal(want.Bytes(), got), "round %d: %d bytes", round, len(text))
	}
}

func TestErrorsOfTheCallerArePassedOn(t *testing.T) {
	broken := errors.New("broken")
	_, err := packed.Encode(func(io.Writer) error { return broken })
	require.ErrorIs(t, err, broken)
	b, err := packed.Encode(func(io.Writer) error { return nil })
	require.NoError(t, err)
	require.ErrorIs(t, packed.Decode(b, func(io.Reader) error { return broken }), broken)
}
