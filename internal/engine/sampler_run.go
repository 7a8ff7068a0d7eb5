package engine

import (
	"fmt"
	"math"

	"github.com/gomlx/compute"

	"multiattempt/internal/policy"
)

// shard is one call of Sample: its rows, which one or more running batches take in turn.
type shard struct {
	rows     []policy.Row
	progress func(done int) // after each row that ends, and each step that ends none; may be nil
	next     int            // rows[next:] have not started
	done     int
}

// run is a running batch: the places that rows take in it, and its key-value cache.
type run struct {
	*shard
	sampler  *Sampler
	backend  *Backend // its device
	weights  []compute.Buffer
	params   policy.Params
	places   []place
	cache    cache
	arrays   map[int]*stepArrays // by chunk length
	draws    []policy.Draw       // [B], reused
	settings []compute.Buffer    // of the mode

	forbidden []compute.Buffer // what rows may not repeat, as the last step had it

	steps, sampled, forced int       // counts for SamplerStats
	cos, sin               []float32 // of every position, [MaxLength or more, HeadDim/2]
}

// place is a slot of the running batch and the row that has it.
type place struct {
	row     int     // index into rows; -1 when free
	pending []int32 // tokens to feed before the next draw; never empty for a taken place
	length  int     // tokens in the cache
	tokens  []int32 // all that the row holds, where repetitions are forbidden
}

func newRun(s *Sampler, device compute.DeviceNum, slots int, rows *shard, p policy.Params) (*run, error) {
	r := &run{shard: rows, sampler: s, backend: s.backend.on(device), params: p, arrays: map[int]*stepArrays{}}
	r.cos, r.sin = s.rotation(p.MaxLength)
	r.places = make([]place, slots)
	for i := range r.places {
		r.places[i].row = -1
	}
	var err error
	if r.weights, err = s.on(device); err != nil {
		return nil, err
	}
	if r.settings, err = modeOf(p, 0).settings(r.backend, p); err != nil {
		return nil, err
	}
	if r.cache, err = newCache(r.backend, s.model, len(r.places), p.MaxLength); err != nil {
		free(r.settings...)
		return nil, err
	}
	return r, nil
}

func (r *run) free() {
	r.cache.free()
	free(r.settings...)
	free(r.forbidden...)
	for _, a := range r.arrays {
		a.free()
	}
}

// admit gives free places to the rows that wait, at most so many in all, and makes the batch smaller when places stay
// free. It returns how many places are taken.
func (r *run) admit(most int) (taken int, err error) {
	last := min(r.next+most, len(r.rows))
	for i := range r.places {
		p := &r.places[i]
		for p.row < 0 && r.next < last {
			*p = place{row: r.next}
			r.next++
			action := r.rows[p.row].Next()
			if !action.Done && len(action.Force) == 0 {
				return 0, fmt.Errorf("%w: row %d starts without a prompt", ErrSampling, p.row)
			}
			if err := r.queue(p, action); err != nil {
				return 0, err
			}
		}
		if p.row >= 0 {
			taken++
		}
	}
	if size := len(r.places) / 4; taken > 0 && taken <= size && size >= smallestShrunk {
		return taken, r.shrink(size)
	}
	return taken, nil
}

// smallestShrunk is the smallest batch that a larger one is shrunk to: below it a step costs no less.
const smallestShrunk = 16

// queue takes a row's action: its forced tokens wait to be fed, or the row ends and its place is free.
func (r *run) queue(p *place, action policy.Action) error {
	if action.Done {
		*p = place{row: -1}
		r.done++
		r.tell()
		return nil
	}
	r.forced += len(action.Force)
	p.pending = append(p.pending, action.Force...)
	if r.params.NoRepeat > 0 {
		p.tokens = append(p.tokens, action.Force...)
	}
	if n := p.length + len(p.pending); n > r.params.MaxLength {
		return fmt.Errorf("%w: row %d would hold %d tokens, more than its limit of %d", ErrSampling, p.row, n, r.params.MaxLength)
	}
	for _, id := range p.pending {
		if id < 0 || int(id) >= r.sampler.model.VocabSize {
			return fmt.Errorf("%w: row %d forces the token %d, the vocabulary ends at %d", ErrSampling, p.row, id, r.sampler.model.VocabSize-1)
		}
	}
	return nil
}

