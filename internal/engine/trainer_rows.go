package engine

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"multiattempt/internal/experience"
	"multiattempt/internal/nn"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
)

// checkTokens refuses rows that the network cannot read: [T] tokens with masks of another length, ids outside the
// vocabulary, more tokens than it has positions, or a first token that is to be predicted.
func checkTokens(c nn.Config, row int, tokens []int32, mask []bool) error {
	switch {
	case len(tokens) == 0:
		return fmt.Errorf("%w %d: no tokens", ErrRow, row)
	case len(mask) != len(tokens):
		return fmt.Errorf("%w %d: %d tokens, %d mask", ErrRow, row, len(tokens), len(mask))
	case len(tokens) > c.MaxPositions:
		return fmt.Errorf("%w %d: %d tokens, the model has %d positions", ErrRow, row, len(tokens), c.MaxPositions)
	case mask[0]:
		return fmt.Errorf("%w %d: the first token is masked in, but nothing stands before it", ErrRow, row)
	}
	for t, id := range tokens {
		if id < 0 || int(id) >= c.VocabSize {
			return fmt.Errorf("%w %d: token %d is %d, the vocabulary has %d", ErrRow, row, t, id, c.VocabSize)
		}
	}
	return nil
}

func (t *trainer) check(rows []experience.Row) error {
	for i, r := range rows {
		if err := checkTokens(t.model.Config, i, r.Tokens, r.Mask); err != nil {
			return err
		}
		arrays := [][]float32{r.Old, r.Ref, r.Advantages}
		if t.critic != nil {
			arrays = append(arrays, r.Returns, r.Values)
		}
		if r.Weights != nil {
			arrays = append(arrays, r.Weights)
		}
		for _, a := range arrays {
			if len(a) != len(r.Tokens) {
				return fmt.Errorf("%w %d: %d tokens, but an array of %d", ErrRow, i, len(r.Tokens), len(a))
			}
		}
	}
	return nil
}

// scales returns the share of each row's tokens in the minibatch's mean, so that Σ share · x over masked-in tokens is
// that mean, and the number of masked-in tokens. Shares do not depend on micro-batches.
func scales(u spec.Update, masks [][]bool) (share []float64, tokens int, err error) {
	counts, episodes := make([]int, len(masks)), 0
	for i, mask := range masks {
		for _, in := range mask {
			if in {
				counts[i]++
			}
		}
		tokens += counts[i]
		if counts[i] > 0 {
			episodes++
		}
	}
	if tokens == 0 {
		return nil, 0, fmt.Errorf("%w: no token of the %d rows is masked in", ErrRow, len(masks))
	}
	share = make([]float64, len(masks))
	for i, n := range counts {
		switch {
		case n == 0:
		case u.Aggregation == spec.AggregateEpisodes:
			share[i] = 1 / (float64(episodes) * float64(n))
		case u.Aggregation == spec.AggregateConstant:
			share[i] = 1 / (float64(episodes) * float64(u.AggregationLength))
		default:
			share[i] = 1 / float64(tokens)
		}
	}
	return share, tokens, nil
}

func lengths[R any](rows []R, tokens func(R) []int32) []int {
	n := make([]int, len(rows))
	for i, r := range rows {
		n[i] = len(tokens(r))
	}
	return n
}

// checkRates refuses learning rates that would spoil every weight.
func checkRates(rates ...float64) error {
	for _, r := range rates {
		if !(r >= 0) || math.IsInf(r, 0) {
			return fmt.Errorf("%w: %v; it must be a number of at least 0", ErrRate, r)
		}
	}
	return nil
}

// refuseNotFinite returns update.ErrNotFinite when a number is NaN or infinite, naming all that are.
func refuseNotFinite(numbers map[string]float64) error {
	var bad []string
	for _, name := range slices.Sorted(maps.Keys(numbers)) {
		if x := numbers[name]; math.IsNaN(x) || math.IsInf(x, 0) {
			bad = append(bad, fmt.Sprintf("%s is %v", name, x))
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("%w: %v; nothing was applied", update.ErrNotFinite, bad)
	}
	return nil
}
