//go:build failpoint

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAHangingSamplerLosesItsShard: a sampler whose device is stuck while its process lives is found out by the heartbeat
// time-out, and another worker makes the shard. The run ends with the bytes of one that nobody disturbed.
func TestAHangingSamplerLosesItsShard(t *testing.T) {
	iterations := setting(t, "ITERATIONS", 12)
	want := undisturbed(t, iterations)
	t.Setenv("MULTIATTEMPT_WORKER_ROLLOUT_CONCURRENCY", "2") // the stuck worker could take the shard again
	c := newCluster(t, workers{"control": "control,learner"})
	p := failpoint{At: "sample", Count: 9, Hang: true, File: filepath.Join(c.dir, "hangs")}
	c.join(t, "stuck", "rollout", &p)
	c.train(t, "life", fmt.Sprintf(life, iterations))
	c.until(t, "the sampler hangs", func(context.Context) bool { return exists(p.File) })
	process := c.members["stuck"].cmd.Process
	c.join(t, "other", "rollout", nil)
	c.finish(t, "life")
	require.Same(t, process, c.members["stuck"].cmd.Process, "it lived to the end")
	requireSameTrail(t, want, trail(t, c.store, "life"))
}
