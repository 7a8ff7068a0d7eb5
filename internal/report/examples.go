package report

import (
	"slices"

	"multiattempt/internal/rollout"
)

// PickExamples chooses n dialogues to show, in the order of their problems: half of them recovered after a failure, the
// rest never solved and solved at once in equal parts; where a kind is short, the others fill up.
func PickExamples(episodes []rollout.Episode, n int) []rollout.Episode {
	var kinds [3][]int // recovered, failed, solved at once
	for i := range episodes {
		switch solved := episodes[i].Solved(); {
		case solved > 0:
			kinds[0] = append(kinds[0], i)
		case solved < 0:
			kinds[1] = append(kinds[1], i)
		default:
			kinds[2] = append(kinds[2], i)
		}
	}
	var chosen []int
	for len(chosen) < min(n, len(episodes)) {
		for _, kind := range []int{0, 1, 0, 2} { // two recovered in each round of four
			if len(kinds[kind]) > 0 && len(chosen) < n {
				chosen = append(chosen, kinds[kind][0])
				kinds[kind] = kinds[kind][1:]
			}
		}
	}
	slices.Sort(chosen)
	examples := make([]rollout.Episode, len(chosen))
	for i, at := range chosen {
		examples[i] = episodes[at]
	}
	return examples
}
