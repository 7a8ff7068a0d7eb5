package engine

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/dtypes/bfloat16"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/support/exceptions"
)

// programsKept is how many programs a backend keeps: a run of dialogues of all lengths needs about 30 to 100, and a worker
// lives longer than its runs, whose models, losses and shapes differ.
const programsKept = 256

// programs are the compiled graphs of a backend.
type programs struct {
	mu       sync.Mutex
	kept     int
	compiled map[string]*compiledGraph
	uses     int64
	count    Compilations
}

type compiledGraph struct {
	*graph.Graph
	used int64 // when it was asked for last, in uses
}

func (p *programs) free() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(p.compiled)) {
		p.compiled[key].Finalize()
	}
	p.compiled = nil
}

// use marks a program as used and returns its graph, nil when it must be compiled.
func (p *programs) use(key string) *graph.Graph {
	g, ok := p.compiled[key]
	if !ok {
		return nil
	}
	p.uses++
	g.used = p.uses
	return g.Graph
}

// evict drops the programs unused for longest until there is room for one more, and returns their keys. Whoever holds one may
// go on running it: the collector frees it after its last user.
func (p *programs) evict() (dropped []string) {
	for len(p.compiled) >= p.kept {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(p.compiled)), func(a, b string) int {
			return cmp.Compare(p.compiled[a].used, p.compiled[b].used)
		})
		delete(p.compiled, oldest)
		dropped = append(dropped, oldest)
	}
	return dropped
}

// program is a compiled graph on one device. It may run in several goroutines at once.
type program struct {
	graph  *graph.Graph
	device compute.DeviceNum
	key    string
	paces  *paces
}

// program returns the program for a key, which it compiles when it does not have it. The key must determine
// the graph. build makes the graph's parameters, in the order in which run gets them, and returns its outputs.
func (b *Backend) program(key string, build func(g *graph.Graph) []*graph.Node) (*program, error) {
	all := b.programs
	all.mu.Lock()
	defer all.mu.Unlock()
	if g := all.use(key); g != nil {
		return &program{g, b.device, key, b.paces}, nil
	}
	b.paces.forget(all.evict()...)
	defer b.paces.begin(key)(false)
	start := time.Now()
	g := graph.NewGraph(b.compute, key)
	var err error
	if panicked := exceptions.TryCatch[error](func() { err = g.Compile(build(g)...) }); panicked != nil {
		err = panicked
	}
	if err != nil {
		return nil, fmt.Errorf("compile %s: %w", key, err)
	}
	all.uses++
	all.compiled[key] = &compiledGraph{g, all.uses}
	all.count.Count++
	all.count.Time += time.Since(start)
	return &program{g, b.device, key, b.paces}, nil
}

// Compilations says how many programs a backend has compiled and how long that took, building their graphs included.
type Compilations struct {
	Count int
	Time  time.Duration
}

// Compilations returns the count so far.
func (b *Backend) Compilations() Compilations {
	b.programs.mu.Lock()
	defer b.programs.mu.Unlock()
	return b.programs.count
}

// run executes the program on its device, where its inputs are. Inputs stay the caller's; outputs are new and
// the caller's.
func (p *program) run(inputs []compute.Buffer) ([]compute.Buffer, error) {
	return p.execute(inputs, make([]bool, len(inputs)))
}

// execute waits until the outputs are there.
func (p *program) execute(inputs []compute.Buffer, donate []bool) (outputs []compute.Buffer, err error) {
	ran, end := false, p.paces.begin(p.key)
	defer func() { end(ran) }()
	outputs, err = p.graph.Executable().Execute(inputs, donate, p.device)
	ran = err == nil
	return outputs, err
}

// runDonating is run with the inputs from number `from` on given away: they are freed, whether it succeeds or not.
func (p *program) runDonating(from int, inputs []compute.Buffer) ([]compute.Buffer, error) {
	donate := make([]bool, len(inputs))
	for i := from; i < len(inputs); i++ {
		donate[i] = true
	}
	outputs, err := p.execute(inputs, donate)
	if err != nil {
		free(inputs[from:]...)
	}
	return outputs, err
}

// number is what arrays on the device are made of.
type number interface {
	float32 | int32 | bfloat16.BFloat16
}

// upload copies an array to the device.
func upload[T number](b *Backend, flat []T, dims ...int) (compute.Buffer, error) {
	return b.compute.BufferFromFlatData(b.device, flat, shapes.Make(dtypes.FromGenericsType[T](), dims...))
}

// view returns the numbers of an output, valid until its buffer is freed: in place where the device computes in the host's
// memory, else copied into scratch, which grows as needed.
func view[T number](b *Backend, buffer compute.Buffer, n int, scratch *[]T) ([]T, error) {
	if b.shared {
		if flat, err := buffer.Data(); err == nil {
			return flat.([]T), nil
		}
	}
	*scratch = slices.Grow((*scratch)[:0], n)[:n]
	return *scratch, buffer.ToFlatData(*scratch)
}

// free gives device memory back. Freeing cannot fail for buffers that are in use by nobody, so errors are of no use.
func free(buffers ...compute.Buffer) {
	for _, b := range buffers {
		if b != nil {
			_ = b.Finalize()
		}
	}
}

// array is a small input that the host rewrites before each run: in place where the device shares the host's memory.
type array[T float32 | int32] struct {
	backend *Backend
	dims    []int
	flat    []T
	buffer  compute.Buffer
	shared  bool
}

// newArray makes an array of zeros.
func newArray[T float32 | int32](b *Backend, dims ...int) (*array[T], error) {
	shape := shapes.Make(dtypes.FromGenericsType[T](), dims...)
	a := &array[T]{backend: b, dims: dims, shared: b.shared}
	if !a.shared {
		a.flat = make([]T, shape.Size())
		return a, nil
	}
	buffer, flat, err := b.compute.NewSharedBuffer(b.device, shape)
	if err != nil {
		return nil, err
	}
	a.buffer, a.flat = buffer, flat.([]T)
	clear(a.flat)
	return a, nil
}

// input is the array's buffer with the present contents of flat.
func (a *array[T]) input() (compute.Buffer, error) {
	if a.shared {
		return a.buffer, nil
	}
	free(a.buffer)
	var err error
	a.buffer, err = upload(a.backend, a.flat, a.dims...)
	return a.buffer, err
}

func (a *array[T]) free() {
	if a != nil {
		free(a.buffer)
	}
}
