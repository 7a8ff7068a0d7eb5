package rollout

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"multiattempt/internal/packed"
)

// FormatVersion is the version of the episode format that Encode writes; docs/formats.md describes it.
const FormatVersion = 1

// ErrFormat: bytes that are not episodes of a version known here.
var ErrFormat = errors.New("unreadable episodes")

// line is an episode as one line of JSON; arrays are packed little-endian and base64.
type line struct {
	Version int `json:"v"`
	Episode
	PackedTokens   []byte `json:"tokens"`   // int32 each
	PackedMask     []byte `json:"mask"`     // one bit each, lowest bit first
	PackedLogProbs []byte `json:"logprobs"` // float32 each
}

// Encode writes episodes as JSON lines, compressed with Zstandard. Equal episodes give equal bytes.
func Encode(episodes []Episode) ([]byte, error) {
	return packed.Encode(func(w io.Writer) error {
		lines := json.NewEncoder(w)
		lines.SetEscapeHTML(false)
		for i := range episodes {
			e := &episodes[i]
			if err := e.Check(); err != nil {
				return err
			}
			l := line{
				Version: FormatVersion, Episode: *e,
				PackedTokens: packInts(e.Tokens), PackedMask: packBits(e.Mask), PackedLogProbs: packFloats(e.LogProbs),
			}
			if err := lines.Encode(&l); err != nil {
				return err
			}
		}
		return nil
	})
}

// Decode reads what Encode wrote. Errors name the line.
func Decode(b []byte) (episodes []Episode, err error) {
	err = packed.Decode(b, func(r io.Reader) error {
		episodes, err = readLines(bufio.NewReader(r))
		return err
	})
	return episodes, err
}

func readLines(r *bufio.Reader) ([]Episode, error) {
	var episodes []Episode
	for n := 1; ; n++ {
		text, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(text) == 0 {
			return episodes, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrFormat, n, err)
		}
		e, err := parseLine(text)
		if err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrFormat, n, err)
		}
		episodes = append(episodes, e)
	}
}

func parseLine(text []byte) (Episode, error) {
	var head struct {
		Version int `json:"v"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return Episode{}, err
	}
	if head.Version != FormatVersion {
		return Episode{}, fmt.Errorf("format version %d, this program reads %d; use the program that wrote it", head.Version, FormatVersion)
	}
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return Episode{}, err
	}
	n := len(l.PackedTokens) / 4
	if len(l.PackedTokens)%4 != 0 || len(l.PackedLogProbs) != 4*n || len(l.PackedMask) != (n+7)/8 {
		return Episode{}, fmt.Errorf("arrays of %d, %d and %d bytes do not belong together",
			len(l.PackedTokens), len(l.PackedMask), len(l.PackedLogProbs))
	}
	e := l.Episode
	e.Tokens, e.Mask, e.LogProbs = make([]int32, n), make([]bool, n), make([]float32, n)
	for t := range n {
		e.Tokens[t] = int32(binary.LittleEndian.Uint32(l.PackedTokens[4*t:]))
		e.Mask[t] = l.PackedMask[t/8]>>(t%8)&1 == 1
		e.LogProbs[t] = math.Float32frombits(binary.LittleEndian.Uint32(l.PackedLogProbs[4*t:]))
	}
	return e, e.Check()
}

func packInts(v []int32) []byte {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, uint32(x))
	}
	return b
}

func packFloats(v []float32) []byte {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

func packBits(v []bool) []byte {
	b := make([]byte, (len(v)+7)/8)
	for i, x := range v {
		if x {
			b[i/8] |= 1 << (i % 8)
		}
	}
	return b
}
