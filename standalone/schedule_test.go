//go:build failpoint

package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
)

// life is a run with everything in it: checkpoints, evaluations on the way, continuations.
const life = `{"preset":"tiny","iterations":%d,"continue_after":5,"checkpoint":{"every":3,"keep":2},
	"evaluation":{"every":4,"attempts":[1],"final_attempts":[1,2],"shard_size":8}}`

// places are the named points at which a member is killed.
var places = map[string][]failpoint{
	"control": {
		{At: "before-put", Key: `steps/\d+/problems-`}, {At: "after-put", Key: `steps/\d+/problems-`},
		{At: "before-put", Key: `steps/\d+/experience-`}, {At: "after-put", Key: `steps/\d+/experience-`},
		{At: "before-put", Key: `records/`}, {At: "after-put", Key: `records/`},
		{At: "sample"}, {At: "before-put", Key: `evaluations/`}, {At: "after-put", Key: `evaluations/.*/(set|result)-`},
		{At: "before-put", Key: `best\.json`}, {At: "continue-as-new"}, {At: "continue-as-new"},
	},
	"rollout": {
		{At: "sample"}, {At: "sample"}, {At: "before-put", Key: `steps/\d+/episodes-`}, {At: "after-put", Key: `steps/\d+/episodes-`},
		{At: "before-put", Key: `evaluations/.*/episodes-`}, {At: "after-put", Key: `evaluations/.*/episodes-`},
	},
	"learner": {
		{At: "step"}, {At: "step"}, {At: "before-put", Key: `steps/\d+/policy/.*safetensors`}, {At: "after-put", Key: `steps/\d+/policy/folder-`},
		{At: "before-put", Key: `steps/\d+/record-`}, {At: "after-put", Key: `steps/\d+/record-`},
		{At: "before-put", Key: `checkpoints/\d+/parts-.*/policy/`}, {At: "after-put", Key: `checkpoints/\d+/parts-.*/policy/`},
		{At: "before-put", Key: `checkpoints/\d+/parts-.*/state/`}, {At: "before-put", Key: `checkpoints/\d+/manifest\.json`},
		{At: "after-put", Key: `checkpoints/\d+/manifest\.json`}, {At: "before-put", Key: `latest\.json`}, {At: "after-put", Key: `latest\.json`},
	},
}

// schedule draws what happens to each process from a seed.
type schedule struct {
	c     *cluster
	total int // kills
	mu    sync.Mutex
	draw  *rand.Rand
	armed map[string]*failpoint
}

func newSchedule(c *cluster, seed uint64, total int) *schedule {
	s := &schedule{c: c, total: total, draw: rand.New(rand.NewPCG(seed, 7)), armed: map[string]*failpoint{}}
	for name, m := range c.members {
		m.next = func() *failpoint { return s.next(name) }
	}
	return s
}

// next counts the kill at the failpoint that the member has just met, and draws the next one.
func (s *schedule) next(name string) *failpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle(name)
	kind, _, _ := strings.Cut(name, "-")
	all := places[kind]
	if len(all) == 0 || s.c.killCount() >= s.total {
		return nil
	}
	p := all[s.draw.IntN(len(all))]
	p.Count = 1 + s.draw.IntN(3)
	p.File = filepath.Join(s.c.dir, name+".hit")
	s.armed[name] = &p
	return &p
}

// settle counts the kill of a failpoint that was met.
func (s *schedule) settle(name string) {
	p := s.armed[name]
	if p == nil {
		return
	}
	delete(s.armed, name)
	if os.Remove(p.File) == nil {
		s.c.killed(name, p.At+" "+p.Key)
	}
}

// strike kills any process at any moment until there were enough kills or the run has ended.
func (s *schedule) strike(ctx context.Context) {
	names := slices.Sorted(maps.Keys(s.c.members))
	for s.c.killCount() < s.total {
		s.mu.Lock()
		name, pause := names[s.draw.IntN(len(names))], time.Duration(1000+s.draw.IntN(4000))*time.Millisecond
		if s.draw.IntN(3) == 0 {
			name = []string{"server", "store"}[s.draw.IntN(2)]
		}
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
			s.c.kill(name)
		}
	}
}

// trail is every object of a run that its records, its evaluations and its newest checkpoint consist of: key → digest of
// the bytes.
func trail(t *testing.T, s blob.Store, run string) map[string]blob.Digest {
	t.Helper()
	all := map[string]blob.Digest{}
	require.NoError(t, s.List(t.Context(), "runs/"+run+"/", func(o blob.Info) error {
		name := strings.TrimPrefix(o.Key, "runs/"+run+"/")
		if strings.Contains(name, "/policy/") && strings.HasPrefix(name, "steps/") || strings.HasPrefix(name, "timings/") {
			return nil // weights of a step, which the next checkpoint deletes; measured times, which are no results
		}
		body, _, err := s.Get(t.Context(), o.Key)
		if err != nil {
			return err
		}
		b, err := io.ReadAll(body)
		if cerr := body.Close(); err == nil {
			err = cerr
		}
		all[o.Key] = blob.Sum(b)
		return err
	}))
	return all
}

var (
	calmOnce sync.Once
	calm     map[string]blob.Digest
)

