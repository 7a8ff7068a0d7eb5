package engine

import (
	"context"
	"fmt"

	"github.com/gomlx/compute"

	"multiattempt/internal/policy"
)

// lanes are the running batches of one call of Sample. Two of them keep two processors busy where a step of a small model
// leaves one idle half of the time. Each has a device of its own, because a device runs one program at a time; XLA's CPU
// plugin has several on the same processors. The host goes from lane to lane in a fixed order, so that which row gets
// which place never depends on chance.
type lanes []*run

// Bounds of splitting a batch in two: the smallest batch, and the largest weights, which both halves read.
const (
	leastSplit       = 32
	mostSplitWeights = 16 << 20
)

// lanes makes the running batches for so many places.
func (s *Sampler) lanes(slots int, rows *shard, p policy.Params) (l lanes, err error) {
	n := 1
	if s.backend.name == XLA && slots >= leastSplit && s.model.weightBytes() <= mostSplitWeights {
		n = 2
	}
	for i := range n {
		r, err := newRun(s, compute.DeviceNum(i%s.backend.compute.NumDevices()), slots/n, rows, p)
		if err != nil {
			return l, err
		}
		l = append(l, r)
	}
	return l, nil
}

func (l lanes) free() {
	for _, r := range l {
		r.free()
	}
}

// flight is a step under way in a lane; the channel gets its error when it is over.
type flight struct {
	arrays *stepArrays
	over   chan error
}

// drive runs steps until every row has ended.
func (l lanes) drive(ctx context.Context) error {
	flying := make([]*flight, len(l))
	defer func() {
		for _, f := range flying {
			if f != nil {
				<-f.over // the arrays are in use until then
			}
		}
	}()
	for ended, turn := 0, 0; ended < len(l); turn++ {
		i := turn % len(l)
		if f := flying[i]; f != nil {
			flying[i] = nil
			if err := <-f.over; err != nil {
				return err
			}
			if err := l[i].absorb(f.arrays); err != nil {
				return err
			}
		}
		f, err := l.launch(ctx, i, turn)
		if err != nil {
			return err
		}
		flying[i] = f
		ended++
		for _, f := range flying {
			if f != nil {
				ended = 0
			}
		}
	}
	return nil
}

// launch starts lane i's next step; nil when it has no rows.
func (l lanes) launch(ctx context.Context, i, turn int) (*flight, error) {
	r := l[i]
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("sampling stopped with %d of %d rows done: %w", r.done, len(r.rows), err)
	}
	share := len(r.rows)
	if turn < len(l) { // at the start all lanes get as many
		share = (len(r.rows) - r.next + len(l) - i - 1) / (len(l) - i)
	}
	taken, err := r.admit(share)
	if err != nil || taken == 0 {
		return nil, err
	}
	f := &flight{over: make(chan error, 1)}
	if f.arrays, err = r.prepare(); err != nil {
		return nil, err
	}
	if len(l) == 1 {
		f.over <- r.execute(f.arrays)
		return f, nil
	}
	go func() { f.over <- r.execute(f.arrays) }()
	return f, nil
}
