package engine

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A program may take long when nobody knows how long it takes, and else ten times as long as usual. What a slow run taught
// is forgotten by and by.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPaces()
		run := func(key string, took time.Duration, succeeds bool) {
			end := p.begin(key)
			time.Sleep(took) //nolint:forbidigo // of the bubble, whose clock is its own
			end(succeeds)
		}
		require.Zero(t, p.patience())
		end := p.begin("step")
		require.Equal(t, firstPatience, p.patience())
		end(false)
		require.Zero(t, p.patience())

		run("step", time.Second, false)
		end = p.begin("step")
		require.Equal(t, firstPatience, p.patience(), "a run that fails says nothing of what one takes")
		end(false)

		run("step", time.Second, true)
		run("slow", 20*time.Second, true)
		end = p.begin("step")
		require.Equal(t, 10*time.Second, p.patience())
		other := p.begin("slow")
		require.Equal(t, 200*time.Second, p.patience(), "one waits for the other")
		other(false)
		first := p.begin("new")
		require.Equal(t, firstPatience, p.patience())
		first(false)
		end(false)

		run("step", time.Hour, true) // the machine slept
		for range 100 {
			run("step", time.Second, true)
		}
		end = p.begin("step")
		require.Equal(t, 10*time.Second, p.patience())
		end(false)
	})
}
