package evaluate

import (
	"fmt"
	"slices"
)

// Group is one arm of a comparison: the results of one or several runs that differ in their seeds only.
type Group struct {
	Name    string
	Results []*Result // at least one
}

// The things that an interval may be taken over.
const (
	OverProblems = "problems" // one run: what other problems would have given
	OverSeeds    = "seeds"    // several runs: what other seeds would have given on these problems
)

// GroupScore is what a group's runs achieve at k attempts on one set.
type GroupScore struct {
	Attempts int       `json:"attempts"`
	N        int       `json:"n"` // problems
	Optimum  float64   `json:"optimum"`
	Values   []float64 `json:"values"`   // accuracy of each run
	Accuracy float64   `json:"accuracy"` // their mean
	// Interval is 95 %: Student's t over the runs' values, or with a single run that run's own; Over says which.
	Interval [2]float64 `json:"ci95"`
	Over     string     `json:"over"`
	// RepeatShare, RecoveredShare and Tokens are means over the runs; tokens are sampled ones of an episode.
	RepeatShare    float64 `json:"repeat_share"`
	RecoveredShare float64 `json:"recovered_share"`
	Tokens         float64 `json:"tokens_sampled_mean_per_episode"`
}

// Gain is what more attempts are worth to a group: accuracy at To minus accuracy at From, paired by run, and by problem
// where the interval is over problems.
type Gain struct {
	From     int        `json:"from"` // numbers of attempts
	To       int        `json:"to"`
	Values   []float64  `json:"values"` // of each run
	Gain     float64    `json:"gain"`   // their mean
	Interval [2]float64 `json:"ci95"`   // as GroupScore's
}

// Check refuses results that are not of one kind: see Compare.
func (g Group) Check() error {
	if len(g.Results) == 0 {
		return fmt.Errorf("%w: %s has no results", ErrResult, g.Name)
	}
	for _, r := range g.Results[1:] {
		if reasons := incomparable(g.Results[0], r); len(reasons) > 0 {
			return &IncomparableError{Reasons: reasons}
		}
	}
	return nil
}

// Seeds returns the runs' seeds, in their order.
func (g Group) Seeds() []uint64 {
	seeds := make([]uint64, len(g.Results))
	for i, r := range g.Results {
		seeds[i] = r.Seed
	}
	return seeds
}

// Scores returns what the group achieves on a set, at every k that all of its runs have, ascending.
func (g Group) Scores(set string) []GroupScore {
	var out []GroupScore
	for _, scores := range g.all(set) {
		out = append(out, groupScore(scores))
	}
	return out
}

// Gains returns what more attempts than the smallest number are worth on a set, ascending.
func (g Group) Gains(set string) []Gain {
	var out []Gain
	all := g.all(set)
	for i := 1; i < len(all); i++ {
		out = append(out, gain(all[0], all[i]))
	}
	return out
}

// Average returns the unweighted mean over the sets at every k that all runs have; with several runs, the mean over them with
// Student's interval.
func (g Group) Average() []Mean {
	if len(g.Results) == 1 {
		return g.Results[0].Average
	}
	var out []Mean
	for _, m := range g.Results[0].Average {
		var values []float64
		for _, r := range g.Results {
			for _, x := range r.Average {
				if x.Attempts == m.Attempts {
					values = append(values, x.Accuracy)
				}
			}
		}
		if len(values) == len(g.Results) {
			interval, _ := seedInterval(values)
			out = append(out, Mean{Attempts: m.Attempts, Accuracy: mean(values), Interval: [2]float64{max(0, interval[0]), min(1, interval[1])}})
		}
	}
	return out
}

// all returns the scores of every run, [k][run], ascending k.
func (g Group) all(set string) [][]Score {
	var out [][]Score
	base, _ := g.Results[0].Set(set)
	for _, s := range base.Scores {
		if scores, ok := g.at(set, s.Attempts); ok {
			out = append(out, scores)
		}
	}
	return out
}

// Score returns what the group achieves on a set at k attempts.
func (g Group) Score(set string, k int) (GroupScore, bool) {
	for _, s := range g.Scores(set) {
		if s.Attempts == k {
			return s, true
		}
	}
	return GroupScore{}, false
}

// at returns the score at k of every run; ok is false when one lacks it.
func (g Group) at(set string, k int) (scores []Score, ok bool) {
	for _, r := range g.Results {
		s, _ := r.Set(set)
		score, has := s.Score(k)
		if !has {
			return nil, false
		}
		scores = append(scores, score)
	}
	return scores, true
}

// groupScore sums up the runs' scores at one k.
func groupScore(scores []Score) GroupScore {
	n := float64(len(scores))
	g := GroupScore{Attempts: scores[0].Attempts, N: scores[0].N, Optimum: scores[0].Optimum, Over: OverProblems}
	g.Values, g.Interval = accuracies(scores), scores[0].Interval
	for _, s := range scores {
		g.RepeatShare += s.RepeatShare / n
		g.RecoveredShare += s.RecoveredShare / n
		g.Tokens += s.TokensPerEpisodeMean / n
	}
	g.Accuracy = mean(g.Values)
	if interval, several := seedInterval(g.Values); several {
		g.Over, g.Interval = OverSeeds, [2]float64{max(0, interval[0]), min(1, interval[1])}
	}
	return g
}

// gain is the difference between the runs' scores at two numbers of attempts.
func gain(from, to []Score) Gain {
	g := Gain{From: from[0].Attempts, To: to[0].Attempts, Values: accuracies(to)}
	for i, s := range from {
		g.Values[i] -= s.Accuracy
	}
	g.Gain = mean(g.Values)
	interval, several := seedInterval(g.Values)
	if !several {
		paired := to[0].perProblem()
		for i, x := range from[0].perProblem() {
			paired[i] -= x
		}
		interval = bootstrap([][]float64{paired}, "gain")
	}
	g.Interval = interval
	return g
}

// perProblem is each problem's share of solved episodes, the mean over runs, [P].
func perProblem(scores []Score) []float64 {
	values := make([]float64, scores[0].N)
	for _, s := range scores {
		for i, v := range s.perProblem() {
			values[i] += v / float64(len(scores))
		}
	}
	return values
}

// sameSeeds reports whether two groups hold the same seeds, each once, in the same order.
func sameSeeds(a, b Group) bool {
	seeds := a.Seeds()
	distinct := map[uint64]bool{}
	for _, s := range seeds {
		distinct[s] = true
	}
	return len(distinct) == len(seeds) && slices.Equal(seeds, b.Seeds())
}
