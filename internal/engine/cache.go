package engine

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/dtypes/bfloat16"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
)

// cache holds keys and values of a running batch: for each layer two arrays [B, KVHeads, S, HeadDim] in the network's type,
// position p of row b at [b, :, p, :].
type cache interface {
	// reserve makes room for at least so many positions.
	reserve(positions int) error
	// memory returns keys and values of each layer, in turn, and S.
	memory() ([]compute.Buffer, int)
	// add appends the first count[b] of the chunk's positions to row b, at start[b]. fresh is
	// [2·layers, B, KVHeads, C, HeadDim].
	add(fresh compute.Buffer, chunk int, start, count []int32) error
	// keep makes the batch smaller: row i was row from[i]; what rows after the first `taken` hold does not matter.
	// It returns false, and changes nothing, where this is not worth it.
	keep(from []int, taken int) (bool, error)
	free()
}

// newCache makes an empty cache. Where the device shares the host's memory the cache grows and shrinks in place: a step
// only reads it, and the few new numbers are copied by the host, which is many times cheaper than a step that returns
// the whole cache. Elsewhere it stays on the device at its full size.
func newCache(b *Backend, m modelShape, batch, maxLength int) (cache, error) {
	half := m.ComputeType() == dtypes.BFloat16
	switch {
	case b.shared && half:
		return &hostCache[bfloat16.BFloat16]{backend: b, model: m, batch: batch}, nil
	case b.shared:
		return &hostCache[float32]{backend: b, model: m, batch: batch}, nil
	case half:
		return newDeviceCache[bfloat16.BFloat16](b, m, batch, cacheSize(maxLength))
	}
	return newDeviceCache[float32](b, m, batch, cacheSize(maxLength))
}

// hostCache lives in memory that host and device share.
type hostCache[T number] struct {
	backend *Backend
	model   modelShape
	batch   int // B
	size    int // S; grows with the longest row
	buffers []compute.Buffer
	flat    [][]T // of each buffer
	fresh   []T   // reused
}

func (c *hostCache[T]) memory() ([]compute.Buffer, int) { return c.buffers, c.size }

func (c *hostCache[T]) reserve(positions int) error {
	if positions <= c.size {
		return nil
	}
	all := make([]int, c.batch)
	for i := range all {
		all[i] = i
	}
	return c.resize(all, c.batch, cacheSize(positions))
}

// row returns row b of keys or values l (two a layer), [KVHeads, S, HeadDim].
func (c *hostCache[T]) row(l, b int) []T {
	each := c.model.KVHeads * c.size * c.model.HeadDim
	return c.flat[l][b*each:][:each]
}

func (c *hostCache[T]) add(fresh compute.Buffer, chunk int, start, count []int32) error {
	longest := 0
	for b := range start {
		longest = max(longest, int(start[b]+count[b]))
	}
	if err := c.reserve(longest); err != nil {
		return err
	}
	heads, dim := c.model.KVHeads, c.model.HeadDim
	each := heads * chunk * dim // numbers of one row's new keys in one layer
	news, err := view(c.backend, fresh, 2*c.model.Layers*c.batch*each, &c.fresh)
	if err != nil {
		return fmt.Errorf("read new keys and values: %w", err)
	}
	for l := range 2 * c.model.Layers {
		for b := range c.batch {
			row, part := c.row(l, b), news[(l*c.batch+b)*each:]
			n := int(count[b]) * dim
			for h := range heads {
				copy(row[(h*c.size+int(start[b]))*dim:][:n], part[h*chunk*dim:])
			}
		}
	}
	return nil
}

func (c *hostCache[T]) keep(from []int, taken int) (bool, error) {
	return true, c.resize(from, taken, c.size)
}

// resize moves the rows to new arrays with room for size positions: row i was row from[i], for the first taken ones.
func (c *hostCache[T]) resize(from []int, taken, size int) error {
	heads, dim := c.model.KVHeads, c.model.HeadDim
	old := *c
	c.batch, c.size, c.buffers, c.flat = len(from), size, nil, nil
	defer old.free()
	if size == 0 {
		return nil
	}
	shape := shapes.Make(dtypes.FromGenericsType[T](), c.batch, heads, size, dim)
	for range 2 * c.model.Layers {
		buffer, shared, err := c.backend.compute.NewSharedBuffer(c.backend.device, shape)
		if err != nil {
			return fmt.Errorf("allocate a key-value cache of %d MiB: %w", c.model.cacheBytes(c.batch, size)>>20, err)
		}
		flat := shared.([]T)
		clear(flat) // positions not yet used are read, then masked: they must be finite
		c.buffers, c.flat = append(c.buffers, buffer), append(c.flat, flat)
	}
	n := min(old.size, size) * dim
	for l := 0; l < 2*c.model.Layers && n > 0; l++ {
		for i, j := range from[:taken] {
			to, was := c.row(l, i), old.row(l, j)
			for h := range heads {
				copy(to[h*size*dim:][:n], was[h*old.size*dim:])
			}
		}
	}
	return nil
}

