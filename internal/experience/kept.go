package experience

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"multiattempt/internal/half"
	"multiattempt/internal/packed"
)

// Kept is what is kept of one episode's tokens for people to look at. Arrays have one entry per sampled token, in their
// order; those that were not computed are empty.
type Kept struct {
	Old        []float32 // log-probability under the policy before the update
	Reference  []float32 // log-probability under the frozen reference
	Values     []float32
	Advantages []float32 // as they were trained with
	After      []float32 // log-probability under the policy after the update
}

// keptVersion is the version of the format that EncodeKept writes; docs/formats.md describes it.
const keptVersion = 1

// ErrKept: bytes that are no kept scores of a version known here.
var ErrKept = errors.New("unreadable token scores")

// keptHead is the first line.
type keptHead struct {
	Version int      `json:"v"`
	Arrays  []string `json:"arrays"`
	Lengths [][]int  `json:"lengths"` // [episode][array]
}

func (k *Kept) arrays() []*[]float32 {
	return []*[]float32{&k.Old, &k.Reference, &k.Values, &k.Advantages, &k.After}
}

var keptNames = []string{"old", "reference", "values", "advantages", "after"}

// Keep takes from a row what is kept of it.
func Keep(r Row) Kept {
	var k Kept
	k.Old, k.Reference = Sampled(r.Mask, r.Old), Sampled(r.Mask, r.Ref)
	k.Values, k.Advantages = Sampled(r.Mask, r.Values), Sampled(r.Mask, r.Advantages)
	return k
}

// Sampled returns the entries of values, [T], where mask is true; nil for nil.
func Sampled(mask []bool, values []float32) []float32 {
	if values == nil {
		return nil
	}
	var kept []float32
	for t, sampled := range mask {
		if sampled {
			kept = append(kept, values[t])
		}
	}
	return kept
}

// EncodeKept writes scores in half precision (IEEE 754 binary16), compressed: about what the episodes' own tokens take.
// Equal scores give equal bytes.
func EncodeKept(all []Kept) ([]byte, error) {
	head := keptHead{Version: keptVersion, Arrays: keptNames, Lengths: make([][]int, len(all))}
	var body []byte
	for i := range all {
		for _, array := range all[i].arrays() {
			head.Lengths[i] = append(head.Lengths[i], len(*array))
			for _, x := range *array {
				body = binary.LittleEndian.AppendUint16(body, half.FromFloat32(x))
			}
		}
	}
	line, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	return packed.Encode(func(w io.Writer) error {
		for _, part := range [][]byte{line, {'\n'}, body} {
			if _, err := w.Write(part); err != nil {
				return err
			}
		}
		return nil
	})
}

// DecodeKept reads what EncodeKept wrote.
func DecodeKept(b []byte) (all []Kept, err error) {
	err = packed.Decode(b, func(r io.Reader) error {
		all, err = readKept(bufio.NewReader(r))
		return err
	})
	return all, err
}

func readKept(r *bufio.Reader) ([]Kept, error) {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKept, err)
	}
	var head keptHead
	if err := json.Unmarshal(line, &head); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKept, err)
	}
	if head.Version != keptVersion {
		return nil, fmt.Errorf("%w: format version %d, this program reads %d; use the program that wrote it", ErrKept, head.Version, keptVersion)
	}
	all := make([]Kept, len(head.Lengths))
	for i, lengths := range head.Lengths {
		arrays := all[i].arrays()
		if len(lengths) != len(arrays) {
			return nil, fmt.Errorf("%w: episode %d has %d arrays, want %d", ErrKept, i, len(lengths), len(arrays))
		}
		for a, n := range lengths {
			if *arrays[a], err = readHalves(r, n); err != nil {
				return nil, fmt.Errorf("%w: episode %d: %w", ErrKept, i, err)
			}
		}
	}
	return all, nil
}

// readHalves reads n numbers; it allocates no more than was there.
func readHalves(r io.Reader, n int) ([]float32, error) {
	var values []float32
	var two [2]byte
	for range n {
		if _, err := io.ReadFull(r, two[:]); err != nil {
			return nil, err
		}
		values = append(values, half.ToFloat32(binary.LittleEndian.Uint16(two[:])))
	}
	return values, nil
}
