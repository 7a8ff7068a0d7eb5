package engine

import (
	"sync"
	"time"
)

// Bounds of what a program may take before its device is taken for stuck.
const (
	// firstPatience is for a program that was not run before: that is when it is compiled, and nothing says how long it takes.
	firstPatience = 20 * time.Minute
	// slowdown is how many times longer than usual a run may take: a busy machine, or a program of another run before it.
	slowdown = 10
	// remembered is how much of a slow run is at the next one of its program: a machine that slept is no measure.
	remembered = 0.9
)

// paces knows how long a backend's programs take, and which are under way.
type paces struct {
	mu     sync.Mutex
	usual  map[string]time.Duration // by program's key; none: it was not run yet
	flying map[string]int           // programs compiled or run at present, and how often
}

func newPaces() *paces {
	return &paces{usual: map[string]time.Duration{}, flying: map[string]int{}}
}

// begin notes that a program is compiled or run; the caller says when that is over, and whether it was a run that succeeded.
func (p *paces) begin(key string) (end func(ran bool)) {
	start := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flying[key]++
	return func(ran bool) {
		took := time.Since(start)
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.flying[key]--; p.flying[key] == 0 {
			delete(p.flying, key)
		}
		if ran {
			p.usual[key] = max(took, time.Duration(remembered*float64(p.usual[key])), 1)
		}
	}
}

// forget is told of programs that will have to be compiled again before they are run.
func (p *paces) forget(keys ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, key := range keys {
		delete(p.usual, key)
	}
}

// patience is the longest that a program under way may take; 0 when there is none.
func (p *paces) patience() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	var longest time.Duration
	for key := range p.flying {
		usual, known := p.usual[key]
		if !known {
			return firstPatience
		}
		longest = max(longest, min(firstPatience, slowdown*usual))
	}
	return longest
}

// Patience says how long what the device does at present may take before it must be taken for stuck: as measured for
// programs that have run before, long for those that are compiled or run for the first time, 0 when it is idle.
func (b *Backend) Patience() time.Duration { return b.paces.patience() }
