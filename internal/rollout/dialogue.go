package rollout

import (
	"fmt"
	"slices"

	"multiattempt/internal/chat"
	"multiattempt/internal/dataset"
	"multiattempt/internal/spec"
	"multiattempt/internal/verify"
)

// Dialogue writes turns in a model's tokens; *chat.Template is one.
type Dialogue interface {
	// Opening returns the tokens of the first turns and of what introduces the assistant's answer.
	Opening(messages []chat.Message) ([]int32, error)
	// Turn returns the tokens between the end-of-turn token of an assistant's turn and the first token of its next one.
	Turn(messages []chat.Message) ([]int32, error)
	// EndOfTurn lists the ids that end an assistant's turn when sampled.
	EndOfTurn() []int32
	// Close is the id that the template writes after an assistant's turn.
	Close() int32
	// Decode turns tokens into text, special tokens left out.
	Decode(ids []int32) string
}

// Grader judges one attempt's text against the gold answer; verify.Grade is one.
type Grader func(gold, response string, o verify.Options) verify.Verdict

// openingTurns are the turns before the first attempt of a presentation.
func openingTurns(p spec.Prompt, shown dataset.Presentation) []chat.Message {
	user := chat.Message{Role: dataset.RoleUser, Content: shown.Question}
	if system := p.SystemText(shown.Attempts); system != "" {
		return []chat.Message{{Role: dataset.RoleSystem, Content: system}, user}
	}
	return []chat.Message{user}
}

// feedbackTurns are the turns between a failed attempt, which gave answer, and the next, with left attempts remaining.
func feedbackTurns(p spec.Prompt, shown dataset.Presentation, left int, answer string) []chat.Message {
	failed := spec.Failure{Left: left, Attempt: shown.Attempts - left, Answer: answer}
	failed.Hint = p.HintAfter(shown.Hints, failed.Attempt)
	turns := []chat.Message{{Role: p.FeedbackRole, Content: p.FeedbackText(failed)}}
	if p.RepeatQuestion {
		turns = append(turns, chat.Message{Role: dataset.RoleUser, Content: shown.Question})
	}
	return turns
}

// script holds every token of a presentation's dialogue that is not sampled.
type script struct {
	opening  []int32
	feedback [][]int32 // [N]: feedback[left] with left attempts remaining, {answer} left empty; entry 0 is empty
	ends     []int32   // ascending
	close    int32
	// turn renders feedback that shows an answer; nil where it shows none.
	turn func(left int, answer string) ([]int32, error)
}

// answerTokens is how many tokens an answer that feedback shows may add to it.
const answerTokens = 64

// newScript renders the forced turns of a presentation, so that nothing can go wrong once tokens are being sampled.
func newScript(d Dialogue, p spec.Prompt, shown dataset.Presentation) (*script, error) {
	if shown.Attempts < 1 {
		return nil, fmt.Errorf("problem %s: %d attempts; an episode has at least 1", shown.ID, shown.Attempts)
	}
	s := &script{ends: d.EndOfTurn(), close: d.Close(), feedback: make([][]int32, shown.Attempts)}
	slices.Sort(s.ends)
	turn := func(left int, answer string) ([]int32, error) { return d.Turn(feedbackTurns(p, shown, left, answer)) }
	var err error
	if s.opening, err = d.Opening(openingTurns(p, shown)); err != nil {
		return nil, fmt.Errorf("problem %s: opening: %w", shown.ID, err)
	}
	for left := 1; left < shown.Attempts; left++ {
		if s.feedback[left], err = turn(left, ""); err != nil {
			return nil, fmt.Errorf("problem %s: feedback with %d attempts left: %w", shown.ID, left, err)
		}
	}
	if p.ShowsAnswer() {
		s.turn = turn
	}
	return s, nil
}

// after is the feedback to an attempt that gave answer. An answer is cut where it is long, and left out where the model's
// tokens cannot write it or it contains special tokens.
func (s *script) after(left int, answer string) []int32 {
	plain := s.feedback[left]
	if s.turn == nil {
		return plain
	}
	for text := answer; answer != ""; text = answer + "..." {
		tokens, err := s.turn(left, text)
		if err != nil {
			break
		}
		if len(tokens) <= len(plain)+answerTokens {
			return tokens
		}
		letters := []rune(answer)
		answer = string(letters[:len(letters)/2])
	}
	return plain
}

// longest is the most tokens that the dialogue can have: its forced turns, each attempt closed by force, and the budget.
func (s *script) longest(a spec.Attempts) int {
	n := len(s.opening)
	for _, f := range s.feedback[1:] {
		n += 1 + len(f)
		if s.turn != nil {
			n += answerTokens
		}
	}
	if a.Budget == spec.BudgetShared {
		return n + a.MaxNewTokens
	}
	return n + a.MaxNewTokens*len(s.feedback)
}

// endsTurn reports whether a sampled token ends the assistant's turn.
func (s *script) endsTurn(token int32) bool {
	_, found := slices.BinarySearch(s.ends, token)
	return found
}
