// Package rollout runs the multi-attempt episode: a single-use state machine that takes sampled tokens in, says which
// tokens are forced, and records tokens, mask and log-probabilities when each token is appended.
package rollout

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"multiattempt/internal/verify"
)

// Outcome is how an attempt ended.
type Outcome string

// The outcomes.
const (
	Correct   Outcome = "correct"   // the boxed answer equals the gold answer
	Wrong     Outcome = "wrong"     // a boxed answer, not equal
	NoAnswer  Outcome = "no_answer" // the turn ended without a box
	Truncated Outcome = "truncated" // the token budget ran out before a complete box or the end of the turn
	Bounded   Outcome = "bounded"   // the grader hit a work limit; earns what Wrong earns, counted apart
)

// Attempt is one assistant turn.
type Attempt struct {
	Start   int     `json:"start"` // sampled tokens are [Start, End) of the episode's arrays
	End     int     `json:"end"`
	Outcome Outcome `json:"outcome"`
	Text    string  `json:"text"`             // the sampled tokens as text, special tokens left out
	Answer  string  `json:"answer,omitempty"` // extracted answer
	Rule    string  `json:"rule,omitempty"`   // the grader's rule that decided
	Opaque  bool    `json:"opaque,omitempty"` // compared as tokens only
	// TypedCorrect and PaperCorrect are the verdicts of both grading modes on the same text; Outcome follows the spec's.
	TypedCorrect bool `json:"typed_correct,omitempty"`
	PaperCorrect bool `json:"paper_correct,omitempty"`
}

// Episode is one whole dialogue. All arrays have one entry per token, T in all, prompt included.
type Episode struct {
	ProblemID string    `json:"problem_id"`
	Question  string    `json:"question"`
	Gold      string    `json:"gold"`
	Index     int       `json:"index"`            // p: position of the problem in its batch
	Sample    int       `json:"sample"`           // g: position in the group
	MaxTries  int       `json:"attempts_allowed"` // N
	Attempts  []Attempt `json:"attempts"`
	Policy    string    `json:"policy"` // digest of the weights that drew the tokens, 64 hexadecimal digits
	Seed      uint64    `json:"seed"`   // run seed
	Step      int       `json:"step"`

	Tokens   []int32   `json:"-"` // [T]
	Mask     []bool    `json:"-"` // [T] true for sampled tokens: only these train
	LogProbs []float32 `json:"-"` // [T] at temperature 1, of the sampling policy; 0 where Mask is false
}

// Clone returns copies that share nothing with the episodes.
func Clone(episodes []Episode) []Episode {
	copies := slices.Clone(episodes)
	for i := range copies {
		e := &copies[i]
		e.Attempts, e.Tokens, e.Mask, e.LogProbs = slices.Clone(e.Attempts), slices.Clone(e.Tokens), slices.Clone(e.Mask), slices.Clone(e.LogProbs)
	}
	return copies
}

// ErrEpisode: an episode's arrays or attempts contradict each other.
var ErrEpisode = errors.New("inconsistent episode")

// Check verifies what every later stage relies on: equal lengths, attempts in order, a mask that is true exactly on the
// attempts' tokens, and log-probabilities that are finite there and 0 elsewhere.
func (e *Episode) Check() error {
	n := len(e.Tokens)
	if len(e.Mask) != n || len(e.LogProbs) != n {
		return fmt.Errorf("%w %s/%d: %d tokens, %d mask, %d logprobs", ErrEpisode, e.ProblemID, e.Sample, n, len(e.Mask), len(e.LogProbs))
	}
	at := 0
	for i, a := range e.Attempts {
		if a.Start < at || a.End < a.Start || a.End > n {
			return fmt.Errorf("%w %s/%d: attempt %d spans [%d, %d) of %d tokens", ErrEpisode, e.ProblemID, e.Sample, i, a.Start, a.End, n)
		}
		for t := at; t < a.End; t++ {
			if e.Mask[t] != (t >= a.Start) {
				return fmt.Errorf("%w %s/%d: mask of token %d disagrees with attempt %d", ErrEpisode, e.ProblemID, e.Sample, t, i)
			}
		}
		at = a.End
	}
	for t := at; t < n; t++ {
		if e.Mask[t] {
			return fmt.Errorf("%w %s/%d: token %d is masked in after the last attempt", ErrEpisode, e.ProblemID, e.Sample, t)
		}
	}
	for t, lp := range e.LogProbs {
		if wide := float64(lp); math.IsNaN(wide) || math.IsInf(wide, 0) || (lp != 0 && !e.Mask[t]) {
			return fmt.Errorf("%w %s/%d: token %d (mask %t) has the log-probability %v", ErrEpisode, e.ProblemID, e.Sample, t, e.Mask[t], lp)
		}
	}
	return nil
}

// Solved returns the attempt (from 0) that was correct, or -1.
func (e *Episode) Solved() int {
	for i, a := range e.Attempts {
		if a.Outcome == Correct {
			return i
		}
	}
	return -1
}

// Repeated reports whether attempt a (from 0) gives an answer that an earlier attempt gave, in the same words or others.
func (e *Episode) Repeated(a int) bool {
	answer := e.Attempts[a].Answer
	return answer != "" && slices.ContainsFunc(e.Attempts[:a], func(b Attempt) bool {
		return b.Answer == answer || b.Answer != "" && verify.Compare(b.Answer, answer, verify.Options{}).Correct
	})
}
