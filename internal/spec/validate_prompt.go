package spec

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// The placeholders of openings and of feedback.
var (
	openingPlaceholders  = []string{"{N}"}
	feedbackPlaceholders = []string{"{left}", "{n}", "{attempt}", "{answer}", HintPlaceholder}
)

// HintPlaceholder stands for a hint in feedback.
const HintPlaceholder = "{hint}"

var (
	placeholder = regexp.MustCompile(`\{[a-zA-Z]+\}`)
	latex       = regexp.MustCompile(`\\[a-zA-Z]+(\{[^{}]*\})+`) // \frac{a}{b}
)

func (p Prompt) check(c *checker) {
	oneOf(c, "prompt.feedback_role", p.FeedbackRole, "system", "user")
	checkPlaceholders(c, "prompt.system", p.System, openingPlaceholders)
	checkPlaceholders(c, "prompt.system_repeat", p.SystemRepeat, openingPlaceholders)
	checkPlaceholders(c, "prompt.system_single", p.SystemSingle, nil)
	checkPlaceholders(c, "prompt.feedback", p.Feedback, feedbackPlaceholders)
	checkPlaceholders(c, "prompt.feedback_repeat", p.FeedbackRepeat, feedbackPlaceholders)
	path, feedback := p.feedback()
	c.want(feedback != "", path, feedback, "some text: it is all that a failed attempt hears")
	for i, hint := range p.Hints {
		c.want(hint != "", fmt.Sprintf("prompt.hints[%d]", i), hint, "some text")
	}
}

// checkPlaceholders refuses what stands for nothing at this place.
func checkPlaceholders(c *checker, path, text string, known []string) {
	for _, word := range placeholder.FindAllString(latex.ReplaceAllString(text, ""), -1) {
		what := "no placeholders: it is the prompt that tells no number of attempts"
		if len(known) > 0 {
			what = strings.Join(known, ", ") + " as placeholders"
		}
		c.want(slices.Contains(known, word), path, text, "%s; %s stands for nothing here", what, word)
	}
}

// feedback is the template in use, and where it stands.
func (p Prompt) feedback() (path, text string) {
	if p.RepeatQuestion {
		return "prompt.feedback_repeat", p.FeedbackRepeat
	}
	return "prompt.feedback", p.Feedback
}

// checkHints refuses hints that are never shown, and places for hints that there are none of.
func (p Prompt) checkHints(c *checker, field string) {
	path, text := p.feedback()
	shown := strings.Contains(text, HintPlaceholder)
	c.want(!shown || len(p.Hints) > 0 || field != "", path, text, "no {hint} without prompt.hints or data.field_hint")
	c.want(shown || len(p.Hints) == 0, "prompt.hints", p.Hints, "none, as %s has no {hint}", path)
	c.want(shown || field == "", "data.field_hint", field, "none, as %s has no {hint}", path)
}
