package activities_test

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/activities"
	"multiattempt/activities/activitytest"
	"multiattempt/internal/blob"
)

// openSampler is a sampler that says when it is closed.
type openSampler struct {
	activities.Sampler
	open *atomic.Int64
}

func (c openSampler) Close() {
	c.open.Add(-1)
	c.Sampler.Close()
}

// TestAShardThatIsStoredHoldsNoPolicy: the next one, of another run, begins meanwhile, and a device has room for one policy.
func TestAShardThatIsStoredHoldsNoPolicy(t *testing.T) {
	h := newHost(t, blob.NewMemory(), activitytest.Presets(t), "own")
	var open atomic.Int64
	h.Engine.OnSampler = func(s activities.Sampler) activities.Sampler {
		require.EqualValues(t, 1, open.Add(1))
		return openSampler{s, &open}
	}
	shard := func(h host, fields string) {
		_, at := begin(t, h, fields)
		batch := must[activities.SampleBatchOutput](t, h, h.Data.SampleBatch, activities.SampleBatchInput{Run: "r", Spec: at.Spec})
		must[activities.RolloutOutput](t, h, h.Rollouts.Rollout, activities.RolloutInput{
			Run: "r", Spec: at.Spec, Policy: at.Policy, Problems: batch.Problems, Shards: 2,
		})
	}
	other := host{Worker: h.Worker, env: newHostEnv(h.Worker)}
	given := 0
	activities.WhenSampled(h.Rollouts, func() {
		if given++; given == 1 {
			shard(other, `{"preset":"small","sampling":{"compute":"bfloat16"}}`)
		}
	})
	shard(h, `{"preset":"small"}`)
	require.Equal(t, 2, given)
	require.EqualValues(t, 1, open.Load())
}
