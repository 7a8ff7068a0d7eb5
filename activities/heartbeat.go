package activities

import (
	"context"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"
)

const (
	// beatEvery is how often an activity says that its worker lives: several times in a workflow's heartbeat time-out, the
	// short one of the kill tests included.
	beatEvery = time.Second
	// stallLimit is how long an activity may do so without progress; then it falls silent and is given to another worker.
	// Compiling the programs of a large model is the longest silence of a healthy one.
	stallLimit = 20 * time.Minute
)

// Progress is what an activity's heartbeat says.
type Progress struct {
	What string `json:"what"`
	Done int    `json:"done"`
	Of   int    `json:"of,omitempty"`
	// Tokens is how many were sampled so far, by a rollout.
	Tokens int `json:"tokens,omitempty"`
}

// pulse sends an activity's heartbeat while it makes progress.
type pulse struct {
	mu     sync.Mutex
	latest Progress
	at     time.Time
}

// beat starts the heartbeat of the activity in ctx; stop ends it. The activity reports whenever something is done.
func beat(ctx context.Context) (p *pulse, stop func()) {
	p = &pulse{at: time.Now()}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(beatEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-ctx.Done():
				return
			case now := <-tick.C:
				if latest, moves := p.since(now); moves {
					activity.RecordHeartbeat(ctx, latest)
				}
			}
		}
	}()
	return p, func() {
		close(done)
		<-ended
	}
}

// alive runs the body of an activity under a heartbeat, and maps its error.
func alive[Out any](ctx context.Context, body func(p *pulse) (Out, error)) (Out, error) {
	p, stop := beat(ctx)
	defer stop()
	out, err := body(p)
	return out, failure(err)
}

// report says that something was done.
func (p *pulse) report(latest Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latest, p.at = latest, time.Now()
}

// counter returns a callback that reports how many of something are done.
func (p *pulse) counter(what string, of int) func(done int) {
	p.report(Progress{What: what, Of: of})
	return func(done int) { p.report(Progress{What: what, Done: done, Of: of}) }
}

func (p *pulse) since(now time.Time) (Progress, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.latest, now.Sub(p.at) < stallLimit
}