// tell reports how many rows have ended.
func (s *shard) tell() {
	if s.progress != nil {
		s.progress(s.done)
	}
}

// shrink moves the taken places together and drops the others.
func (r *run) shrink(size int) error {
	from := make([]int, 0, size) // place i of the smaller batch was place from[i]
	for i, p := range r.places {
		if p.row >= 0 {
			from = append(from, i)
		}
	}
	taken := len(from)
	for i := 0; len(from) < size; i++ {
		if r.places[i].row < 0 {
			from = append(from, i)
		}
	}
	shrunk, err := r.cache.keep(from, taken)
	if err != nil || !shrunk {
		return err
	}
	places := make([]place, size)
	for i, j := range from {
		places[i] = r.places[j]
	}
	r.places = places
	for _, a := range r.arrays {
		a.free()
	}
	clear(r.arrays)
	return nil
}

// chunks are the numbers of tokens that a step can feed to each row, longest first.
var chunks = []int{64, 16, 1}

// leastChunk is what a step of so many rows feeds at least. Products with a single row are written by XLA's CPU compiler
// itself, for one processor and across the grain of the weights: with a second, empty one they take less than half the
// time (measured).
func (m modelShape) leastChunk(batch int) int {
	if m.transposed && batch == 1 {
		return 2
	}
	return 1
}

// chunk chooses how many tokens the next step feeds: as many as keep at least half of its work useful.
func (r *run) chunk() int {
	for _, c := range chunks[:len(chunks)-1] {
		useful := 0
		for i := range r.places {
			useful += min(len(r.places[i].pending), c)
		}
		if 2*useful >= c*len(r.places) {
			return c
		}
	}
	return r.sampler.model.leastChunk(len(r.places))
}

// longestPending is the length of the longest prompt that waits: room for it is made at once, so that all of its chunks
// run the same program.
func (r *run) longestPending() int {
	n := 0
	for i := range r.places {
		n = max(n, len(r.places[i].pending))
	}
	return n
}

// prepare lays out the inputs of a step that feeds pending tokens to every taken place, and draws a token where none is
// left to feed.
func (r *run) prepare() (*stepArrays, error) {
	if r.steps == 0 {
		if err := r.cache.reserve(r.longestPending()); err != nil {
			return nil, err
		}
	}
	return r.fill(r.chunk())
}

// absorb hands out what an executed step has drawn.
func (r *run) absorb(a *stepArrays) error {
	before := r.done
	for i := range r.places {
		p := &r.places[i]
		if p.row < 0 {
			continue
		}
		n := int(a.count.flat[i])
		p.length += n
		p.pending = p.pending[:copy(p.pending, p.pending[n:])]
		if len(p.pending) > 0 {
			continue
		}
		if err := r.report(p, r.draws[i]); err != nil {
			return err
		}
	}
	if r.done == before {
		r.tell()
	}
	return nil
}

// report hands a drawn token to its row and queues what the row wants next: the drawn token first, unless the row is
// done with it.
func (r *run) report(p *place, d policy.Draw) error {
	if math.IsNaN(float64(d.LogProb)) || math.IsInf(float64(d.LogProb), 0) {
		return fmt.Errorf("%w: the model's log-probability of token %d in row %d is %v: its weights are broken or have diverged",
			ErrSampling, d.Token, p.row, d.LogProb)
	}
	row := r.rows[p.row]
	row.Sampled(d)
	r.sampled++
	p.pending = append(p.pending, d.Token)
	if r.params.NoRepeat > 0 {
		p.tokens = append(p.tokens, d.Token)
	}
	return r.queue(p, row.Next())
}
