package activities_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"

	"multiattempt/activities"
	"multiattempt/activities/activitytest"
	"multiattempt/internal/blob"
	"multiattempt/internal/policy"
)

// throttle is between two heartbeats that the SDK sends, unless a worker says otherwise.
const throttle = 30 * time.Second

// hanging is a sampler that makes so many rows, one a minute, and then no more until it is released.
type hanging struct {
	activities.Sampler
	rows int
	stop chan struct{} // closed: it goes on
}

func (h hanging) Sample(ctx context.Context, rows []policy.Row, p policy.Params, progress func(int)) error {
	return h.Sampler.Sample(ctx, rows, p, func(n int) {
		if n <= h.rows {
			time.Sleep(time.Minute) //nolint:forbidigo // of the bubble, whose clock is its own
		}
		progress(n)
		if n == h.rows {
			<-h.stop
		}
	})
}

// TestAHangingSamplerLosesItsShard: heartbeats go on while a rollout makes progress, however slow its device is known to be,
// and end at once when it makes none, so that the heartbeat time-out decides. The worker takes no further shard, and
// another one gives the very episodes.
func TestAHangingSamplerLosesItsShard(t *testing.T) {
	store, presets := blob.NewMemory(), activitytest.Presets(t)
	h, other := newHost(t, store, presets, "h"), newHost(t, store, presets, "other")
	plan, at := begin(t, h, `{"preset":"small"}`)
	batch := must[activities.SampleBatchOutput](t, h, h.Data.SampleBatch, activities.SampleBatchInput{Run: "r", Spec: at.Spec, Step: 0})
	in := activities.RolloutInput{Run: "r", Spec: at.Spec, Policy: at.Policy, Problems: batch.Problems, Shards: plan.Plan.Shards}
	in.Shard = 1
	want := must[activities.RolloutOutput](t, other, other.Rollouts.Rollout, in)

	synctest.Test(t, func(t *testing.T) {
		stop, done := make(chan struct{}), make(chan struct{})
		release := sync.OnceFunc(func() { close(stop); <-done })
		defer release()
		h.Engine.Slow = 2 * time.Minute // of a step, as its device knows
		h.Engine.OnSampler = func(s activities.Sampler) activities.Sampler { return hanging{s, 3, stop} }
		began := time.Now()
		var beats []time.Time
		env := newHostEnv(h.Worker)
		env.SetOnActivityHeartbeatListener(func(_ *activity.Info, details converter.EncodedValues) {
			beats = append(beats, time.Now())
		})
		var first activities.RolloutOutput
		var firstErr error
		go func() {
			defer close(done)
			first, firstErr = do[activities.RolloutOutput](t, host{h.Worker, env}, h.Rollouts.Rollout, in)
		}()
		time.Sleep(8 * time.Minute) //nolint:forbidigo // of the bubble, whose clock is its own
		synctest.Wait()
		require.NotEmpty(t, beats)
		for i := 1; i < len(beats); i++ {
			require.Equal(t, throttle, beats[i].Sub(beats[i-1]), "a slow one keeps its shard")
		}
		silent := beats[len(beats)-1].Sub(began)
		require.Greater(t, silent, 3*time.Minute)
		require.LessOrEqual(t, silent, 3*time.Minute+h.Engine.Slow+throttle)

		_, err := do[activities.RolloutOutput](t, host{h.Worker, newHostEnv(h.Worker)}, h.Rollouts.Rollout, in)
		require.ErrorContains(t, err, "a rollout of this worker hangs")
		again := must[activities.RolloutOutput](t, host{other.Worker, newHostEnv(other.Worker)}, other.Rollouts.Rollout, in)
		require.Equal(t, want.Episodes, again.Episodes)

		release()
		require.NoError(t, firstErr)
		require.Equal(t, want.Episodes, first.Episodes, "whoever wakes up leaves the same bytes")
	})
}
