package engine

import (
	"fmt"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"golang.org/x/sync/errgroup"

	"multiattempt/internal/spec"
)

// product is a matrix product [rows, inner] × [inner, columns].
type product struct{ rows, inner, columns int }

func (p product) operations() float64 {
	return 2 * float64(p.rows) * float64(p.inner) * float64(p.columns)
}

// Products whose rates MeasureProducts compares: square ones, and on CPUs those of an update of a small model, whose activations
// and weight gradients are tall and flat.
var (
	cpuProducts = []product{
		{1024, 1024, 1024}, {2048, 2048, 2048}, {8192, 256, 256}, {4096, 128, 128}, {4096, 128, 512}, {4096, 512, 128}, {512, 4096, 128}, {128, 4096, 512},
	}
	gpuProducts = []product{{8192, 8192, 8192}, {16384, 4096, 4096}}
)

// largeProduct is the most operations of a product that is worth repeating within one program.
const largeProduct = 5e9

// arrangement is a way to keep a device busy with equal products.
type arrangement struct {
	together int  // independent products of one program
	batched  bool // as one product with a batch axis
	at       int  // programs that run at the same time, each on a device of its own where there are several
}

// MeasureProducts returns the most floating-point operations per second that matrix products reach on this backend: the best of
// several runs of several sizes, one after another, side by side in one program, as one batch, and in two programs at the same
// time.
func (b *Backend) MeasureProducts(c spec.Compute) (float64, error) {
	products, arrangements := gpuProducts, []arrangement{{1, false, 1}}
	if b.name != XLACUDA {
		products, arrangements = cpuProducts, []arrangement{{1, false, 1}, {8, false, 1}, {8, true, 1}, {1, false, 2}, {4, false, 2}}
	}
	var best float64
	for _, p := range products {
		for _, a := range arrangements {
			if a.together > 1 && p.operations() > largeProduct {
				continue // it fills every processor by itself
			}
			rate, err := b.measureProducts(c, p, a)
			if err != nil {
				return 0, err
			}
			best = max(best, rate)
		}
	}
	return best, nil
}

// measureProducts is the rate of one size in one arrangement.
func (b *Backend) measureProducts(c spec.Compute, size product, a arrangement) (float64, error) {
	runs := make([]func() error, a.at)
	for i := range runs {
		on := b.on(compute.DeviceNum(i % b.compute.NumDevices()))
		run, end, err := on.products(c, size, a)
		if err != nil {
			return 0, err
		}
		defer end()
		runs[i] = run
	}
	took, err := atTheSameTime(runs, 1) // and warms up
	if err != nil {
		return 0, err
	}
	least, began := took, time.Now()
	repeat := max(1, int(shortestTiming/took))
	for n := 0; n < 6 && time.Since(began).Seconds() < longestTiming; n++ {
		if took, err = atTheSameTime(runs, repeat); err != nil {
			return 0, err
		}
		least = min(least, took)
	}
	return float64(a.at*a.together) * size.operations() / least, nil
}

// A timing takes at least some milliseconds, and all timings of an arrangement not much more than so many seconds.
const shortestTiming, longestTiming = 0.02, 0.3

// atTheSameTime calls each function so many times, beside the others, and returns the seconds of one round.
func atTheSameTime(runs []func() error, times int) (float64, error) {
	var group errgroup.Group
	start := time.Now()
	for _, run := range runs {
		group.Go(func() error {
			for range times {
				if err := run(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := group.Wait()
	return time.Since(start).Seconds() / float64(times), err
}

// products returns a function that computes products and waits for them, and one that frees what it holds.
func (b *Backend) products(c spec.Compute, size product, a arrangement) (run func() error, end func(), err error) {
	shape := func(rows, columns int) []int {
		if a.batched {
			return []int{a.together, rows, columns}
		}
		return []int{rows, columns}
	}
	left, right, count := shape(size.rows, size.inner), shape(size.inner, size.columns), a.together
	if a.batched {
		count = 1
	}
	p, err := b.program(fmt.Sprintf("products %v %v %s", size, a, c), func(g *graph.Graph) []*graph.Node {
		outputs := make([]*graph.Node, count)
		for i := range outputs {
			x := graph.ConvertDType(graph.Parameter(g, fmt.Sprintf("x%d", i), shapes.Make(dtypes.Float32, left...)), computeType(c))
			y := graph.ConvertDType(graph.Parameter(g, fmt.Sprintf("y%d", i), shapes.Make(dtypes.Float32, right...)), computeType(c))
			if a.batched {
				outputs[i] = graph.DotGeneral(x, []int{2}, []int{0}, y, []int{1}, []int{0})
			} else {
				outputs[i] = graph.DotGeneral(x, []int{1}, nil, y, []int{0}, nil)
			}
		}
		return outputs
	})
	if err != nil {
		return nil, nil, err
	}
	var inputs []compute.Buffer
	end = func() { free(inputs...) }
	for range count {
		for _, dims := range [][]int{left, right} {
			flat := make([]float32, elements(dims))
			for i := range flat {
				flat[i] = float32((i+len(inputs))%251)/251 - 0.5
			}
			buffer, err := upload(b, flat, dims...)
			if err != nil {
				end()
				return nil, nil, err
			}
			inputs = append(inputs, buffer)
		}
	}
	return func() error {
		out, err := p.run(inputs) // returns when all is computed
		free(out...)
		return err
	}, end, nil
}
