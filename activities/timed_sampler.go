package activities

import (
	"context"
	"sync/atomic"
	"time"

	"multiattempt/internal/policy"
	"multiattempt/internal/verify"
)

// timedSampler tells what a rollout spends its time on: the sampler, or grading between its tokens. It counts the tokens.
type timedSampler struct {
	policy.Sampler
	began    time.Time
	sampling time.Duration
	grading  atomic.Int64 // nanoseconds; rows may be graded by several goroutines
	tokens   atomic.Int64 // drawn so far
}

// countedRow counts the tokens that its row is told of.
type countedRow struct {
	policy.Row
	tokens *atomic.Int64
}

// Sampled implements policy.Row.
func (r countedRow) Sampled(d policy.Draw) {
	r.tokens.Add(1)
	r.Row.Sampled(d)
}

// Sample implements policy.Sampler.
func (s *timedSampler) Sample(ctx context.Context, rows []policy.Row, p policy.Params, progress func(done int)) error {
	counted := make([]policy.Row, len(rows))
	for i, r := range rows {
		counted[i] = countedRow{Row: r, tokens: &s.tokens}
	}
	began := time.Now()
	err := s.Sampler.Sample(ctx, counted, p, progress)
	s.sampling += time.Since(began)
	return err
}

// grade is verify.Grade.
func (s *timedSampler) grade(gold, response string, o verify.Options) verify.Verdict {
	began := time.Now()
	v := verify.Grade(gold, response, o)
	s.grading.Add(int64(time.Since(began)))
	return v
}

// seconds returns the time since the start, and the sampler's and the grader's share of it. Grading happens while the
// sampler waits for it, so that it is taken off the sampler's time.
func (s *timedSampler) seconds() (whole, sampling, grading float64) {
	graded := time.Duration(s.grading.Load())
	return time.Since(s.began).Seconds(), max(0, s.sampling-graded).Seconds(), graded.Seconds()
}
