package updatetest

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"multiattempt/internal/policy"
)

// Sampler draws from the bigram table of a model folder. It may be used by several goroutines at once.
type Sampler struct{ policy *table }

var _ policy.Sampler = (*Sampler)(nil)

// NewSampler loads a model folder for sampling.
func NewSampler(dir string) (*Sampler, error) {
	t, err := readTable(dir)
	if err != nil {
		return nil, err
	}
	return &Sampler{policy: t}, nil
}

// Sample implements policy.Sampler, one row after another.
func (s *Sampler) Sample(ctx context.Context, rows []policy.Row, p policy.Params, progress func(done int)) error {
	for i, row := range rows {
		if err := s.play(ctx, row, p); err != nil {
			return fmt.Errorf("row %d: %w", i, err)
		}
		if progress != nil {
			progress(i + 1)
		}
	}
	return nil
}

// Close has nothing to free.
func (s *Sampler) Close() {}

func (s *Sampler) play(ctx context.Context, row policy.Row, p policy.Params) error {
	length, last := 0, int32(-1)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		action := row.Next()
		if action.Done {
			return nil
		}
		if err := s.policy.check(action.Force); err != nil {
			return err
		}
		if n := len(action.Force); n > 0 {
			length, last = length+n, action.Force[n-1]
		}
		if last < 0 {
			return fmt.Errorf("%w: a row must force a token before the first draw", ErrModel)
		}
		if length++; length > p.MaxLength {
			return fmt.Errorf("%w: the row grows beyond the %d tokens it promised", ErrModel, p.MaxLength)
		}
		d := s.draw(last, row, p)
		last = d.Token
		row.Sampled(d)
	}
}

// draw takes one token after another as p says.
func (s *Sampler) draw(before int32, row policy.Row, p policy.Params) policy.Draw {
	logProbs := s.policy.logProbs(before)
	if p.Temperature == 0 {
		best := 0
		for v, lp := range logProbs {
			if lp > logProbs[best] {
				best = v
			}
		}
		return policy.Draw{Token: int32(best), LogProb: float32(logProbs[best])}
	}
	scaled := make([]float64, len(logProbs))
	for v, lp := range logProbs {
		scaled[v] = lp / p.Temperature
	}
	restrict(scaled, p)
	scaled = logSoftmax(scaled)
	u, sum, token := row.Uniform(), 0.0, -1
	for v, lp := range scaled {
		if math.IsInf(lp, -1) {
			continue
		}
		token = v // the last possible token, should rounding leave the sum below u
		if sum += math.Exp(lp); sum > u {
			break
		}
	}
	return policy.Draw{Token: int32(token), LogProb: float32(logProbs[token]), Sampled: float32(scaled[token])}
}

// restrict sets to −∞ what is outside of the topK most probable tokens, of the smallest set that reaches topP, and what
// is less probable than minP times the most probable token.
func restrict(scaled []float64, p policy.Params) {
	order := make([]int, len(scaled))
	for v := range order {
		order[v] = v
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(scaled[b], scaled[a]) })
	if p.TopK > 0 && p.TopK < len(order) {
		for _, v := range order[p.TopK:] {
			scaled[v] = math.Inf(-1)
		}
	}
	if p.TopP < 1 {
		sum, kept := 0.0, logSoftmax(scaled)
		for i, v := range order {
			if i > 0 && sum >= p.TopP {
				scaled[v] = math.Inf(-1)
			}
			sum += math.Exp(kept[v])
		}
	}
	if p.MinP > 0 {
		least := scaled[order[0]] + math.Log(p.MinP)
		for v, x := range scaled {
			if x < least {
				scaled[v] = math.Inf(-1)
			}
		}
	}
}
