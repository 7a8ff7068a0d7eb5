package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// ErrMemory: what is asked for does not fit; the error says how much it takes and how much there is.
var ErrMemory = errors.New("not enough memory")

// Estimate is what some work takes on its device at most, in bytes; its text names the parts.
type Estimate interface {
	Total() int64
	String() string
}

// Admit refuses, with ErrMemory and the numbers, work that cannot fit the backend's device; advice says what to do then.
// A device whose memory nobody knows refuses nothing.
func (b *Backend) Admit(ctx context.Context, work string, e Estimate, advice string) error {
	there := b.Capacity(ctx)
	if there == 0 || e.Total() <= there {
		return nil
	}
	return fmt.Errorf("%w: %s takes %v, the device of %s has %.1f GB; %s", ErrMemory, work, e, b.Name(), gigabytes(there), advice)
}

// Capacity is the memory of the device in bytes: of the machine, or less where its control group has a limit; of the GPU,
// as nvidia-smi says. 0 where nobody knows.
func (b *Backend) Capacity(ctx context.Context) int64 {
	if b.name == XLACUDA {
		if b.gpu.Load() == 0 { // asking starts a program, and rollouts ask for every policy
			b.gpu.Store(gpuMemory(ctx))
		}
		return b.gpu.Load()
	}
	machine := machineMemory()
	text, err := os.ReadFile("/sys/fs/cgroup/memory.max")
	if limit, parsed := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && parsed == nil && limit > 0 {
		machine = min(machine, limit)
	}
	return machine
}

func gpuMemory(ctx context.Context) int64 {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits").Output()
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	mib, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0
	}
	return mib << 20
}

// machineMemory reads MemTotal; 0 where the system does not say.
func machineMemory() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close() //nolint:errcheck // opened for reading only
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) >= 2 && fields[0] == "MemTotal:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				return 0
			}
			return kib << 10
		}
	}
	return 0
}

func gigabytes(n int64) float64 { return float64(n) / 1e9 }
