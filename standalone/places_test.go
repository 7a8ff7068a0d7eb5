//go:build failpoint

package main

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// places are the named points at which a member is killed, by its kind, those first that a run comes to seldom. A Count is
// the most times that the member passes before it is killed there.
var places = map[string][]failpoint{
	"control": {
		{At: "before-put", Key: `/spec-`}, {At: "before-put", Key: `best\.json`}, {At: "after-put", Key: `best\.json`}, {At: "continue-as-new"},
		{At: "before-put", Key: `evaluations/.*/set-`}, {At: "after-put", Key: `evaluations/.*/result-`},
		{At: "before-put", Key: `steps/\d+/problems-`, Count: 2}, {At: "after-put", Key: `steps/\d+/problems-`, Count: 2},
		{At: "before-put", Key: `steps/\d+/experience-`, Count: 2}, {At: "after-put", Key: `steps/\d+/experience-`, Count: 2},
		{At: "before-put", Key: `records/`, Count: 2}, {At: "after-put", Key: `records/`, Count: 2},
		{At: "before-put", Key: `checkpoints/\d+/manifest\.json`}, {At: "after-put", Key: `checkpoints/\d+/manifest\.json`},
		{At: "before-put", Key: `latest\.json`}, {At: "after-put", Key: `latest\.json`},
		{At: "before-delete", Key: `checkpoints/\d+/manifest-`}, {At: "before-delete", Key: `checkpoints/\d+/manifest\.json`},
		{At: "before-delete", Key: `checkpoints/\d+/parts-`}, {At: "before-delete", Key: `steps/\d+/policy/`},
		{At: "sample", Count: 20},
	},
	"rollout": {
		{At: "before-put", Key: `evaluations/.*/episodes-`}, {At: "after-put", Key: `evaluations/.*/episodes-`},
		{At: "before-put", Key: `steps/\d+/episodes-`, Count: 3}, {At: "after-put", Key: `steps/\d+/episodes-`, Count: 3},
		{At: "sample", Count: 40},
	},
	"learner": {
		{At: "before-put", Key: `checkpoints/\d+/parts-.*/policy/`}, {At: "after-put", Key: `checkpoints/\d+/parts-.*/policy/`},
		{At: "before-put", Key: `checkpoints/\d+/parts-.*/state/`}, {At: "before-put", Key: `checkpoints/\d+/manifest-`},
		{At: "after-put", Key: `checkpoints/\d+/manifest-`},
		{At: "before-put", Key: `steps/\d+/policy/.*safetensors`, Count: 2}, {At: "after-put", Key: `steps/\d+/policy/folder-`, Count: 2},
		{At: "before-put", Key: `steps/\d+/record-`, Count: 2}, {At: "after-put", Key: `steps/\d+/record-`, Count: 2},
		{At: "step", Count: 8},
	},
}

// kindOf is what a member's name begins with.
func kindOf(member string) string {
	kind, _, _ := strings.Cut(member, "-")
	return kind
}

// share is the number of a kind's places that a schedule of so many kills meets: half of the kills are at named places, the
// others at any moment.
func share(kind string, kills int) int {
	of := map[string]int{"control": 5, "rollout": 2, "learner": 3}
	return max(1, of[kind]*kills/20)
}

// deal returns the places of a kind that are the turn of a schedule: the schedules take them in order, over and over.
func deal(kind string, seed, n int, draw *rand.Rand) []failpoint {
	all := places[kind]
	var turn []int
	for i := range min(n, len(all)) {
		turn = append(turn, ((seed-1)*n+i)%len(all))
	}
	slices.Sort(turn) // the seldom ones first, lest their moment passes
	var dealt []failpoint
	for _, i := range turn {
		p := all[i]
		p.Count = 1 + draw.IntN(max(1, p.Count))
		dealt = append(dealt, p)
	}
	return dealt
}

// coverage counts over all schedules how often each place was dealt, and how often a member was killed there.
type coverage struct{ dealt, met map[string]int }

// requireWhole reports every place and, when the schedules were enough to deal each of them twice, demands that a member was
// killed at every single one.
func (c coverage) requireWhole(t *testing.T) {
	t.Helper()
	var missed []string
	whole := true
	for kind, all := range places {
		for _, p := range all {
			name := kind + " " + p.place()
			t.Logf("%-70s dealt %2d, killed there %2d times", name, c.dealt[name], c.met[name])
			whole = whole && c.dealt[name] >= 2
			if c.met[name] == 0 {
				missed = append(missed, name)
			}
		}
	}
	if !whole {
		t.Logf("too few schedules to come to every place: %d missed", len(missed))
		return
	}
	require.Empty(t, missed, "nobody was killed there")
}

// TestTwentySchedulesComeToEveryPlace holds what `make test-kill` promises of its default number of schedules and kills.
func TestTwentySchedulesComeToEveryPlace(t *testing.T) {
	for kind, all := range places {
		dealt := map[string]int{}
		for seed := 1; seed <= 20; seed++ {
			for _, p := range deal(kind, seed, share(kind, 20), rand.New(rand.NewPCG(uint64(seed), 7))) {
				dealt[p.place()]++
			}
		}
		for _, p := range all {
			require.GreaterOrEqual(t, dealt[p.place()], 4, "%s %s", kind, p.place())
		}
	}
}
