//go:build failpoint

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRecoveryTimes prints how long a run stands still after a learner's and after the server's kill. The builds of the kill
// tests have a heartbeat time-out of 4 s; others have 20 s.
func TestRecoveryTimes(t *testing.T) {
	c := newCluster(t, workers{"control": "control,rollout", "learner-a": "learner"})
	p := &failpoint{At: "step", Count: 15, File: filepath.Join(c.dir, "learner-a.hit")}
	armed := true
	c.members["learner-a"].next = func() *failpoint {
		if !armed {
			return nil
		}
		armed = false
		return p
	}
	c.kill("learner-a") // the next process has the failpoint
	c.train(t, "life", `{"preset":"tiny","iterations":100000,"checkpoint":{"every":5},"evaluation":{"every":0,"final_attempts":[]}}`)
	step := func(ctx context.Context) int {
		st, ok := status(ctx, c.client, "life")
		if !ok {
			return -1
		}
		return st.Step
	}
	c.until(t, "the learner was killed in an update", func(context.Context) bool {
		_, err := os.Stat(p.File)
		return err == nil
	})
	c.goesOn(t, "a learner's kill in the middle of an update", step)
	c.kill("server")
	c.goesOn(t, "the server's kill", step)
	c.kill("store")
	c.goesOn(t, "the store's kill", step)
}

// goesOn measures the time until the run has made another step.
func (c *cluster) goesOn(t *testing.T, after string, step func(context.Context) int) {
	t.Helper()
	began, at := time.Now(), -1
	c.until(t, "it was known where", func(ctx context.Context) bool { at = step(ctx); return at >= 0 })
	c.until(t, "the run goes on", func(ctx context.Context) bool { return step(ctx) > at })
	t.Logf("time to the next step after %s: %.1f s", after, time.Since(began).Seconds())
}

// TestMemoryStaysFlat runs hundreds of iterations in one worker and prints its memory, open files and folders on the way.
func TestMemoryStaysFlat(t *testing.T) {
	iterations := setting(t, "LONG", 500)
	c := newCluster(t, workers{"control": "control,rollout,learner"})
	c.train(t, "long", fmt.Sprintf(`{"preset":"tiny","iterations":%d,"checkpoint":{"every":10},"evaluation":{"every":0,"final_attempts":[]}}`, iterations))
	var early, late footprint
	for _, at := range []int{iterations / 10, iterations / 4, iterations / 2, iterations - 10} {
		c.until(t, "step "+strconv.Itoa(at), func(ctx context.Context) bool {
			st, ok := status(ctx, c.client, "long")
			return ok && st.Step >= at
		})
		f := c.footprint(t, "control")
		t.Logf("after %d iterations: %.0f MB resident, %d open files, %d files in its folder", at, f.megabytes, f.descriptors, f.files)
		if early == (footprint{}) {
			early = f
		}
		late = f
	}
	c.finish(t, "long")
	require.Less(t, late.megabytes, 1.5*early.megabytes+50)
	require.LessOrEqual(t, late.descriptors, early.descriptors+20)
	require.LessOrEqual(t, late.files, early.files+20)
}

// footprint is what a process holds.
type footprint struct {
	megabytes          float64
	descriptors, files int
}

func (c *cluster) footprint(t *testing.T, name string) (f footprint) {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", c.members[name].cmd.Process.Pid)
	statm, err := os.ReadFile(proc + "statm")
	require.NoError(t, err)
	pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
	require.NoError(t, err)
	open, err := os.ReadDir(proc + "fd")
	require.NoError(t, err)
	f = footprint{megabytes: float64(pages*os.Getpagesize()) / 1e6, descriptors: len(open)}
	require.NoError(t, filepath.WalkDir(filepath.Join(c.dir, name), func(string, os.DirEntry, error) error {
		f.files++
		return nil
	}))
	return f
}

// TestAWorkerEndsInOrder: SIGTERM in the middle of work drains within the stop time-out and leaves no process and no file
// behind; a second signal ends at once.
func TestAWorkerEndsInOrder(t *testing.T) {
	c := newCluster(t, workers{"control": "control", "compute": "rollout,learner"})
	c.train(t, "life", `{"preset":"tiny","iterations":100000,"evaluation":{"every":0,"final_attempts":[]}}`)
	c.until(t, "step 2", func(ctx context.Context) bool {
		st, ok := status(ctx, c.client, "life")
		return ok && st.Step >= 2
	})
	m := c.members["compute"]
	codes := make(chan int, 2)
	m.next = func() *failpoint { codes <- m.cmd.ProcessState.ExitCode(); return nil } // called once the process has ended
	began := time.Now()
	m.signal(syscall.SIGTERM)
	require.Zero(t, <-codes, "a drained worker ends well: %s", m.out)
	t.Logf("drained in %.1f s", time.Since(began).Seconds())

	st, ok := status(t.Context(), c.client, "life")
	require.True(t, ok)
	c.until(t, "the run goes on", func(ctx context.Context) bool {
		now, ok := status(ctx, c.client, "life")
		return ok && now.Step > st.Step
	})
	m.signal(syscall.SIGTERM)
	time.Sleep(100 * time.Millisecond) // the first is being handled
	m.signal(syscall.SIGTERM)
	<-codes
}
