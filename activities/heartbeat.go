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
	// Loading a large model and compiling its programs are the longest silences of a healthy one.
	stallLimit = 20 * time.Minute
	// stepLimit is its place where progress comes at every step of the device, in a rollout: whoever makes none falls silent
	// at once, and the heartbeat time-out alone decides.
	stepLimit = 2 * beatEvery
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
	// patience says, while every step of the device is reported, how long the one under way may take; nil at other times.
	patience func() time.Duration
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

// steps says that from now on every step of the device is reported, until the caller ends it.
func (p *pulse) steps(patience func() time.Duration) (end func()) {
	set := func(patience func() time.Duration) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.patience, p.at = patience, time.Now()
	}
	set(patience)
	return func() { set(nil) }
}

// counter returns a callback that reports how many of something are done.
func (p *pulse) counter(what string, of int) func(done int) {
	p.report(Progress{What: what, Of: of})
	return func(done int) { p.report(Progress{What: what, Done: done, Of: of}) }
}

// since returns the newest progress, and whether it is new enough to speak of.
func (p *pulse) since(now time.Time) (Progress, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	limit := stallLimit
	if p.patience != nil {
		limit = max(stepLimit, p.patience())
	}
	return p.latest, now.Sub(p.at) < limit
}
