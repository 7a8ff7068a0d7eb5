package main

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"multiattempt/internal/engine"
)

// memory watches how much of the device is used, other programs' use included.
type memory struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	largest int64
}

// watchMemory asks nvidia-smi now and then while the backend is a GPU.
func watchMemory(ctx context.Context, b *engine.Backend) *memory {
	ctx, cancel := context.WithCancel(ctx)
	m := &memory{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(m.done)
		for b.Name() == engine.XLACUDA {
			out, err := exec.CommandContext(ctx, "nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits").Output()
			if err != nil {
				return
			}
			first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
			if mib, err := strconv.ParseInt(first, 10, 64); err == nil {
				m.mu.Lock()
				m.largest = max(m.largest, mib<<20)
				m.mu.Unlock()
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	return m
}

// most is the largest use so far in bytes; 0 where nobody knows.
func (m *memory) most() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.largest
}

func (m *memory) stop() {
	m.cancel()
	<-m.done
}
