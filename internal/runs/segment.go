package runs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"

	"multiattempt/internal/rollout"
)

// A segment is the index of one step's dialogues, a file that can be made again from the episodes:
//
//	header   magic, version, E dialogues, B rows; uint32 each, little-endian
//	entries  E × 36 bytes, in the order of the step's shards
//	rows     B × ⌈E/8⌉ bytes: bit e of row b is set when the text of dialogue e has a trigram whose hash is b
//
// A search reads the entries and, for each trigram of the text that is looked for, one row; dialogues whose bit is set in
// all of them are read and compared. B is a power of two, chosen so that rows stay sparse.
const (
	segmentMagic   = 0x4d414958
	segmentVersion = 2
	headerSize     = 16
	entrySize      = 36
	mostRows       = 8192
	fewestRows     = 256
	densest        = 0.15 // share of set bits up to which rows are folded together
)

// errSegment: a file is no segment of this version; it is made again.
var errSegment = errors.New("unreadable segment")

// entry is what the index says of one dialogue.
type entry struct {
	problem  uint64 // hash of its id
	question uint64 // hash of its text
	reward   float32
	tokens   uint32 // sampled
	shard    uint16
	row      uint16 // in its shard
	sample   uint16
	allowed  uint8
	used     uint8
	last     uint8 // outcome of the last attempt: position in outcomes
	flags    uint8
}

// The flags of an entry.
const (
	flagRecovered = 1 << iota // solved after a failure
	flagRepeats               // an attempt gives an earlier answer again, in the same words
	flagBounded               // the grader gave up on an attempt
	flagDisagree              // the paper's rules judge an attempt differently
)

// outcomes are numbered by their position here.
var outcomes = []rollout.Outcome{rollout.Correct, rollout.Wrong, rollout.NoAnswer, rollout.Truncated, rollout.Bounded}

func textHash(text string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text)) // never fails
	return h.Sum64()
}

func newEntry(e *rollout.Episode, reward float64, shard, row int) entry {
	x := entry{
		problem: textHash(e.ProblemID), question: textHash(e.Question), reward: float32(reward), shard: uint16(shard), row: uint16(row),
		sample: uint16(min(e.Sample, math.MaxUint16)), allowed: small(e.MaxTries), used: small(len(e.Attempts)),
	}
	for i, a := range e.Attempts {
		x.tokens += uint32(a.End - a.Start)
		x.last = uint8(max(0, slices.Index(outcomes, a.Outcome)))
		if a.Outcome == rollout.Bounded {
			x.flags |= flagBounded
		}
		if a.TypedCorrect != a.PaperCorrect {
			x.flags |= flagDisagree
		}
		if a.Answer != "" && slices.ContainsFunc(e.Attempts[:i], func(b rollout.Attempt) bool { return b.Answer == a.Answer }) {
			x.flags |= flagRepeats
		}
	}
	if e.Solved() > 0 {
		x.flags |= flagRecovered
	}
	return x
}

func small(n int) uint8 { return uint8(min(n, math.MaxUint8)) }

func (x entry) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, x.problem)
	b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x.reward))
	b = binary.LittleEndian.AppendUint32(b, x.tokens)
	b = binary.LittleEndian.AppendUint16(b, x.shard)
	b = binary.LittleEndian.AppendUint16(b, x.row)
	b = binary.LittleEndian.AppendUint16(b, x.sample)
	b = append(b, x.allowed, x.used, x.last, x.flags, 0, 0)
	return binary.LittleEndian.AppendUint64(b, x.question)
}

func parseEntry(b []byte) entry {
	return entry{
		problem: binary.LittleEndian.Uint64(b), reward: math.Float32frombits(binary.LittleEndian.Uint32(b[8:])),
		tokens: binary.LittleEndian.Uint32(b[12:]), shard: binary.LittleEndian.Uint16(b[16:]), row: binary.LittleEndian.Uint16(b[18:]),
		sample: binary.LittleEndian.Uint16(b[20:]), allowed: b[22], used: b[23], last: b[24], flags: b[25], question: binary.LittleEndian.Uint64(b[28:]),
	}
}

// builder gathers a segment.
type builder struct {
	entries []entry
	stride  int
	rows    []byte // mostRows × stride
	set     int    // bits
}

func newBuilder(episodes int) *builder {
	stride := (episodes + 7) / 8
	return &builder{stride: stride, rows: make([]byte, mostRows*stride)}
}

