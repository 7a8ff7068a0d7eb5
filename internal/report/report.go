// Package report renders evaluations for people and programs: tables, figures, one page of HTML, a summary in JSON.
package report

import (
	"fmt"
	"strconv"

	"multiattempt/internal/blob"
	"multiattempt/internal/evaluate"
	"multiattempt/internal/rollout"
)

// Report is what is known of one or several policies that were evaluated on the same problems.
type Report struct {
	Title   string
	Lead    string // a sentence or two that say what is shown
	Seconds float64
	Backend string
	Arms    []Arm // in the order of tables and legends
}

// Arm is one policy: an untrained base, or what a training run made of it. With several seeds it is what their runs have in
// common: the mean.
type Arm struct {
	Name       string
	Seed       uint64
	Result     *evaluate.Result
	Others     []*evaluate.Result // of runs with other seeds, Result being the first seed's
	Checkpoint blob.Digest        // digest of the evaluated weights or their manifest; zero when unknown
	Curve      []Point            // training iterations, ascending; none for a base
	Spec       []byte             // resolved run spec as JSON; none for a base
	Examples   []rollout.Episode  // dialogues to show
}

// Point is one training iteration of a learning curve.
type Point struct {
	Step     int
	Reward   float64 // mean per episode
	Accuracy float64 // share of training episodes solved, 0 to 1
}

// Group returns the arm's results, one a seed.
func (a Arm) Group() evaluate.Group {
	return evaluate.Group{Name: a.Name, Results: append([]*evaluate.Result{a.Result}, a.Others...)}
}

// runs returns the arm's results with a name for each.
func (a Arm) runs() (names []string, results []*evaluate.Result) {
	results = a.Group().Results
	for _, r := range results {
		name := a.Name
		if len(a.Others) > 0 {
			name = fmt.Sprintf("%s seed %d", a.Name, r.Seed)
		}
		names = append(names, name)
	}
	return names, results
}

// seeds is the number of runs of the arm with the most.
func (r *Report) seeds() int {
	n := 0
	for _, arm := range r.Arms {
		n = max(n, 1+len(arm.Others))
	}
	return n
}

// intervals says what the intervals are over.
func (r *Report) intervals() string {
	if r.seeds() > 1 {
		return "means over up to " + strconv.Itoa(r.seeds()) + " seeds, 95 % t-intervals over seeds"
	}
	return "95 % intervals"
}

// set returns the first arm's sets by name, in order: what tables and figures go through.
func (r *Report) sets() []string {
	if len(r.Arms) == 0 {
		return nil
	}
	names := make([]string, len(r.Arms[0].Result.Sets))
	for i, s := range r.Arms[0].Result.Sets {
		names[i] = s.Name
	}
	return names
}

// attempts returns the numbers of attempts k that any arm was scored at on the set, ascending.
func (r *Report) attempts(set string) []int {
	at := map[int]bool{}
	for _, arm := range r.Arms {
		s, _ := arm.Result.Set(set)
		for _, score := range s.Scores {
			at[score.Attempts] = true
		}
	}
	return ascending(at)
}

// optimum returns the best expected accuracy by k on the set, nil when every question determines its answer.
func (r *Report) optimum(set string) map[int]float64 {
	optimum := map[int]float64{}
	limited := false
	for _, arm := range r.Arms {
		s, _ := arm.Result.Set(set)
		for _, score := range s.Scores {
			optimum[score.Attempts] = score.Optimum
			limited = limited || score.Optimum < 1
		}
	}
	if !limited {
		return nil
	}
	return optimum
}
