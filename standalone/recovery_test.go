//go:build failpoint

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
)

// endless is a run that no test sees the end of.
const endless = `{"preset":"tiny","iterations":100000,"checkpoint":{"every":%d},"evaluation":{"every":0,"final_attempts":[]}}`

// TestRecoveryTimes prints how long a run stands still after a learner's kill, with another learner and without, and after
// the server's and the store's. The builds of the kill tests have a heartbeat time-out of 4 s; others have 20 s.
func TestRecoveryTimes(t *testing.T) {
	c := newCluster(t, workers{"control": "control,rollout", "learner-a": "learner"})
	hit := filepath.Join(c.dir, "learner-a.hit")
	strike := make(chan *failpoint, 1)
	c.members["learner-a"].next = func(bool) *failpoint {
		select {
		case p := <-strike:
			return p
		default:
			return nil
		}
	}
	step := func(ctx context.Context) int {
		st, ok := status(ctx, c.client, "life")
		if !ok {
			return -1
		}
		return st.Step
	}
	// killed lets the next learner be killed in an update, and measures from that moment on.
	killed := func(what string, count int) {
		strike <- &failpoint{At: "step", Count: count, File: hit}
		c.kill("learner-a") // the next process has the failpoint
		c.until(t, "the learner was killed in an update", func(context.Context) bool { return exists(hit) })
		at, err := os.Stat(hit)
		require.NoError(t, err)
		require.NoError(t, os.Remove(hit))
		c.goesOn(t, what, at.ModTime(), step)
		c.shares(t, at.ModTime())
	}

	c.train(t, "life", fmt.Sprintf(endless, 12))
	c.until(t, "step 1", func(ctx context.Context) bool { return step(ctx) >= 1 })
	killed("a learner's kill in the middle of an update", 15)

	c.join(t, "learner-b", "learner", nil)
	c.mu.Lock()
	c.members["learner-a"].last = true
	c.mu.Unlock()
	began := time.Now()
	c.kill("learner-a") // learner-b takes over, and nobody comes back
	c.goesOn(t, "a learner's kill at any moment, with another one taking over for good", began, step)
	c.shares(t, began)

	for _, name := range []string{"server", "store"} {
		c.kill(name)
		c.goesOn(t, "the "+name+"'s kill", time.Now(), step)
	}
}

// goesOn waits until the run has made another step, and prints how long that took since began.
func (c *cluster) goesOn(t *testing.T, after string, began time.Time, step func(context.Context) int) {
	t.Helper()
	at := -1
	c.until(t, "it was known where", func(ctx context.Context) bool { at = step(ctx); return at >= 0 })
	c.until(t, "the run goes on", func(ctx context.Context) bool { return step(ctx) > at })
	t.Logf("after %s: next step done after %.1f s", after, time.Since(began).Seconds())
}

// shares prints what the time since a learner's kill was spent on.
func (c *cluster) shares(t *testing.T, began time.Time) {
	t.Helper()
	var ordinary []time.Duration
	var lost *updateCall
	for _, u := range c.updates(t, "life") {
		if u.done.After(began) && lost == nil {
			lost = &u
		} else if u.attempt == 1 && !u.fallback {
			ordinary = append(ordinary, u.done.Sub(u.started))
		}
	}
	require.NotNil(t, lost)
	slices.Sort(ordinary)
	t.Logf("    in hand again after %.1f s (heartbeat time-out %s), then %.1f s for loading, replay and the update itself, which takes %.1f s",
		lost.started.Sub(began).Seconds(), lost.heartbeat, lost.done.Sub(lost.started).Seconds(), ordinary[len(ordinary)/2].Seconds())
}

// updateCall is a policy update as the history tells it.
type updateCall struct {
	started, done time.Time // of the attempt that succeeded
	heartbeat     time.Duration
	attempt       int32
	fallback      bool // the learner that holds the state had been asked before
}

