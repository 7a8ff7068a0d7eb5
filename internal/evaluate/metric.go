package evaluate

import (
	"multiattempt/internal/spec"
	"multiattempt/internal/verify"
)

// Metric returns the named number, the unweighted mean over sets when it names none; ok is false when a set lacks it.
func (r *Result) Metric(m spec.Metric) (value float64, ok bool) {
	if m.Set != "" {
		for _, set := range r.Sets {
			if set.Name == m.Set {
				return set.metric(m)
			}
		}
		return 0, false
	}
	for _, set := range r.Sets {
		v, has := set.metric(m)
		if !has {
			return 0, false
		}
		value += v / float64(len(r.Sets))
	}
	return value, len(r.Sets) > 0
}

// metric returns the named number of one set.
func (s Set) metric(m spec.Metric) (float64, bool) {
	k := m.Attempts
	if k == 0 && len(s.Scores) > 0 {
		k = s.Scores[0].Attempts
	}
	if m.Parallel() {
		p, ok := s.Beside(k)
		if m.Name == "pass" {
			return p.Pass, ok
		}
		return p.Majority, ok
	}
	score, ok := s.Score(k)
	switch m.Name {
	case "typed", "paper":
		return score.Modes[verify.Mode(m.Name)].Accuracy, ok
	case "recovered":
		return score.RecoveredShare, ok
	default:
		return score.Accuracy, ok
	}
}
