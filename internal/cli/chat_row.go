package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"multiattempt/internal/policy"
	"multiattempt/internal/printable"
	"multiattempt/internal/seed"
	"multiattempt/internal/spec"
	"multiattempt/internal/verify"
)

// chatRow is one question's dialogue while it is being sampled: what the model says appears as it is drawn, and between
// attempts the person is asked.
type chatRow struct {
	*conversation
	ctx      context.Context // of the command: Next waits for a person
	question string
	opening  []int32
	length   int // the most tokens of the dialogue
	seed     [2]uint64

	started bool
	tokens  int // of the dialogue so far
	attempt int // under way, from 1
	ids     []int32
	shown   string // of the attempt
	ended   string // "stop" or "length"; empty while it is being sampled
	gold    string // the right answer, once it is known
	err     error  // of writing
}

// chatAttempt is an attempt as a JSON line.
type chatAttempt struct {
	Question string  `json:"question"`
	Attempt  int     `json:"attempt"`
	Text     string  `json:"text"`
	Outcome  string  `json:"outcome"` // correct, wrong, no_answer, truncated or unknown
	Answer   string  `json:"answer,omitempty"`
	Rule     string  `json:"rule,omitempty"`
	Tokens   int     `json:"tokens"`
	Gold     *string `json:"gold_answer,omitempty"`
}

// roomForFeedback is the number of tokens set aside for each feedback; a longer one ends the dialogue.
const roomForFeedback = 256

// longest is the most tokens that the dialogue is given.
func (r *chatRow) longest() int {
	return len(r.opening) + r.talk.attempts*(r.maxNew+roomForFeedback+len(r.question))
}

// Next implements policy.Row.
func (r *chatRow) Next() policy.Action {
	switch {
	case !r.started:
		r.started, r.attempt = true, 1
		return r.force(r.opening)
	case r.ended == "":
		return policy.Action{}
	}
	text := r.template.Decode(r.ids)
	if !r.asJSON {
		r.show(strings.TrimPrefix(text, r.shown) + "\n")
	}
	again, answer := r.judge(text)
	left := r.talk.attempts - r.attempt
	if !again || left == 0 || r.err != nil {
		return policy.Action{Done: true}
	}
	forced, err := r.tryAgain(spec.Failure{Left: left, Attempt: r.attempt, Answer: answer}, r.question)
	if err != nil {
		r.err = err
		return policy.Action{Done: true}
	}
	if end := r.template.Close(); r.ids[len(r.ids)-1] != end {
		forced = append([]int32{end}, forced...)
	}
	if r.tokens+len(forced) >= r.length {
		printable.Fprintf(r.notes, "The dialogue has no room for another attempt: it may hold %d tokens\n", r.length)
		return policy.Action{Done: true}
	}
	r.attempt, r.ids, r.shown, r.ended = r.attempt+1, nil, "", ""
	return r.force(forced)
}

func (r *chatRow) force(ids []int32) policy.Action {
	r.tokens += len(ids)
	if !r.asJSON {
		printable.Fprintf(r.notes, "Attempt %d of %d\n", r.attempt, r.talk.attempts)
	}
	return policy.Action{Force: ids}
}

// Uniform implements policy.Row.
func (r *chatRow) Uniform() float64 {
	return seed.Uniform("cli/chat", r.seed[0], r.seed[1], uint64(r.tokens))
}

// Sampled implements policy.Row: it shows what the token adds to the text. A character may take several tokens.
func (r *chatRow) Sampled(d policy.Draw) {
	r.ids = append(r.ids, d.Token)
	r.tokens++
	switch {
	case slices.Contains(r.template.EndOfTurn(), d.Token):
		r.ended = "stop"
	case len(r.ids) >= r.maxNew || r.tokens >= r.length:
		r.ended = "length"
	}
	text := r.template.Decode(r.ids)
	whole := strings.TrimRight(text, "\uFFFD")
	if added, ok := strings.CutPrefix(whole, r.shown); ok && added != "" && !r.asJSON {
		r.show(added)
		r.shown = whole
	}
}

func (r *chatRow) show(text string) {
	if _, err := fmt.Fprint(r.out, printable.Text(text)); err != nil && r.err == nil {
		r.err = fmt.Errorf("writing the attempt: %w", err)
	}
}

// judge finds out what the attempt was worth, and reports whether another one may follow, and what it answered.
func (r *chatRow) judge(text string) (again bool, answer string) {
	a := chatAttempt{Question: r.question, Attempt: r.attempt, Text: text, Tokens: len(r.ids), Outcome: "unknown"}
	if r.gold == "" {
		again = r.ask(&a)
	}
	if r.gold != "" {
		v := r.grade(r.gold, text)
		a.Outcome, a.Answer, a.Rule, a.Gold = outcomeOf(v), v.Extracted, v.Rule, &r.gold
		if r.ended == "length" && !v.Correct {
			a.Outcome = "truncated"
		}
		again = !v.Correct
	}
	r.tell(a)
	return again, a.Answer
}

// ask lets the person say what the attempt was worth, or what the right answer is.
func (r *chatRow) ask(a *chatAttempt) (again bool) {
	r.person.prompt(r.notes, `Right answer, "wrong" or "right": `)
	line, ok := r.person.line(r.ctx)
	switch strings.ToLower(line) {
	case "wrong":
		a.Outcome = "wrong"
		return true
	case "right":
		a.Outcome = "correct"
	case "":
		if ok {
			a.Outcome = "correct"
		}
	default:
		r.gold = line
	}
	return false
}

func outcomeOf(v verify.Verdict) string {
	switch v.Status {
	case verify.StatusEqual:
		return "correct"
	case verify.StatusNoAnswer:
		return "no_answer"
	default:
		return "wrong"
	}
}

// tell reports the attempt's outcome.
func (r *chatRow) tell(a chatAttempt) {
	if r.asJSON {
		e := json.NewEncoder(printable.JSON(r.out))
		e.SetEscapeHTML(false)
		r.err = errors.Join(r.err, e.Encode(a))
		return
	}
	switch {
	case a.Rule != "" && a.Answer != "":
		printable.Fprintf(r.notes, "%s: %s (%s)\n", a.Outcome, a.Answer, a.Rule)
	case a.Outcome != "unknown":
		printable.Fprintf(r.notes, "%s\n", a.Outcome)
	}
}
