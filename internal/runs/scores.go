package runs

import (
	"context"
	"fmt"

	"multiattempt/internal/blob"
	"multiattempt/internal/experience"
)

// TokenScores is what the learner kept of a dialogue's tokens.
type TokenScores = experience.Kept

// TokenScores reads what was kept of a dialogue's tokens; ErrNone when that was nothing.
func (r *Run) TokenScores(ctx context.Context, step, position int) (TokenScores, error) {
	record, ok := r.Record(step)
	if !ok || record.Scores.IsZero() {
		return TokenScores{}, fmt.Errorf("step %d kept none (record.token_scores): %w", step, ErrNone)
	}
	b, err := blob.Load(ctx, r.reader.store, record.Scores)
	if err != nil {
		return TokenScores{}, err
	}
	all, err := experience.DecodeKept(b)
	if err != nil {
		return TokenScores{}, err
	}
	if position >= len(all) {
		return TokenScores{}, fmt.Errorf("step %d kept those of %d dialogues: %w", step, len(all), ErrNone)
	}
	return all[position], nil
}