// undisturbed is the trail of the run that nobody disturbs, made by one worker that does everything.
func undisturbed(t *testing.T, iterations int) map[string]blob.Digest {
	t.Helper()
	calmOnce.Do(func() {
		c := newCluster(t, workers{"control": "control,rollout,learner"})
		began := time.Now()
		c.train(t, "life", fmt.Sprintf(life, iterations))
		out := c.finish(t, "life")
		require.Equal(t, iterations, out.Step)
		calm = trail(t, c.store, "life")
		t.Logf("undisturbed: %d objects in %s", len(calm), time.Since(began).Round(time.Millisecond))
		c.stop()
	})
	require.NotEmpty(t, calm)
	return calm
}

// requireSameTrail compares every object, episodes, metrics and checkpoints, byte for byte.
func requireSameTrail(t *testing.T, want, got map[string]blob.Digest) {
	t.Helper()
	records := 0
	for key, digest := range want {
		require.Equal(t, digest, got[key], "%s", key)
		if strings.Contains(key, "/records/") {
			records++
		}
	}
	for key := range got {
		require.Contains(t, want, key, "an object that the undisturbed run lacks")
	}
	require.Positive(t, records)
}

// setting reads a whole number from a variable of the test suite.
func setting(t *testing.T, name string, fallback int) int {
	t.Helper()
	text := os.Getenv("MULTIATTEMPT_TEST_" + name)
	if text == "" {
		return fallback
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}

// TestKillSchedules kills processes at random moments and at named points, by seed, and compares everything that the run
// left with what an undisturbed run leaves. `make test-kill` says how many schedules and kills.
func TestKillSchedules(t *testing.T) {
	schedules, kills, iterations := setting(t, "SCHEDULES", 1), setting(t, "KILLS", 6), setting(t, "ITERATIONS", 12)
	first := setting(t, "FIRST_SEED", 1)
	want := undisturbed(t, iterations)
	for seed := first; seed < first+schedules; seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			c := newCluster(t, spread)
			s := newSchedule(c, uint64(seed), kills)
			for name := range spread { // those that run have no failpoint yet
				c.kill(name)
			}
			began := time.Now()
			c.train(t, "life", fmt.Sprintf(life, iterations))
			ctx, cancel := context.WithCancel(t.Context())
			var striker sync.WaitGroup
			striker.Go(func() { s.strike(ctx) })
			out := c.finish(t, "life")
			cancel()
			striker.Wait()
			require.Equal(t, iterations, out.Step)
			requireSameTrail(t, want, trail(t, c.store, "life"))
			t.Logf("seed %d: %d kills in %s: %v", seed, c.killCount(), time.Since(began).Round(time.Second), c.kills)
			require.GreaterOrEqual(t, c.killCount(), kills, "the run was over before the schedule")
		})
	}
}

// TestWorkersOfOneKindShareTheWork: three processes in folders of their own leave the same bytes as one.
func TestWorkersOfOneKindShareTheWork(t *testing.T) {
	iterations := setting(t, "ITERATIONS", 12)
	want := undisturbed(t, iterations)
	c := newCluster(t, workers{"one": "control,rollout,learner", "two": "control,rollout,learner", "three": "control,rollout,learner"})
	c.train(t, "life", fmt.Sprintf(life, iterations))
	c.finish(t, "life")
	requireSameTrail(t, want, trail(t, c.store, "life"))
}

// TestAPausedWorkerThatWakesUpChangesNothing halts a learner and a sampler past their heartbeat, lets others take over, and
// wakes them up. The learner even computes something else after that: nothing of it becomes part of the run.
func TestAPausedWorkerThatWakesUpChangesNothing(t *testing.T) {
	iterations := setting(t, "ITERATIONS", 12)
	want := undisturbed(t, iterations)
	for name, p := range map[string]failpoint{
		"in an update":                  {At: "step", Count: 3, Spoil: true},
		"between parts of a checkpoint": {At: "before-put", Key: `checkpoints/\d+/parts-.*/state/`},
		"between manifest and pointer":  {At: "before-put", Key: `latest\.json`},
		"in a rollout":                  {At: "sample", Count: 9},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, workers{"control": "control"})
			p.Halt, p.File = true, filepath.Join(c.dir, "halted")
			roles, other := "learner", "rollout"
			if p.At == "sample" {
				roles, other = other, roles
			}
			add := func(name, roles string, p *failpoint) {
				c.members[name] = &member{name: name, next: func() *failpoint { return p }, args: c.workerArgs(name, roles)}
				c.start(t, name)
			}
			add("other", other, nil)
			add("paused", roles, &p)
			c.train(t, "life", fmt.Sprintf(life, iterations))
			c.until(t, "the worker halted", func(context.Context) bool { return exists(p.File) })
			step := func(ctx context.Context) int {
				st, ok := status(ctx, c.client, "life")
				if !ok {
					return -1
				}
				return st.Step
			}
			halted := 0
			c.until(t, "it was known where", func(ctx context.Context) bool { halted = step(ctx); return halted >= 0 })
			add("successor", roles, nil)
			c.until(t, "the successor had gone on", func(ctx context.Context) bool { return step(ctx) >= min(halted+2, iterations) })
			c.members["paused"].signal(syscall.SIGCONT)
			c.finish(t, "life")
			got := trail(t, c.store, "life")
			for key := range got { // what it wrote may lie there, under names that nothing refers to
				if _, ok := want[key]; !ok {
					require.Regexp(t, `/steps/\d+/(record|episodes)-|/checkpoints/\d+/parts-`, key)
					delete(got, key)
				}
			}
			requireSameTrail(t, want, got)
		})
	}
}
