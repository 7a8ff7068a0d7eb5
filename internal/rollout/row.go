package rollout

import (
	"strings"

	"multiattempt/internal/dataset"
	"multiattempt/internal/policy"
	"multiattempt/internal/seed"
	"multiattempt/internal/spec"
	"multiattempt/internal/verify"
)

// row is one episode while it is being sampled: a single-use state machine. Tokens, mask and log-probabilities are
// recorded when each token is appended and never altered; text is decoded for grading and never encoded again.
type row struct {
	episode  Episode
	script   *script
	attempts spec.Attempts
	length   int // the most tokens the dialogue may hold
	decode   func([]int32) string
	grade    func(text string, complete bool) Attempt
	seedAt   [4]uint64

	started bool
	open    int // where the attempt under way starts
	sampled int // sampled tokens of the whole episode
	ended   end // how the attempt under way ended
	done    bool
}

// end says why an attempt is over.
type end int

const (
	running    end = iota
	endTurn        // a sampled end-of-turn token
	endBoxed       // a complete box at a stop boundary
	endBudget      // the token budget
	endContext     // the dialogue may not grow further
)

// Next implements policy.Row.
func (r *row) Next() policy.Action {
	switch {
	case !r.started:
		r.started = true
		return r.force(r.script.opening)
	case r.ended == running:
		return policy.Action{}
	}
	r.close()
	if r.done {
		return policy.Action{Done: true}
	}
	left := r.episode.MaxTries - len(r.episode.Attempts)
	glue := r.glue(left)
	r.ended = running
	return r.force(glue)
}

// glue is what stands between the attempt that ended and the next one. A turn that did not end with the template's own
// closing token is closed first.
func (r *row) glue(left int) []int32 {
	feedback := r.script.after(left, r.episode.Attempts[len(r.episode.Attempts)-1].Answer)
	if n := len(r.episode.Tokens); r.episode.Tokens[n-1] == r.script.close {
		return feedback
	}
	return append([]int32{r.script.close}, feedback...)
}

// force appends tokens that are not sampled: mask false, log-probability 0.
func (r *row) force(tokens []int32) policy.Action {
	e := &r.episode
	for _, t := range tokens {
		e.Tokens, e.Mask, e.LogProbs = append(e.Tokens, t), append(e.Mask, false), append(e.LogProbs, 0)
	}
	r.open = len(e.Tokens)
	return policy.Action{Force: tokens}
}

// Uniform implements policy.Row: keyed by run seed, step, problem, sample and the token's position.
func (r *row) Uniform() float64 {
	return seed.Uniform("rollout/token", r.seedAt[0], r.seedAt[1], r.seedAt[2], r.seedAt[3], uint64(len(r.episode.Tokens)))
}

// Sampled implements policy.Row.
func (r *row) Sampled(d policy.Draw) {
	e := &r.episode
	e.Tokens, e.Mask, e.LogProbs = append(e.Tokens, d.Token), append(e.Mask, true), append(e.LogProbs, d.LogProb)
	r.sampled++
	switch length := len(e.Tokens) - r.open; {
	case r.script.endsTurn(d.Token):
		r.ended = endTurn
	case r.attempts.Stop == spec.StopBoxed && length%r.attempts.StopEvery == 0 && verify.CompleteBox(r.text()):
		r.ended = endBoxed
	case r.spent(length):
		r.ended = endBudget
	case len(e.Tokens) >= r.length:
		r.ended = endContext
	}
}

// spent reports whether the token budget is used up, by an attempt of length tokens so far.
func (r *row) spent(length int) bool {
	if r.attempts.Budget == spec.BudgetShared {
		return r.sampled >= r.attempts.MaxNewTokens
	}
	return length >= r.attempts.MaxNewTokens
}

// text is the attempt under way.
//
// A token may end in the middle of a character; what is cut reads as U+FFFD, as it does after storage.
func (r *row) text() string {
	return strings.ToValidUTF8(r.decode(r.episode.Tokens[r.open:]), "\uFFFD")
}

// close grades the attempt that ended, records it, and decides whether the episode is over.
func (r *row) close() {
	e := &r.episode
	text := r.text()
	cut := r.ended == endBudget || r.ended == endContext
	attempt := r.grade(text, !cut || verify.CompleteBox(text))
	attempt.Answer = strings.ToValidUTF8(attempt.Answer, "\uFFFD")
	attempt.Start, attempt.End, attempt.Text = r.open, len(e.Tokens), text
	e.Attempts = append(e.Attempts, attempt)
	left := e.MaxTries - len(e.Attempts)
	r.done = attempt.Outcome == Correct || left == 0 || r.exhausted() || !r.room(left)
}

// exhausted reports whether no further token may be sampled in this episode.
func (r *row) exhausted() bool {
	return r.attempts.Budget == spec.BudgetShared && r.sampled >= r.attempts.MaxNewTokens
}

// room reports whether feedback and at least one sampled token still fit.
func (r *row) room(left int) bool {
	return len(r.episode.Tokens)+len(r.glue(left)) < r.length
}

// judge returns the function that turns an attempt's text into its outcome. complete tells that the turn ended by
// itself or that a box was complete when the budget ended; what was cut off before that is truncated.
func judge(g Grader, shown dataset.Presentation, settings spec.Grading) func(text string, complete bool) Attempt {
	chosen := verify.Mode(settings.Mode)
	return func(text string, complete bool) Attempt {
		if !complete {
			return Attempt{Outcome: Truncated}
		}
		typed := g(shown.Answer, text, verify.Options{Mode: verify.ModeTyped, Unboxed: settings.Unboxed})
		paper := g(shown.Answer, text, verify.Options{Mode: verify.ModePaper, Unboxed: settings.Unboxed})
		v := typed
		if chosen == verify.ModePaper {
			v = paper
		}
		return Attempt{
			Outcome: outcome(v.Status), Answer: v.Extracted, Rule: v.Rule, Opaque: v.Opaque,
			TypedCorrect: typed.Correct, PaperCorrect: paper.Correct,
		}
	}
}

func outcome(s verify.Status) Outcome {
	switch s {
	case verify.StatusEqual:
		return Correct
	case verify.StatusUnequal:
		return Wrong
	case verify.StatusBounded:
		return Bounded
	case verify.StatusNoAnswer:
		return NoAnswer
	}
	panic("unknown verdict " + string(s)) // a new status must be given an outcome here
}
