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
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
	"multiattempt/workflows"
)

// life is a run with everything in it: epochs, checkpoints, evaluations on the way, continuations.
const life = `{"preset":"tiny","iterations":%d,"continue_after":5,"data":{"train":"problems.jsonl","shard_size":4},"checkpoint":{"every":3,"keep":2},
	"evaluation":{"every":4,"attempts":[1],"final_attempts":[1,2],"shard_size":8}}`

// schedule is what happens to each process, by seed: kills at the named places whose turn it is, and at any moment.
type schedule struct {
	c          *cluster
	kills      int
	iterations int
	mu         sync.Mutex
	draw       *rand.Rand
	ahead      map[string][]failpoint // the places that are still to be met, by kind
	armed      map[string]*failpoint  // by member
	files      int
	began      time.Time // of training; zero: it has not
}

func newSchedule(c *cluster, seed, kills, iterations int) *schedule {
	s := &schedule{c: c, kills: kills, iterations: iterations, draw: rand.New(rand.NewPCG(uint64(seed), 7)), ahead: map[string][]failpoint{}, armed: map[string]*failpoint{}}
	for _, kind := range slices.Sorted(maps.Keys(places)) {
		s.ahead[kind] = deal(kind, seed, share(kind, kills), s.draw)
	}
	for name, m := range c.members {
		m.next = func(met bool) *failpoint { return s.next(name, met) }
	}
	return s
}

// next arms a member: with the place that it has not met yet, or with the next one of its kind.
func (s *schedule) next(name string, met bool) *failpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, kind := s.armed[name], kindOf(name)
	if p == nil || met {
		delete(s.armed, name)
		if len(s.ahead[kind]) == 0 {
			return nil
		}
		p = &s.ahead[kind][0]
		s.ahead[kind] = s.ahead[kind][1:]
		s.files++
		p.File = filepath.Join(s.c.dir, fmt.Sprintf("hit-%d", s.files))
		s.armed[name] = p
	}
	return p
}

// strike kills processes at any moment from the beginning of training on, until ctx ends.
func (s *schedule) strike(ctx context.Context) {
	var turns []string
	step := 0
	for {
		asking, cancel := context.WithTimeout(ctx, 2*time.Second)
		st, ok := status(asking, s.c.client, "life")
		cancel()
		s.mu.Lock()
		if ok && st.Phase != workflows.PhaseStarting && s.began.IsZero() {
			s.began = time.Now()
		}
		step = max(step, st.Step) // while nobody answers, where the run was
		due, spread := s.due(step), 2000
		if s.behind(step) {
			spread = 200 // the run is faster than the schedule
		}
		pause := time.Duration(100+s.draw.IntN(spread)) * time.Millisecond
		if len(turns) == 0 {
			turns = append(slices.Sorted(maps.Keys(s.c.members)), "server", "store")
			s.draw.Shuffle(len(turns), func(i, j int) { turns[i], turns[j] = turns[j], turns[i] })
		}
		if s.began.IsZero() {
			pause = 20 * time.Millisecond
		}
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		if due {
			s.c.kill(turns[0])
			turns = turns[1:]
		}
	}
}

// due reports whether it is time for a kill at any moment. They are spread over the first two thirds of the run; the rest is
// for what the named places, which their members may still come to, left to be done.
func (s *schedule) due(step int) bool {
	if s.began.IsZero() {
		return false
	}
	done, named := len(s.c.killed(s.began, time.Now())), len(s.armed)
	for _, p := range s.ahead {
		named += len(p)
	}
	if 3*step >= 2*s.iterations {
		return done < s.kills
	}
	return done+named < s.kills && 2*s.iterations*done <= 3*(step+1)*s.kills
}

// behind reports whether fewer have been killed by a step than were to be, or it is time for what is left.
func (s *schedule) behind(step int) bool {
	done := len(s.c.killed(s.began, time.Now()))
	return 3*step >= 2*s.iterations || 2*s.iterations*(done+2) < 3*step*s.kills
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

// TestKillSchedules kills processes at random moments and at named places, by seed, and compares everything that the run
// left with what an undisturbed run leaves. `make test-kill` says how many schedules and kills.
func TestKillSchedules(t *testing.T) {
	schedules, kills, iterations := setting(t, "SCHEDULES", 1), setting(t, "KILLS", 6), setting(t, "ITERATIONS", 12)
	first := setting(t, "FIRST_SEED", 1)
	want := undisturbed(t, iterations)
	seen := coverage{dealt: map[string]int{}, met: map[string]int{}}
	for seed := first; seed < first+schedules; seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { killed(t, seed, kills, iterations, want, seen) })
	}
	seen.requireWhole(t)
}

// killed is one schedule: at least so many kills while the run trains, and the bytes of the one that nobody disturbed.
func killed(t *testing.T, seed, kills, iterations int, want map[string]blob.Digest, seen coverage) {
	c := prepareCluster(t, spread)
	s := newSchedule(c, seed, kills, iterations)
	for kind, dealt := range s.ahead {
		for _, p := range dealt {
			seen.dealt[kind+" "+p.place()]++
		}
	}
	c.begin(t)
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

	took := c.closed(t, "life").Sub(began)
	counted := c.killed(s.began, began.Add(took))
	all := c.killed(time.Time{}, began.Add(took))
	random := map[string]int{}
	for _, k := range all {
		if k.where == atRandom {
			random[kindOf(k.member)]++
		} else {
			seen.met[kindOf(k.member)+" "+k.where]++
		}
	}
	t.Logf("seed %d: %d kills, %d of them in training, in %s: %v", seed, len(all), len(counted), took.Round(time.Second), all)
	t.Logf("at any moment: %v; ended by themselves: %v", random, c.ends)
	require.GreaterOrEqual(t, len(counted), kills, "the run was over before the schedule")
	for _, service := range []string{"server", "store"} {
		require.True(t, random[service] > 0 || kills < 20, "the %s was not killed", service)
	}
}
