package packed_test

import (
	"errors"
	"io"
	"strings"
	"testing"

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
}

func TestErrorsOfTheCallerArePassedOn(t *testing.T) {
	broken := errors.New("broken")
	_, err := packed.Encode(func(io.Writer) error { return broken })
	require.ErrorIs(t, err, broken)
	b, err := packed.Encode(func(io.Writer) error { return nil })
	require.NoError(t, err)
	require.ErrorIs(t, packed.Decode(b, func(io.Reader) error { return broken }), broken)
}
