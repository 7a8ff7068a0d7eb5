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
// several programs of a few products each.
func (b *Backend) MeasureProducts(c spec.Compute) (float64, error) {
	size, products := 1024, 4
	if b.name == XLACUDA {
		size, products = 8192, 8
	}
	p, err := b.program(fmt.Sprintf("products %d %d %s", size, products, c), func(g *graph.Graph) []*graph.Node {
		x := graph.Parameter(g, "x", shapes.Make(dtypes.Float32, size, size))
		x = graph.ConvertDType(x, computeType(c))
		y := x
		for range products {
			y = graph.DotGeneral(y, []int{1}, nil, x, []int{0}, nil)
		}
		return []*graph.Node{graph.ReduceAllSum(graph.ConvertDType(y, dtypes.Float32))}
	})
	if err != nil {
		return 0, err
	}
	flat := make([]float32, size*size)
	for i := range flat {
		flat[i] = float32(math.Sin(float64(i)) / float64(size))
	}
	x, err := upload(b, flat, size, size)
	if err != nil {
		return 0, err
	}
	defer free(x)
	best := math.Inf(1)
	for range 6 {
		start := time.Now()
		out, err := p.run([]compute.Buffer{x})
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
	return float64(products) * 2 * math.Pow(float64(size), 3) / best, nil
}
