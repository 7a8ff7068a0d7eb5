package track

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMaskedChecksum(t *testing.T) {
	// CRC-32C of "123456789" is e3069283 (RFC 3720, B.4); the mask is TensorFlow's, from lib/hash/crc32c.h.
	crc := uint32(0xe3069283)
	want := crc>>15 | crc<<17
	want += 0xa282ead8
	require.Equal(t, want, masked([]byte("123456789")))
}

func TestRecordsAreReadBackAndTornOnesFound(t *testing.T) {
	var file []byte
	at := time.UnixMicro(1_700_000_000_500_000)
	file = appendRecord(file, versionEvent(at))
	file = appendRecord(file, summaryEvent(at, 7, scalarValue("a/b", 0.5)))
	whole := len(file)
	file = appendRecord(file, summaryEvent(at, 8, textValue("t", "text")))

	r := bytes.NewReader(file)
	first, err := readRecord(r)
	require.NoError(t, err)
	_, ok := placeOf(first)
	require.False(t, ok, "the version belongs nowhere")
	second, err := readRecord(r)
	require.NoError(t, err)
	p, ok := placeOf(second)
	require.True(t, ok)
	require.Equal(t, place{"a/b", 7}, p)
	_, err = readRecord(r)
	require.NoError(t, err)
	_, err = readRecord(r)
	require.ErrorIs(t, err, io.EOF)

	for cut := whole + 1; cut < len(file); cut++ {
		r := bytes.NewReader(file[whole:cut])
		_, err := readRecord(r)
		require.ErrorIs(t, err, errTorn, "cut at %d", cut)
	}
	for at := whole; at < len(file); at++ {
		bad := bytes.Clone(file[whole:])
		bad[at-whole]++
		_, err := readRecord(bytes.NewReader(bad))
		require.True(t, errors.Is(err, errTorn), "byte %d", at)
	}
}

// Export for the external tests.
func EventFile(dir, run string) string { return filepath.Join(dir, run, eventFile) }

// places reads what a file holds, in order, and fails at anything torn.
func Places(t *testing.T, file string) (tags []string, steps []int) {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	for r := bytes.NewReader(b); ; {
		event, err := readRecord(r)
		if errors.Is(err, io.EOF) {
			return tags, steps
		}
		require.NoError(t, err)
		if p, ok := placeOf(event); ok {
			tags, steps = append(tags, p.tag), append(steps, p.step)
		}
	}
}
