package spec

import (
	"strconv"
	"strings"
)

// SystemText is the opening's system message when a model is told that it has so many attempts (N ≥ 1).
func (p Prompt) SystemText(attempts int) string {
	text := p.System
	switch {
	case p.SingleAttempt:
		text = p.SystemSingle
	case p.RepeatQuestion:
		text = p.SystemRepeat
	}
	return strings.ReplaceAll(text, "{N}", strconv.Itoa(attempts))
}

// Failure is what feedback may speak of.
type Failure struct {
	Left    int    // attempts that remain, at least 1
	Attempt int    // number of the attempt that failed, from 1
	Answer  string // what it answered; empty: nothing
	Hint    string
}

// FeedbackText is the message after a failed attempt.
func (p Prompt) FeedbackText(f Failure) string {
	_, text := p.feedback()
	left := strconv.Itoa(f.Left)
	// One pass: what stands in an answer or a hint is never taken for a placeholder.
	return strings.NewReplacer("{left}", left, "{n}", left, "{attempt}", strconv.Itoa(f.Attempt),
		"{answer}", f.Answer, HintPlaceholder, f.Hint).Replace(text)
}

// ShowsAnswer reports whether feedback depends on what was answered.
func (p Prompt) ShowsAnswer() bool {
	_, text := p.feedback()
	return strings.Contains(text, "{answer}")
}

// HintAfter is the hint after failed attempt number attempt (from 1): of the problem's own hints, if it has any, or else of
// the prompt's.
func (p Prompt) HintAfter(own []string, attempt int) string {
	hints := p.Hints
	if len(own) > 0 {
		hints = own
	}
	if len(hints) == 0 {
		return ""
	}
	return hints[min(attempt, len(hints))-1]
}
