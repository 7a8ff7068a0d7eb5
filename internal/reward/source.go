package reward

import (
	"context"
	"errors"
	"fmt"
	"math"

	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
)

// ErrSource: a source of rewards returned what cannot be one. It is an error of the infrastructure: the iteration waits
// until a repeated call returns rewards.
var ErrSource = errors.New("unusable rewards")

// Source computes what episodes earned: a user's own reward. A run names it as reward.source go:NAME; the program that its
// workers run registers it under that name (worker.Options.Rewards).
type Source interface {
	// Reward returns what each episode earned, in order. outcomes is what the spec's own numbers make of them, to build on.
	// Attempts of a result are one an attempt of its episode, or nil where the whole is all there is to say; with
	// advantage.credit attempt they must be there. The episodes are the source's own copies. It may be called again for the same episodes, and must then return the
	// same: an error stops the iteration until a repeated call succeeds, and is never a reward.
	Reward(ctx context.Context, b Batch, outcomes []Earned) ([]Earned, error)
}

// Batch are the episodes of one iteration, or some of them.
type Batch struct {
	Run      string
	Step     int // iterations done before
	Episodes []rollout.Episode
}

// Ask returns what a source says the episodes of b earned, after making sure that it can be trained on with credit c.
func Ask(ctx context.Context, s Source, b Batch, r spec.Reward, c spec.Credit) ([]Earned, error) {
	all, err := s.Reward(ctx, b, All(b.Episodes, r))
	if err != nil {
		return nil, err
	}
	if len(all) != len(b.Episodes) {
		return nil, fmt.Errorf("%w: %s returned %d for %d episodes", ErrSource, r.Source, len(all), len(b.Episodes))
	}
	for i, e := range all {
		attempts := len(b.Episodes[i].Attempts)
		switch {
		case e.Attempts == nil && c == spec.CreditAttempt:
			return nil, fmt.Errorf("%w: %s returned one number for episode %d; advantage.credit %s needs one for each attempt", ErrSource, r.Source, i, c)
		case e.Attempts != nil && len(e.Attempts) != attempts:
			return nil, fmt.Errorf("%w: %s returned %d numbers for the %d attempts of episode %d", ErrSource, r.Source, len(e.Attempts), attempts, i)
		}
		for _, x := range append([]float64{e.Episode}, e.Attempts...) {
			if math.IsNaN(x) || math.IsInf(x, 0) {
				return nil, fmt.Errorf("%w: %s returned %v for episode %d", ErrSource, r.Source, x, i)
			}
		}
	}
	return all, nil
}
