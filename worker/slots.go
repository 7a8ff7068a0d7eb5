package worker

import (
	"context"
	"sync"
	"sync/atomic"

	"go.temporal.io/sdk/worker"
	"golang.org/x/sync/semaphore"
)

// slots hand out so many places at the device. A shard that is sampled gives its place to the next at once and is stored
// meanwhile; at most as many are stored as sampled, so that a slow store holds the device up in the end, and not memory.
// No shard waits here for the device while another worker has nothing to do.
type slots struct {
	places *semaphore.Weighted
	size   int

	mu      sync.Mutex
	storing int // activities that gave their place away and have not ended
}

// tuner makes a worker of the SDK hand out activities' places as the supplier does; nil leaves everything to the SDK.
func tuner(places worker.SlotSupplier) worker.WorkerTuner {
	if places == nil {
		return nil
	}
	other := fixed(1)                                                // of what this worker does not do
	all, _ := worker.NewCompositeTuner(worker.CompositeTunerOptions{ // has no error to return
		WorkflowSlotSupplier: other, ActivitySlotSupplier: places, LocalActivitySlotSupplier: other,
		NexusSlotSupplier: other, SessionActivitySlotSupplier: other,
	})
	return all
}

func newSlots(size int) *slots { return &slots{places: semaphore.NewWeighted(int64(size)), size: size} }

// fixed is for activities that keep their places to their ends.
func fixed(size int) worker.SlotSupplier {
	s, _ := worker.NewFixedSizeSlotSupplier(size) // the error is of a size below 1
	return s
}

// sampled is called by an activity whose place may go to another.
func (s *slots) sampled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.storing < s.size {
		s.storing++
		s.places.Release(1)
	}
}

// ReserveSlot implements worker.SlotSupplier.
func (s *slots) ReserveSlot(ctx context.Context, _ worker.SlotReservationInfo) (*worker.SlotPermit, error) {
	if err := s.places.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	return &worker.SlotPermit{UserData: new(atomic.Bool)}, nil
}

// TryReserveSlot implements worker.SlotSupplier.
func (s *slots) TryReserveSlot(worker.SlotReservationInfo) *worker.SlotPermit {
	if !s.places.TryAcquire(1) {
		return nil
	}
	return &worker.SlotPermit{UserData: new(atomic.Bool)}
}

// MarkSlotUsed implements worker.SlotSupplier.
func (s *slots) MarkSlotUsed(info worker.SlotMarkUsedInfo) { used(info.Permit()).Store(true) }

// used tells a place that an activity had from one that nothing came for.
func used(p *worker.SlotPermit) *atomic.Bool { return p.UserData.(*atomic.Bool) } //nolint:forcetypeassert // as reserved

// ReleaseSlot implements worker.SlotSupplier. Which activity ends does not matter: each that gave its place away ends once.
func (s *slots) ReleaseSlot(info worker.SlotReleaseInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if used(info.Permit()).Load() && s.storing > 0 {
		s.storing--
		return
	}
	s.places.Release(1)
}

// MaxSlots implements worker.SlotSupplier.
func (s *slots) MaxSlots() int { return 2 * s.size }
