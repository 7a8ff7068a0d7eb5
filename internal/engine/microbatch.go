package engine

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"multiattempt/internal/nn"
)

// microbatch is a set of rows that go through the network together, in sequences padded to one shape.
type microbatch struct {
	rows   []int  // indices
	slots  []slot // of each of rows
	batch  int    // B sequences
	length int    // T, positions with a prediction
	packed bool   // several rows may share a sequence
}

// slot is where a row's first position lies.
type slot struct{ sequence, position int }

// plan groups rows of given lengths (tokens) into micro-batches that hold at most as many positions as size rows of the
// greatest length: longest first, so that rows of a micro-batch are about equally long, or packed, where they are short and
// that saves a tenth of the positions. It depends on nothing but its arguments.
func plan(lengths []int, size int) []microbatch {
	order := byLength(lengths)
	padded := pad(order, lengths, size)
	if size > 1 && padded[0].length <= packedBelow {
		packed := pack(order, lengths, 2*padded[0].length, size/2)
		if 10*positions(packed) <= 9*positions(padded) {
			return packed
		}
	}
	return padded
}

// positions is the number that the micro-batches compute, padding included.
func positions(batches []microbatch) int {
	n := 0
	for _, m := range batches {
		n += m.batch * m.length
	}
	return n
}

// pad gives each row, in the given order, longest first, a sequence of its own.
func pad(order, lengths []int, size int) []microbatch {
	var batches []microbatch
	for rows := range slices.Chunk(order, size) {
		m := microbatch{rows: rows, batch: min(powerOfTwo(len(rows)), size), length: bucket(lengths[rows[0]] - 1)}
		for b := range rows {
			m.slots = append(m.slots, slot{b, 0})
		}
		batches = append(batches, m)
	}
	return batches
}

// packedBelow is the greatest length, in positions, of rows that are packed: attention over sequences twice as long costs more
// the longer they are, and padding less.
const packedBelow = 128

// largest is the greatest shape that plan may make of rows of at most longest tokens.
func largest(size, longest int) (batch, length int) {
	if length = bucket(longest - 1); size > 1 && length <= packedBelow {
		return max(1, size/2), 2 * length
	}
	return size, length
}

// pack lays rows in the given order, longest first, into the first sequence of length positions that has room, and groups at
// most size sequences. A row needs a position less than it has tokens.
func pack(order, lengths []int, length, size int) []microbatch {
	var sequences []microbatch // of one sequence each
	var used []int             // positions
	for _, i := range order {
		s := slices.IndexFunc(used, func(n int) bool { return n+lengths[i]-1 <= length })
		if s < 0 {
			s, used, sequences = len(used), append(used, 0), append(sequences, microbatch{})
		}
		sequences[s].rows = append(sequences[s].rows, i)
		sequences[s].slots = append(sequences[s].slots, slot{position: used[s]})
		used[s] += lengths[i] - 1
	}
	var batches []microbatch
	for group := range slices.Chunk(sequences, size) {
		// The last group has one of four sizes, so that few programs are compiled.
		m := microbatch{batch: min(max(powerOfTwo(len(group)), size/8), size), length: length, packed: true}
		for b, s := range group {
			m.rows = append(m.rows, s.rows...)
			for _, p := range s.slots {
				m.slots = append(m.slots, slot{b, p.position})
			}
		}
		batches = append(batches, m)
	}
	return batches
}

// byLength returns the indices of rows, the longest first.
func byLength(lengths []int) []int {
	order := make([]int, len(lengths))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(lengths[b], lengths[a]) })
	return order
}

// powerOfTwo is the smallest that is not below n.
func powerOfTwo(n int) int {
	p := 1
	for p < n {
		p *= 2
	}
	return p
}

// padding is the share of the micro-batches' positions that hold no token of a row.
func padding(batches []microbatch, lengths []int) float64 {
	used := 0
	for _, m := range batches {
		for _, i := range m.rows {
			used += lengths[i] - 1
		}
	}
	return 1 - float64(used)/float64(positions(batches))
}

// bucket rounds a number of positions up to one of few values, so that few programs are compiled: multiples of a
// sixteenth of the next power of two, but at least of 16.
func bucket(positions int) int {
	step := 16
	for 16*step < positions {
		step *= 2
	}
	return max((positions+step-1)/step, 1) * step
}

// inputs lays the rows' tokens out for the program, padded with 0 on the right: as [B, T+1] or, packed, as [3, B, T], the
// inputs, their targets, and their positions in their rows. Padding of the latter kind stands by itself.
func (m microbatch) inputs(row func(i int) []int32) (flat []int32, shape []int) {
	if !m.packed {
		flat = make([]int32, m.batch*(m.length+1))
		for r, i := range m.rows {
			copy(flat[m.slots[r].sequence*(m.length+1):], row(i))
		}
		return flat, []int{m.batch, m.length + 1}
	}
	size := m.batch * m.length
	flat = make([]int32, 3*size)
	for r, i := range m.rows {
		tokens, at := row(i), m.entry(r, 1)
		copy(flat[at:], tokens[:len(tokens)-1])
		copy(flat[size+at:], tokens[1:])
		for t := range len(tokens) - 1 {
			flat[2*size+at+t] = int32(t) //nolint:gosec // below the model's context
		}
	}
	return flat, []int{3, m.batch, m.length}
}

// entry is the index, in an array [B, T] of a micro-batch, of what belongs to token t ≥ 1 of its r-th row.
func (m microbatch) entry(r, t int) int {
	p := m.slots[r]
	return p.sequence*m.length + p.position + t - 1
}

// planes lays n float inputs out as [n, B, T], where entry t belongs to token t+1; fill writes those of one row: set gives
// plane p the number x for a token, which is not the row's first.
func (m microbatch) planes(n int, fill func(i int, set func(p, token int, x float32))) []float32 {
	flat := make([]float32, n*m.batch*m.length)
	for r, i := range m.rows {
		fill(i, func(p, token int, x float32) { flat[p*m.batch*m.length+m.entry(r, token)] = x })
	}
	return flat
}

// parameter is the program's input that inputs fills.
func (m microbatch) parameter(g *graph.Graph) nn.Rows {
	if !m.packed {
		return nn.RowsOf(graph.Parameter(g, "tokens", shapes.Make(dtypes.Int32, m.batch, m.length+1)))
	}
	all := graph.Parameter(g, "packed", shapes.Make(dtypes.Int32, 3, m.batch, m.length))
	part := func(i int) *graph.Node { return graph.Squeeze(graph.Slice(all, graph.AxisElem(i)), 0) }
	return nn.Rows{Inputs: part(0), Targets: part(1), Positions: part(2)}
}

// upload puts inputs on the device.
func (m microbatch) upload(b *Backend, row func(i int) []int32) (compute.Buffer, error) {
	flat, shape := m.inputs(row)
	return upload(b, flat, shape...)
}

// shape names the micro-batch's shape in a program's key.
func (m microbatch) shape() string {
	return fmt.Sprintf("B%d T%d packed %t", m.batch, m.length, m.packed)
}
