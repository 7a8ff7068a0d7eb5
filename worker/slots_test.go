package worker

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	sdkworker "go.temporal.io/sdk/worker"
)

// markUsed and release are what the SDK tells of a place.
type markUsed struct {
	sdkworker.SlotMarkUsedInfo
	permit *sdkworker.SlotPermit
}

func (m markUsed) Permit() *sdkworker.SlotPermit { return m.permit }

type release struct {
	sdkworker.SlotReleaseInfo
	permit *sdkworker.SlotPermit
}

func (r release) Permit() *sdkworker.SlotPermit { return r.permit }

// take reserves a place for an activity; nil when there is none.
func take(s *slots) *sdkworker.SlotPermit {
	p := s.TryReserveSlot(nil)
	if p != nil {
		s.MarkSlotUsed(markUsed{permit: p})
	}
	return p
}

// TestASampledShardGivesItsPlaceToTheNext goes through the lives of shards at a device with one place.
func TestASampledShardGivesItsPlaceToTheNext(t *testing.T) {
	s := newSlots(1)
	first := take(s)
	require.NotNil(t, first)
	require.Nil(t, take(s), "the device is taken")

	s.sampled() // and not stored yet
	second := take(s)
	require.NotNil(t, second)
	require.Nil(t, take(s))

	s.sampled()
	require.Nil(t, take(s), "the first is still being stored: a slow store holds the device up")
	s.ReleaseSlot(release{permit: first})
	require.Nil(t, take(s), "one is stored, its place was given away long ago")
	s.ReleaseSlot(release{permit: second})
	third := take(s)
	require.NotNil(t, third)
	require.Nil(t, take(s), "one place in all, as at first")
	s.ReleaseSlot(release{permit: third})
}

// TestAPlaceThatNothingCameForIsFree even while a shard is stored.
func TestAPlaceThatNothingCameForIsFree(t *testing.T) {
	s := newSlots(1)
	storing := take(s)
	s.sampled()
	idle, err := s.ReserveSlot(t.Context(), nil)
	require.NoError(t, err)
	s.ReleaseSlot(release{permit: idle}) // the poll timed out
	failed := take(s)
	require.NotNil(t, failed)
	s.ReleaseSlot(release{permit: failed}) // before it sampled anything; which of two ends does not matter
	s.ReleaseSlot(release{permit: storing})
	require.NotNil(t, take(s))
	require.Nil(t, take(s), "no more places than the device has")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.ReserveSlot(ctx, nil)
	require.ErrorIs(t, err, context.Canceled)
}