func (b *builder) add(x entry, texts ...string) {
	e := len(b.entries)
	at, bit := e/8, byte(1)<<(e%8)
	b.entries = append(b.entries, x)
	for _, text := range texts {
		eachTrigram(text, func(h uint32) {
			if cell := &b.rows[int(h)*b.stride+at]; *cell&bit == 0 {
				*cell |= bit
				b.set++
			}
		})
	}
}

// eachTrigram calls visit with the hash, below mostRows, of every three bytes of the text in lower case.
func eachTrigram(text string, visit func(hash uint32)) {
	const shift = 32 - 13 // mostRows = 2¹³
	lower := strings.ToLower(text)
	for i := 0; i+3 <= len(lower); i++ {
		x := uint32(lower[i]) | uint32(lower[i+1])<<8 | uint32(lower[i+2])<<16
		visit((x * 0x9e3779b1) >> shift)
	}
}

// bytes returns the segment, its rows folded as far as they stay sparse.
func (b *builder) bytes() []byte {
	rows := mostRows
	density := float64(b.set) / float64(max(1, len(b.entries)*mostRows))
	for rows > fewestRows && 2*density <= densest {
		rows /= 2
		density *= 2
		low, high := b.rows[:rows*b.stride], b.rows[rows*b.stride:2*rows*b.stride]
		for i := range low {
			low[i] |= high[i]
		}
	}
	out := make([]byte, 0, headerSize+len(b.entries)*entrySize+rows*b.stride)
	for _, x := range []uint32{segmentMagic, segmentVersion, uint32(len(b.entries)), uint32(rows)} {
		out = binary.LittleEndian.AppendUint32(out, x)
	}
	for _, x := range b.entries {
		out = x.append(out)
	}
	return append(out, b.rows[:rows*b.stride]...)
}

// segment is an open index of one step.
type segment struct {
	f        *os.File
	episodes int
	rows     int
	stride   int
}

func openSegment(path string) (*segment, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s := &segment{f: f}
	var head [headerSize]byte
	if _, err = f.ReadAt(head[:], 0); err == nil {
		err = s.parse(head)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w: %w", path, errSegment, err), f.Close())
	}
	return s, nil
}

func (s *segment) parse(head [headerSize]byte) error {
	word := func(i int) int { return int(binary.LittleEndian.Uint32(head[4*i:])) }
	s.episodes, s.rows = word(2), word(3)
	s.stride = (s.episodes + 7) / 8
	if word(0) != segmentMagic || word(1) != segmentVersion || bits.OnesCount(uint(s.rows)) != 1 || s.rows > mostRows {
		return errors.New("header")
	}
	info, err := s.f.Stat()
	if err != nil {
		return err
	}
	if want := int64(headerSize) + int64(s.episodes)*entrySize + int64(s.rows)*int64(s.stride); info.Size() != want {
		return fmt.Errorf("%d bytes, want %d", info.Size(), want)
	}
	return nil
}

func (s *segment) close() { _ = s.f.Close() } // only read

// entries reads what the index says of every dialogue into buffer, which grows as needed.
func (s *segment) entries(buffer []byte) ([]byte, error) {
	buffer = slices.Grow(buffer[:0], s.episodes*entrySize)[:s.episodes*entrySize]
	_, err := s.f.ReadAt(buffer, headerSize)
	return buffer, err
}

// mostTrigrams bounds how many rows a search reads of one segment: more hardly narrow it down.
const mostTrigrams = 16

// candidates returns the dialogues, as bits, whose text may hold the text looked for; nil when it is too short to tell.
func (s *segment) candidates(text string) ([]byte, error) {
	seen := map[uint32]bool{}
	eachTrigram(text, func(h uint32) {
		if len(seen) < mostTrigrams {
			seen[h&uint32(s.rows-1)] = true
		}
	})
	var found []byte
	row := make([]byte, s.stride)
	start := int64(headerSize + s.episodes*entrySize)
	for h := range seen {
		if _, err := s.f.ReadAt(row, start+int64(h)*int64(s.stride)); err != nil {
			return nil, err
		}
		if found == nil {
			found = slices.Clone(row)
			continue
		}
		for i := range found {
			found[i] &= row[i]
		}
	}
	return found, nil
}

// writeSegment puts a segment in its place, whole or not at all.
func writeSegment(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return renameio.WriteFile(path, b, 0o644)
}
