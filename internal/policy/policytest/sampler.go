package policytest

import (
	"context"
	"errors"
	"fmt"

	"multiattempt/internal/policy"
)

// ErrScript: the rows ask for something that the script does not hold.
var ErrScript = errors.New("the script has no answer")

// Script is a policy.Sampler that says what it was told to say.
type Script struct {
	// Answers holds the tokens of each attempt of each row, [row][attempt][token]. What an attempt does not get to say
	// because the row ends it is left out; a row that asks for more is ErrScript.
	Answers [][][]int32
	// LogProb returns the log-probability of a row's sampled token (from 0, all attempts counted); nil means −1.
	LogProb func(row, token int) float32
}

var _ policy.Sampler = (*Script)(nil)

// Sample implements policy.Sampler.
func (s *Script) Sample(ctx context.Context, rows []policy.Row, p policy.Params, progress func(done int)) error {
	if len(rows) != len(s.Answers) {
		return fmt.Errorf("%w: %d rows, answers for %d", ErrScript, len(rows), len(s.Answers))
	}
	for i, row := range rows {
		if err := s.play(ctx, i, row, p); err != nil {
			return err
		}
		if progress != nil {
			progress(i + 1)
		}
	}
	return nil
}

// play drives one row to its end. An attempt begins wherever tokens are forced.
func (s *Script) play(ctx context.Context, i int, row policy.Row, p policy.Params) error {
	attempt, said, total, length := -1, 0, 0, 0
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		action := row.Next()
		if action.Done {
			return nil
		}
		if n := len(action.Force); n > 0 {
			attempt, said, length = attempt+1, 0, length+n
		}
		if attempt < 0 || attempt >= len(s.Answers[i]) || said >= len(s.Answers[i][attempt]) {
			return fmt.Errorf("%w: row %d asks for token %d of attempt %d", ErrScript, i, said, attempt)
		}
		if length++; length > p.MaxLength {
			return fmt.Errorf("row %d grows beyond the %d tokens it promised", i, p.MaxLength)
		}
		d := policy.Draw{Token: s.Answers[i][attempt][said], LogProb: -1}
		if s.LogProb != nil {
			d.LogProb = s.LogProb(i, total)
		}
		d.Sampled = d.LogProb
		said, total = said+1, total+1
		row.Sampled(d)
	}
}
