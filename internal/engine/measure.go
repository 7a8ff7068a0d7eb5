package engine

import (
	"fmt"
	"math"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"multiattempt/internal/spec"
)

// MeasureProducts returns the floating-point operations per second of large matrix products on this backend: the best of
// several runs of programs of a few products each, of square matrices and of tall ones.
func (b *Backend) MeasureProducts(c spec.Compute) (float64, error) {
	sizes := [][2]int{{1024, 1024}, {8192, 256}}
	if b.name == XLACUDA {
		sizes = [][2]int{{8192, 8192}}
	}
	var best float64
	for _, s := range sizes {
		rate, err := b.measureProducts(c, s[0], s[1])
		if err != nil {
			return 0, err
		}
		best = max(best, rate)
	}
	return best, nil
}

// measureProducts multiplies [rows, size] by [size, size] again and again.
func (b *Backend) measureProducts(c spec.Compute, rows, size int) (float64, error) {
	const products = 8
	p, err := b.program(fmt.Sprintf("products %d %d %s", rows, size, c), func(g *graph.Graph) []*graph.Node {
		y := graph.ConvertDType(graph.Parameter(g, "y", shapes.Make(dtypes.Float32, rows, size)), computeType(c))
		x := graph.ConvertDType(graph.Parameter(g, "x", shapes.Make(dtypes.Float32, size, size)), computeType(c))
		for range products {
			y = graph.DotGeneral(y, []int{1}, nil, x, []int{0}, nil)
		}
		return []*graph.Node{graph.ReduceAllSum(graph.ConvertDType(y, dtypes.Float32))}
	})
	if err != nil {
		return 0, err
	}
	var inputs []compute.Buffer
	defer func() { free(inputs...) }()
	for _, n := range []int{rows, size} {
		flat := make([]float32, n*size)
		for i := range flat {
			flat[i] = float32(math.Sin(float64(i)*float64(i)) / math.Sqrt(float64(size)))
		}
		buffer, err := upload(b, flat, n, size)
		if err != nil {
			return 0, err
		}
		inputs = append(inputs, buffer)
	}
	best := math.Inf(1)
	for range 6 {
		start := time.Now()
		out, err := p.run(inputs)
		if err != nil {
			return 0, err
		}
		err = out[0].ToFlatData(make([]float32, 1)) // waits
		free(out...)
		if err != nil {
			return 0, err
		}
		best = min(best, time.Since(start).Seconds())
	}
	return products * 2 * float64(rows) * float64(size) * float64(size) / best, nil
}
