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

// FeedbackText is the message after a failed attempt when so many attempts are left (n ≥ 1).
func (p Prompt) FeedbackText(left int) string {
	text := p.Feedback
	if p.RepeatQuestion {
		text = p.FeedbackRepeat
	}
	return strings.ReplaceAll(text, "{n}", strconv.Itoa(left))
}
