package rollout_test

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"multiattempt/internal/rollout"
)

// stored are episodes whose text, numbers and lengths are awkward to store.
func stored() []rollout.Episode {
	long := rollout.Episode{
		ProblemID: "p<1>", Question: "a \"b\" & c\nd \u2028 é", Gold: `\frac12`, Index: 3, Sample: 1, MaxTries: 2,
		Policy: strings.Repeat("0f", 32), Seed: math.MaxUint64, Step: 12,
		Attempts: []rollout.Attempt{
			{Start: 2, End: 9, Outcome: rollout.Wrong, Text: "so <3>", Answer: "3", Rule: "integer", Opaque: true, PaperCorrect: true},
			{Start: 10, End: 11, Outcome: rollout.NoAnswer},
		},
		Tokens: []int32{0, 1, 151_664, math.MaxInt32, 4, 5, 6, 7, 8, 9, 10},
		Mask:   []bool{false, false, true, true, true, true, true, true, true, false, true},
		LogProbs: []float32{0, 0, -0.1, -math.MaxFloat32, -math.SmallestNonzeroFloat32, float32(math.Copysign(0, -1)), -1, -2, -3, 0,
			-1. / 3},
	}
	return []rollout.Episode{long, {ProblemID: "empty", Attempts: []rollout.Attempt{}, Tokens: []int32{}, Mask: []bool{}, LogProbs: []float32{}}}
}

func TestStoredEpisodesReadBackAlike(t *testing.T) {
	b, err := rollout.Encode(stored())
	require.NoError(t, err)
	got, err := rollout.Decode(b)
	require.NoError(t, err)
	require.Equal(t, stored(), got)
	require.True(t, math.Signbit(float64(got[0].LogProbs[5])), "every bit of a log-probability")

	again, err := rollout.Encode(got)
	require.NoError(t, err)
	require.Equal(t, b, again, "equal episodes have equal bytes")

	none, err := rollout.Encode(nil)
	require.NoError(t, err)
	got, err = rollout.Decode(none)
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestStoredLineIsDocumented(t *testing.T) {
	b, err := rollout.Encode(stored()[:1])
	require.NoError(t, err)
	require.Equal(t, `{"v":1,"problem_id":"p<1>","question":"a \"b\" & c\nd \u2028 é","gold":"\\frac12","index":3,"sample":1,`+
		`"attempts_allowed":2,"attempts":[{"start":2,"end":9,"outcome":"wrong","text":"so <3>","answer":"3","rule":"integer",`+
		`"opaque":true,"paper_correct":true},{"start":10,"end":11,"outcome":"no_answer","text":""}],"policy":"`+strings.Repeat("0f", 32)+
		`","seed":18446744073709551615,"step":12,"tokens":"AAAAAAEAAABwUAIA////fwQAAAAFAAAABgAAAAcAAAAIAAAACQAAAAoAAAA=",`+
		`"mask":"/AU=","logprobs":"AAAAAAAAAADNzMy9//9//wEAAIAAAACAAACAvwAAAMAAAEDAAAAAAKuqqr4="}`+"\n", plain(t, b),
		"docs/formats.md describes this line; a change here is a new format version")
}

// plain decompresses.
func plain(t *testing.T, b []byte) string {
	t.Helper()
	z, err := zstd.NewReader(nil)
	require.NoError(t, err)
	defer z.Close()
	text, err := z.DecodeAll(b, nil)
	require.NoError(t, err)
	return string(text)
}

// packed compresses.
func packed(t *testing.T, text string) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	return z.EncodeAll([]byte(text), nil)
}

func TestBrokenFilesAreRefusedByLine(t *testing.T) {
	b, err := rollout.Encode(stored())
	require.NoError(t, err)
	text := plain(t, b)
	first, _, _ := strings.Cut(text, "\n")
	change := func(old, new string) string {
		require.Contains(t, first, old)
		return first + "\n" + strings.Replace(first, old, new, 1) + "\n"
	}
	for name, c := range map[string]struct{ text, saying string }{
		"not JSON":           {first + "\n{\n", "line 2"},
		"cut off":            {text[:len(text)-1], "line 2"},
		"newer":              {change(`{"v":1,`, `{"v":2,`), "line 2: format version 2, this program reads 1"},
		"no version":         {change(`{"v":1,`, `{`), "line 2: format version 0"},
		"not base64":         {change(`"mask":"/AU="`, `"mask":"/AU"`), "line 2"},
		"mask of other size": {change(`"mask":"/AU="`, `"mask":"/AUA"`), "line 2: arrays of 44, 3 and 44 bytes"},
		"other mask":         {change(`"mask":"/AU="`, `"mask":"/AE="`), "line 2: inconsistent episode p<1>/1"},
		"other kind":         {change(`"seed":18446744073709551615`, `"seed":-1`), "line 2"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := rollout.Decode(packed(t, c.text))
			require.ErrorIs(t, err, rollout.ErrFormat)
			require.ErrorContains(t, err, c.saying)
		})
	}
	for name, bad := range map[string][]byte{"not compressed": []byte(text), "cut off": b[:len(b)/2], "one bit": flipped(b)} {
		_, err := rollout.Decode(bad)
		require.ErrorIs(t, err, rollout.ErrFormat, name)
	}
}

// flipped returns b with one bit changed in its middle.
func flipped(b []byte) []byte {
	b = bytes.Clone(b)
	b[len(b)/2] ^= 1
	return b
}

func BenchmarkEncode(b *testing.B) {
	episodes := make([]rollout.Episode, 128)
	for i := range episodes {
		n := 1000
		e := rollout.Episode{ProblemID: fmt.Sprint(i), Attempts: []rollout.Attempt{{Start: 0, End: n}}}
		for t := range n {
			e.Tokens, e.Mask, e.LogProbs = append(e.Tokens, int32(i*t%5000)), append(e.Mask, true), append(e.LogProbs, -float32(t%77)/13)
		}
		episodes[i] = e
	}
	for b.Loop() {
		_, err := rollout.Encode(episodes)
		require.NoError(b, err)
	}
}