// updates lists the policy updates of a run that succeeded.
func (c *cluster) updates(t *testing.T, run string) (all []updateCall) {
	t.Helper()
	var calls map[int64]*updateCall
	c.until(t, "the history was read", func(ctx context.Context) bool {
		all, calls = nil, map[int64]*updateCall{}
		failed := false
		events := c.client.GetWorkflowHistory(ctx, run, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
		for events.HasNext() {
			e, err := events.Next()
			if err != nil {
				return false
			}
			if a := e.GetActivityTaskScheduledEventAttributes(); a != nil && a.ActivityType.Name == "Update" {
				calls[e.EventId] = &updateCall{heartbeat: a.HeartbeatTimeout.AsDuration(), fallback: failed}
			} else if a := e.GetActivityTaskStartedEventAttributes(); a != nil && calls[a.ScheduledEventId] != nil {
				calls[a.ScheduledEventId].started, calls[a.ScheduledEventId].attempt = e.EventTime.AsTime(), a.Attempt
			} else if a := e.GetActivityTaskTimedOutEventAttributes(); a != nil && calls[a.ScheduledEventId] != nil {
				failed = true
			} else if a := e.GetActivityTaskCompletedEventAttributes(); a != nil && calls[a.ScheduledEventId] != nil {
				calls[a.ScheduledEventId].done = e.EventTime.AsTime()
				all = append(all, *calls[a.ScheduledEventId])
				failed = false
			}
		}
		return true
	})
	return all
}

// TestMemoryStaysFlat runs hundreds of iterations in one worker and prints its memory, open files and folders on the way. The
// policy hardly moves, so that dialogues stay as long as they were: longer ones need more memory.
func TestMemoryStaysFlat(t *testing.T) {
	iterations := setting(t, "LONG", 500)
	c := newCluster(t, workers{"control": "control,rollout,learner"})
	c.train(t, "long", fmt.Sprintf(`{"preset":"tiny","iterations":%d,"checkpoint":{"every":10},"evaluation":{"every":0,"final_attempts":[]},
		"optimizer":{"policy_lr":1e-9}}`, iterations))
	var early, late footprint
	for _, at := range []int{iterations / 10, iterations / 4, iterations / 2, 3 * iterations / 4, iterations - 10} {
		var f footprint
		for i := range 5 { // the least of several: the collector is anywhere between two collections
			c.until(t, "step "+strconv.Itoa(at+i), func(ctx context.Context) bool {
				st, ok := status(ctx, c.client, "long")
				return ok && st.Step >= at+i
			})
			if now := c.footprint(t, "control"); i == 0 || now.own < f.own {
				f = now
			}
		}
		t.Logf("after %d iterations: %.0f MB of its own, %.0f MB of its executable, %d open files, %d files in its folder",
			at, f.own, f.mapped, f.descriptors, f.files)
		if early == (footprint{}) {
			early = f
		}
		late = f
	}
	c.finish(t, "long")
	require.Less(t, late.own, 1.15*early.own)
	require.LessOrEqual(t, late.descriptors, early.descriptors+20)
	require.LessOrEqual(t, late.files, early.files+20)
}

// footprint is what a process holds. How much of the executable is resident says nothing of the process: it depends on what
// of the file the kernel had cached when the process began, and is the kernel's to take back.
type footprint struct {
	own, mapped        float64 // resident memory, MB: anonymous, and of files
	descriptors, files int
}

var residentMemory = regexp.MustCompile(`(?m)^(RssAnon|RssFile):\s+(\d+) kB$`)

func (c *cluster) footprint(t *testing.T, name string) (f footprint) {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", c.members[name].cmd.Process.Pid)
	text, err := os.ReadFile(proc + "status")
	require.NoError(t, err)
	found := residentMemory.FindAllSubmatch(text, -1)
	require.Len(t, found, 2)
	for i, megabytes := range []*float64{&f.own, &f.mapped} {
		kilobytes, err := strconv.Atoi(string(found[i][2]))
		require.NoError(t, err)
		*megabytes = float64(kilobytes) * 1024 / 1e6
	}
	open, err := os.ReadDir(proc + "fd")
	require.NoError(t, err)
	f.descriptors = len(open)
	require.NoError(t, filepath.WalkDir(filepath.Join(c.dir, name), func(string, os.DirEntry, error) error {
		f.files++
		return nil
	}))
	return f
}

// TestAWorkerEndsInOrder: SIGTERM in the middle of work drains within the stop time-out and leaves no process and no
// temporary file behind; what cannot finish in time is handed over; a second signal ends at once.
func TestAWorkerEndsInOrder(t *testing.T) {
	t.Run("work that ends in time is finished", func(t *testing.T) {
		c := newCluster(t, workers{"control": "control", "compute": "rollout,learner"})
		c.train(t, "life", fmt.Sprintf(endless, 5))
		c.until(t, "step 2", func(ctx context.Context) bool {
			st, ok := status(ctx, c.client, "life")
			return ok && st.Step >= 2
		})
		code, took := c.end(t, "compute", syscall.SIGTERM)
		require.Zero(t, code.ExitStatus(), "a drained worker ends well: %s", c.members["compute"].out)
		t.Logf("drained in %.1f s", took.Seconds())
		left, err := os.ReadDir(filepath.Join(c.dir, "compute", "workers", "0", "learner"))
		require.NoError(t, err)
		require.Empty(t, left)

		before, ok := status(t.Context(), c.client, "life")
		require.True(t, ok)
		c.start(t, "compute")
		c.until(t, "the run goes on", func(ctx context.Context) bool {
			now, ok := status(ctx, c.client, "life")
			return ok && now.Step > before.Step
		})
	})
	t.Run("work that takes longer is handed over", func(t *testing.T) {
		t.Setenv("MULTIATTEMPT_WORKER_STOP_TIMEOUT", "2s")
		c := longUpdate(t)
		code, took := c.end(t, "compute", syscall.SIGTERM)
		require.Zero(t, code.ExitStatus(), "%s", c.members["compute"].out)
		t.Logf("ended %.1f s after the signal, with a stop time-out of 2 s", took.Seconds())
		c.start(t, "compute")
		c.until(t, "another worker had the update", func(ctx context.Context) bool { return c.updateAttempt(ctx) > 1 })
	})
	t.Run("a second signal ends at once", func(t *testing.T) {
		c := longUpdate(t)
		m := c.members["compute"]
		c.mu.Lock()
		m.last = true
		c.mu.Unlock()
		began, signals := time.Now(), 0
		asked(t, m.ended, func(context.Context) bool { // as a person does who is in a hurry
			m.signal(syscall.SIGTERM)
			signals++
			return false
		})
		t.Logf("ended %.2f s after the first of %d signals", time.Since(began).Seconds(), signals)
		status := m.cmd.ProcessState.Sys().(syscall.WaitStatus)
		require.True(t, status.Signaled(), "%v: %s", m.cmd.ProcessState, m.out)
		require.Equal(t, syscall.SIGTERM, status.Signal())
		require.Equal(t, 1, c.updateAttempt(t.Context()), "the update was under way, and is still held for this worker")
		require.Zero(t, processes(t, filepath.Join(c.dir, "compute")))
	})
}

// end sends a signal to a member that is not to be started again, and returns how and after what time it ended.
func (c *cluster) end(t *testing.T, name string, s syscall.Signal) (syscall.WaitStatus, time.Duration) {
	t.Helper()
	m := c.members[name]
	c.mu.Lock()
	m.last = true
	c.mu.Unlock()
	require.Equal(t, 1, processes(t, filepath.Join(c.dir, name)), "a worker is one process")
	began := time.Now()
	m.signal(s)
	<-m.ended
	took := time.Since(began)
	require.Zero(t, processes(t, filepath.Join(c.dir, name)))
	return m.cmd.ProcessState.Sys().(syscall.WaitStatus), took
}

// longUpdate is a cluster whose worker is in an update of minutes.
func longUpdate(t *testing.T) *cluster {
	t.Helper()
	c := newCluster(t, workers{"control": "control", "compute": "rollout,learner"})
	c.train(t, "life", `{"preset":"tiny","data":{"problems_per_step":512,"shard_size":128},"update":{"epochs":100},
		"critic_warmup":0,"evaluation":{"every":0,"final_attempts":[]}}`)
	c.until(t, "the update began", func(ctx context.Context) bool { return c.updateAttempt(ctx) > 0 })
	return c
}

// updateAttempt is the number of the attempt of the update that a worker has in hand; 0 when none has.
func (c *cluster) updateAttempt(ctx context.Context) int {
	d, err := c.client.DescribeWorkflowExecution(ctx, "life", "")
	if err != nil {
		return 0
	}
	for _, a := range d.PendingActivities {
		if a.ActivityType.Name == "Update" && a.State == enumspb.PENDING_ACTIVITY_STATE_STARTED {
			return int(a.Attempt)
		}
	}
	return 0
}

// processes counts those whose command line names the folder.
func processes(t *testing.T, folder string) (n int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, file := range all {
		b, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(b), folder) {
			n++
		}
	}
	return n
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
