package activities

import (
	"slices"
	"sync"
	"time"
)

// pulses are those of a worker's activities under way that use the same device.
type pulses struct {
	mu  sync.Mutex
	all []*pulse
}

// enter adds an activity's, until it leaves. While another one hangs it is refused: it would wait for the same device, and
// the server asks again, of any worker.
func (p *pulses) enter(own *pulse) (leave func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for _, other := range p.all {
		if _, moves := other.since(now); !moves {
			return nil, ErrHangs
		}
	}
	p.all = append(p.all, own)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.all = slices.DeleteFunc(p.all, func(o *pulse) bool { return o == own })
	}, nil
}