func (c *hostCache[T]) free() {
	free(c.buffers...)
	c.buffers, c.flat = nil, nil
}

// deviceCache lives on a device with its own memory, where a copy of the cache costs little beside a step.
type deviceCache struct {
	backend *Backend
	model   modelShape
	batch   int // B
	size    int // S
	buffers []compute.Buffer
}

func newDeviceCache[T number](b *Backend, m modelShape, batch, size int) (*deviceCache, error) {
	c := &deviceCache{backend: b, model: m, batch: batch, size: size}
	zeros := make([]T, batch*m.KVHeads*size*m.HeadDim)
	for range 2 * m.Layers {
		buffer, err := upload(b, zeros, batch, m.KVHeads, size, m.HeadDim)
		if err != nil {
			c.free()
			return nil, fmt.Errorf("allocate a key-value cache of %d MiB: %w", m.cacheBytes(batch, size)>>20, err)
		}
		c.buffers = append(c.buffers, buffer)
	}
	return c, nil
}

func (c *deviceCache) memory() ([]compute.Buffer, int) { return c.buffers, c.size }

// reserve has nothing to do: the cache has its full size from the start.
func (c *deviceCache) reserve(int) error { return nil }

func (c *deviceCache) add(fresh compute.Buffer, chunk int, start, _ []int32) error {
	key := fmt.Sprintf("%s/append B%d C%d S%d", c.model.key(), c.batch, chunk, c.size)
	p, err := c.backend.program(key, func(g *graph.Graph) []*graph.Node {
		return c.model.appendCache(g, c.batch, chunk, c.size)
	})
	if err != nil {
		return err
	}
	at, err := upload(c.backend, start, c.batch)
	if err != nil {
		return err
	}
	defer free(at)
	// The old arrays are donated: they are gone when the new ones exist, whatever becomes of the call.
	old := c.buffers
	c.buffers = nil
	if c.buffers, err = p.runDonating(2, append([]compute.Buffer{at, fresh}, old...)); err != nil {
		return fmt.Errorf("append to the key-value cache: %w", err)
	}
	return nil
}

// appendCache is the graph that writes a chunk into the cache. Parameters: start [B] int32, fresh
// [2·layers, B, KVHeads, C, HeadDim], then keys and values of each layer, which it returns. Behind a row's own tokens
// it also writes the chunk's padding, which is masked until the row's next tokens replace it.
func (m modelShape) appendCache(g *graph.Graph, batch, chunk, size int) []*graph.Node {
	start := graph.Parameter(g, "start", shapes.Make(dtypes.Int32, batch))
	fresh := graph.Parameter(g, "fresh", shapes.Make(m.ComputeType(), 2*m.Layers, batch, m.KVHeads, chunk, m.HeadDim))
	position := graph.Iota(g, shapes.Make(dtypes.Int32, batch, size), 1)
	offset := graph.Sub(position, graph.Reshape(start, batch, 1)) // into the chunk
	source := graph.OneHot(offset, chunk, m.ComputeType())        // [B, S, C]; zeros outside the chunk
	written := graph.Reshape(graph.GreaterThan(graph.ReduceSum(source, -1), graph.Scalar(g, m.ComputeType(), 0)), batch, 1, size, 1)
	shape := shapes.Make(m.ComputeType(), batch, m.KVHeads, size, m.HeadDim)
	grown := make([]*graph.Node, 2*m.Layers)
	for l := range grown {
		old := graph.Parameter(g, fmt.Sprintf("cache%d", l), shape)
		part := graph.Reshape(graph.SliceAxis(fresh, 0, graph.AxisElem(l)), batch, m.KVHeads, chunk, m.HeadDim)
		move := graph.Dot(source, part)
		if m.ComputeType() != dtypes.Float32 { // sums of one product each: exact in every type
			move = move.WithAccumulatorDType(m.ComputeType()).WithOutputDType(m.ComputeType())
		}
		moved := move.Einsum("bsc,bkcd->bksd")
		grown[l] = graph.Where(graph.BroadcastToDims(written, shape.Dimensions...), moved, old)
	}
	return grown
}

// keep leaves the batch as it is.
func (c *deviceCache) keep([]int, int) (bool, error) { return false, nil }

func (c *deviceCache) free() {
	free(c.buffers...)
	c.buffers = nil
}
