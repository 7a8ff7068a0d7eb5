package runstest

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"multiattempt/internal/rollout"
)

// questions is the number of distinct questions.
const questions = 400

var people = []string{"Ada", "Bo", "Chen", "Dina", "Emil", "Fatou", "Grace", "Hugo", "Ines", "Jun"}
var things = []string{"apples", "marbles", "books", "stamps", "tickets", "shells", "cards", "coins"}

// Question returns question q and its answer.
func Question(q int) (text, gold string) {
	a, b, c := 12+q%37, 3+q%11, 2+q%5
	who, what := people[q%len(people)], things[q%len(things)]
	text = fmt.Sprintf("%s has %d %s and buys %d boxes with %d in each. How many %s does %s have then?", who, a, what, c, b, what, who)
	return text, strconv.Itoa(a + b*c)
}

// episode makes up a dialogue.
func (m *maker) episode(draw *rand.Rand, q, allowed int, skill float64) rollout.Episode {
	question, gold := Question(q)
	e := rollout.Episode{ProblemID: fmt.Sprintf("arithmetic-%03d", q), Question: question, Gold: gold, MaxTries: allowed, Policy: m.policy.Digest.String()}
	m.forced(draw, &e, fmt.Sprintf("<|im_start|>system\nYou have %d attempts.<|im_end|>\n<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n", allowed, question))
	for a := range allowed {
		at := rollout.Attempt{Start: len(e.Tokens), Rule: "integer"}
		chance := draw.Float64()
		switch {
		case chance < skill+0.12*float64(a):
			at.Outcome, at.Answer, at.TypedCorrect, at.PaperCorrect = rollout.Correct, gold, true, true
		case chance > 0.985:
			at.Outcome, at.Answer, at.Rule = rollout.Bounded, "9^{9^{9}}", "bounded"
		case chance > 0.96:
			at.Outcome, at.Rule = rollout.NoAnswer, ""
		case chance > 0.93:
			at.Outcome, at.Rule = rollout.Truncated, ""
		default:
			n, _ := strconv.Atoi(gold)
			at.Outcome, at.Answer = rollout.Wrong, strconv.Itoa(n+1+draw.IntN(9))
		}
		at.Text = say(draw, q, a, at)
		m.sampled(draw, &e, at.Text)
		at.End = len(e.Tokens)
		e.Attempts = append(e.Attempts, at)
		if at.Outcome == rollout.Correct {
			break
		}
		if a+1 < allowed {
			m.forced(draw, &e, fmt.Sprintf("<|im_end|>\n<|im_start|>user\nYour answer is wrong. You have %d attempts left.<|im_end|>\n<|im_start|>assistant\n", allowed-a-1))
		}
	}
	return e
}

var openings = [][]string{
	{"Let's work it out step by step.", "First count what is in the boxes.", "I will add up the two parts.", "We need the total."},
	{"That was wrong, so I check the multiplication again.", "I made a slip. Once more, carefully.", "Let me recount."},
}

// say writes what a model might say.
func say(draw *rand.Rand, q, attempt int, a rollout.Attempt) string {
	x, b, c := 12+q%37, 3+q%11, 2+q%5
	lines := openings[min(attempt, 1)]
	var s strings.Builder
	fmt.Fprintf(&s, "%s The boxes hold %d × %d = %d %s. ", lines[draw.IntN(len(lines))], c, b, c*b, things[q%len(things)])
	fmt.Fprintf(&s, "Together with the %d from before that makes %d + %d", x, x, c*b)
	switch a.Outcome {
	case rollout.Truncated:
		return s.String() + ", and now we add the tens and the ones separately, so that"
	case rollout.NoAnswer:
		return s.String() + ". I am not sure what is asked."
	default:
		fmt.Fprintf(&s, " = %s. The answer is \\boxed{%s}.", a.Answer, a.Answer)
		return s.String()
	}
}

// tokens writes text in tokens: the tokenizer's, or about as many made up.
func (m *maker) tokens(draw *rand.Rand, text string) []int32 {
	if m.template != nil {
		if ids, err := m.template.Encode(text); err == nil {
			return ids
		}
	}
	ids := make([]int32, 1+len(text)/5)
	for i := range ids {
		ids[i] = draw.Int32N(40_000)
	}
	return ids
}

func (m *maker) forced(draw *rand.Rand, e *rollout.Episode, text string) {
	m.append(draw, e, text, false)
}

func (m *maker) sampled(draw *rand.Rand, e *rollout.Episode, text string) {
	m.append(draw, e, text, true)
}

func (m *maker) append(draw *rand.Rand, e *rollout.Episode, text string, sampled bool) {
	for _, id := range m.tokens(draw, text) {
		lp := float32(0)
		if sampled {
			lp = -float32(draw.ExpFloat64() * 0.35)
		}
		e.Tokens, e.Mask, e.LogProbs = append(e.Tokens, id), append(e.Mask, sampled), append(e.LogProbs, lp)
	}
}
