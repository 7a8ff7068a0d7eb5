//go:build failpoint

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
)

// TestWorkersOfOneKindShareTheWork: two processes in folders of their own, one that joins them and one that leaves leave the
// same bytes as a single one, and each of them took shards of rollouts.
func TestWorkersOfOneKindShareTheWork(t *testing.T) {
	iterations := setting(t, "ITERATIONS", 12)
	want := undisturbed(t, iterations)
	c := newCluster(t, workers{"one": all, "two": all})
	run := c.train(t, "life", fmt.Sprintf(life, iterations))
	c.untilStep(t, "life", 2)
	c.join(t, "three", all, nil)
	c.untilStep(t, "life", iterations/2)
	_, took := c.end(t, "one", syscall.SIGTERM)
	left := c.step(t.Context(), "life")
	c.finish(t, "life")
	requireSameTrail(t, want, trail(t, c.store, "life"))

	shards := c.rollouts(t, "life", run.GetRunID())
	t.Logf("one left after %s at step %d; shards of rollouts: %v", took, left, shards)
	for name := range c.members {
		require.True(t, name == "server" || name == "store" || shards[name] > 0, "%s took no shard", name)
	}
	require.Equal(t, 4*iterations, shards["one"]+shards["two"]+shards["three"])
}

// all are the roles of a worker that does everything.
const all = "control,rollout,learner"

// rollouts counts the shards of a run's iterations by the member that finished them, from the run's first part on.
func (c *cluster) rollouts(t *testing.T, id, part string) map[string]int {
	t.Helper()
	shards := map[string]int{}
	for part != "" {
		rollouts, next := map[int64]string{}, ""
		events := c.client.GetWorkflowHistory(t.Context(), id, part, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
		for events.HasNext() {
			e, err := events.Next()
			require.NoError(t, err)
			if a := e.GetActivityTaskScheduledEventAttributes(); a != nil && a.ActivityType.Name == "Rollout" {
				rollouts[e.EventId] = ""
			} else if a := e.GetActivityTaskStartedEventAttributes(); a != nil {
				if _, ok := rollouts[a.ScheduledEventId]; ok {
					rollouts[a.ScheduledEventId] = c.memberOf(a.Identity)
				}
			} else if a := e.GetActivityTaskCompletedEventAttributes(); a != nil {
				if name, ok := rollouts[a.ScheduledEventId]; ok {
					shards[name]++
				}
			} else if a := e.GetWorkflowExecutionContinuedAsNewEventAttributes(); a != nil {
				next = a.NewExecutionRunId
			}
		}
		part = next
	}
	return shards
}

// memberOf finds the member whose newest process Temporal knows by an identity.
func (c *cluster) memberOf(identity string) string {
	for name, m := range c.members {
		if strings.HasSuffix(identity, fmt.Sprintf("@%d", m.cmd.Process.Pid)) {
			return name
		}
	}
	return identity
}

// halt is a worker that is stopped in the middle of something, past its heartbeat.
type halt struct {
	at     failpoint
	roles  string // of the worker, and of the one that takes over
	others string // roles of the worker beside them
}

// halts are the places of TestAPausedWorkerThatWakesUpChangesNothing. Learners and samplers compute something else than those
// that take over. What a control worker is about to write at a record or a checkpoint is decided: it cannot be anything else.
var halts = map[string]halt{
	"in an update":                       {at: failpoint{At: "step", Count: 3, Spoil: true}, roles: "learner", others: "control,rollout"},
	"between parts of a checkpoint":      {at: failpoint{At: "before-put", Key: `checkpoints/\d+/parts-.*/state/`, Spoil: true}, roles: "learner", others: "control,rollout"},
	"between a candidate and its commit": {at: failpoint{At: "after-put", Key: `checkpoints/\d+/manifest-`, Spoil: true}, roles: "learner", others: "control,rollout"},
	"between manifest and pointer":       {at: failpoint{At: "before-put", Key: `latest\.json`}, roles: "control", others: "rollout,learner"},
	"in a rollout":                       {at: failpoint{At: "sample", Count: 9, Spoil: true}, roles: "rollout", others: "control,learner"},
	"before a record":                    {at: failpoint{At: "before-put", Key: `/records/`, Count: 2}, roles: "control", others: "rollout,learner"},
}

// TestAPausedWorkerThatWakesUpChangesNothing halts a worker past its heartbeat, lets another take over, and wakes it up. It goes
// on with what it was doing as if it reached the store and no longer the server: nothing of it becomes part of the run.
func TestAPausedWorkerThatWakesUpChangesNothing(t *testing.T) {
	iterations := setting(t, "ITERATIONS", 12)
	want := undisturbed(t, iterations)
	for name, h := range halts {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, workers{"other": h.others})
			h.at.Halt, h.at.File = true, filepath.Join(c.dir, "halted")
			c.join(t, "paused", h.roles, &h.at)
			c.train(t, "life", fmt.Sprintf(life, iterations))
			c.until(t, "the worker halted", func(context.Context) bool { return exists(h.at.File) })
			c.join(t, "successor", h.roles, nil)
			halted := 0
			c.until(t, "it was known where", func(ctx context.Context) bool { halted = c.step(ctx, "life"); return halted >= 0 })
			c.untilStep(t, "life", min(halted+1, iterations))
			c.members["paused"].signal(syscall.SIGCONT)
			c.until(t, "what had halted was over", func(context.Context) bool { return exists(h.at.File + ".over") })
			over, err := os.ReadFile(h.at.File + ".over")
			require.NoError(t, err)
			wrote, _ := os.ReadFile(h.at.File + ".wrote") // none: nothing
			c.finish(t, "life")
			got := trail(t, c.store, "life")
			for key := range got { // what it wrote lies there under names that nothing refers to
				if _, ok := want[key]; !ok {
					require.Regexp(t, `/steps/\d+/(record|scores|episodes)-|/checkpoints/\d+/(parts|manifest)-`, key)
					require.Contains(t, string(wrote), key)
					t.Logf("left over: %s", key)
					delete(got, key)
				}
			}
			requireSameTrail(t, want, got)
			var others []string // a later checkpoint sweeps parts of none
			for key := range strings.Lines(string(wrote)) {
				key = strings.TrimSpace(key)
				if _, ok := want[key]; !ok && !strings.Contains(key, "/policy/") && !strings.Contains(key, "/timings/") {
					others = append(others, key)
				}
			}
			t.Logf("when it woke up: %sunlike the others it wrote %q", over, others)
			refused := !strings.HasSuffix(string(over), "<nil>\n")
			require.Equal(t, h.at.Spoil, len(others) > 0 || refused, "what it computed was not the same, and it tried to store it")
		})
	}
}
