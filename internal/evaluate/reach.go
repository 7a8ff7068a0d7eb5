package evaluate

import (
	"slices"

	"multiattempt/internal/spec"
)

// Reached is when a run first scored what it was asked for.
type Reached struct {
	Run   string  `json:"run"`
	Seed  uint64  `json:"seed"`
	Step  int     `json:"step"`  // iterations done at the first evaluation that reached the target; 0: none did
	Final float64 `json:"final"` // the metric at the run's last evaluation that has it
}

// Reach goes through a run's evaluations, in any order, and finds the first that scores at least target. ok is false when
// none has the metric.
func Reach(m spec.Metric, target float64, evaluations []*Result) (r Reached, ok bool) {
	ordered := slices.SortedFunc(slices.Values(evaluations), func(a, b *Result) int { return a.Step - b.Step })
	for _, e := range ordered {
		value, has := e.Metric(m)
		if !has {
			continue
		}
		r.Run, r.Seed, r.Final, ok = e.Run, e.Seed, value, true
		if r.Step == 0 && value >= target {
			r.Step = e.Step
		}
	}
	return r, ok
}
