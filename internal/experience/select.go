package experience

import (
	"slices"

	"multiattempt/internal/reward"
	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
)

// Selection counts what DropEqual left out.
type Selection struct {
	Groups          int
	GroupsDropped   int
	EpisodesDropped int
}

// DropEqual leaves out the groups in which every episode earned the same: attempt by attempt with credit by attempt, as a
// whole otherwise. Nothing can be learnt from comparing them (dynamic sampling: Yu et al., "DAPO", arXiv 2503.14476, §3.2,
// here without sampling others in their place).
func DropEqual(episodes []rollout.Episode, rewards []reward.Earned, c spec.Credit) ([]rollout.Episode, []reward.Earned, Selection) {
	first, differs := map[group]reward.Earned{}, map[group]bool{}
	for i, e := range episodes {
		g := group{e.ProblemID, e.Index}
		if f, seen := first[g]; !seen {
			first[g] = rewards[i]
		} else if !equal(f, rewards[i], c) {
			differs[g] = true
		}
	}
	s := Selection{Groups: len(first), GroupsDropped: len(first) - len(differs)}
	var kept []rollout.Episode
	var earned []reward.Earned
	for i, e := range episodes {
		if differs[group{e.ProblemID, e.Index}] {
			kept, earned = append(kept, e), append(earned, rewards[i])
		}
	}
	s.EpisodesDropped = len(episodes) - len(kept)
	return kept, earned, s
}

func equal(a, b reward.Earned, c spec.Credit) bool {
	if c == spec.CreditAttempt {
		return slices.Equal(a.Attempts, b.Attempts)
	}
	return a.Episode == b.Episode
}
