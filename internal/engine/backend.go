// Package engine is the GoMLX side of the product: it samples from language models and trains them, on XLA or in pure Go.
//
// A Backend is one device with its compiled programs; a Model is a Hugging Face folder in memory; NewSampler draws
// dialogues from a Model. Graphs come from internal/nn.
package engine

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/gobackend"
)

// Choices of a backend.
const (
	Auto    = "auto"     // XLA on the CPU when its plugin is installed, else pure Go
	XLA     = "xla"      // XLA on the CPU; an error when the plugin is missing
	XLACUDA = "xla:cuda" // XLA on an NVIDIA GPU; an error when plugin, driver or GPU is missing
	PureGo  = "go"       // always there, several times slower
)

var (
	// ErrBackend: the wanted backend cannot be had on this machine.
	ErrBackend = errors.New("backend is not available")
)

// Backend is one device and the programs compiled for it. It may be shared by goroutines.
type Backend struct {
	compute compute.Backend
	device  compute.DeviceNum
	name    string
	plugin  string // path, empty for pure Go
	note    string
	why     error // XLA could not be had
	shared  bool  // the device computes in the host's memory

	programs *programs     // of all devices
	paces    *paces        // of all devices
	gpu      *atomic.Int64 // bytes of the GPU's memory; 0: not asked yet, or nobody knows
}

// Open returns the backend for a choice: Auto (also ""), XLA, XLACUDA or PureGo. It never downloads anything.
func Open(choice string) (*Backend, error) {
	switch choice {
	case "", Auto:
		b, err := openXLA()
		if err == nil {
			return b, nil
		}
		if os.Getenv(PluginVariable) != "" {
			return nil, err // somebody asked for that very plugin
		}
		b, goErr := openGo()
		if goErr != nil {
			return nil, goErr
		}
		b.note = GetXLA
		b.why = err
		return b, nil
	case XLA:
		return openXLA()
	case XLACUDA:
		return openCUDA()
	case PureGo:
		return openGo()
	}
	return nil, fmt.Errorf("%w: %q is unknown; choose one of %s", ErrBackend, choice, strings.Join([]string{Auto, XLA, XLACUDA, PureGo}, ", "))
}

func newBackend(b compute.Backend, name string) *Backend {
	return &Backend{compute: b, name: name, shared: b.HasSharedBuffers(), programs: &programs{kept: programsKept, compiled: map[string]*compiledGraph{}}, paces: newPaces(), gpu: &atomic.Int64{}}
}

// openGo opens GoMLX's own backend, without a limit to its workers: a limited pool can deadlock on machines with few
// cores. The limit is lifted on the pool itself, because the option "parallelism=-1" prints a line on standard output.
func openGo() (*Backend, error) {
	b, err := gobackend.New("")
	if err != nil {
		return nil, fmt.Errorf("%w: pure Go: %w", ErrBackend, err)
	}
	field := reflect.ValueOf(b).Elem().FieldByName("Workers")
	pool, ok := field.Interface().(interface{ SetMaxParallelism(int) })
	if !ok {
		return nil, fmt.Errorf("%w: pure Go: GoMLX's worker pool has no SetMaxParallelism; this version of GoMLX is not supported", ErrBackend)
	}
	pool.SetMaxParallelism(-1)
	return newBackend(b, PureGo), nil
}

// on is the same backend with another of its devices: arrays belong to one device, programs to all.
func (b *Backend) on(device compute.DeviceNum) *Backend {
	other := *b
	other.device = device
	return &other
}

// Compute is GoMLX's side of the backend, for graphs that are built elsewhere.
func (b *Backend) Compute() compute.Backend { return b.compute }

// Name is the choice that gives this backend again: XLA, XLACUDA or PureGo.
func (b *Backend) Name() string { return b.name }

// Note says how to get a faster backend; empty when there is nothing to say.
func (b *Backend) Note() string { return b.note }

// Describe is one line for people: device, plugin, processors.
func (b *Backend) Describe() string {
	var s string
	switch b.name {
	case PureGo:
		s = fmt.Sprintf("pure Go on %d processors", runtime.GOMAXPROCS(0))
	case XLA:
		s = fmt.Sprintf("XLA on %d processors, plugin %s", runtime.NumCPU(), b.plugin)
	case XLACUDA:
		s = fmt.Sprintf("XLA on an NVIDIA GPU (%s), plugin %s", b.compute.Description(), b.plugin)
	}
	if b.note != "" {
		s += " (" + b.note + ")"
	}
	return s
}

// Close frees the device. Samplers and trainers of this backend must be closed before.
func (b *Backend) Close() {
	b.programs.free()
	b.compute.Finalize()
}
