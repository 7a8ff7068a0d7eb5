// Package imitation fine-tunes a language model on dialogues: it writes them in the model's tokens and minimises the
// cross-entropy of what the assistant says.
package imitation

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"multiattempt/internal/chat"
	"multiattempt/internal/dataset"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
)

// Writer writes turns in a model's tokens; *chat.Template is one.
type Writer interface {
	// Opening returns the tokens of the first turns and of what introduces the assistant's answer.
	Opening(messages []chat.Message) ([]int32, error)
	// Reply returns the tokens of an assistant's turn, its end included.
	Reply(text string) ([]int32, error)
	// Turn returns the tokens between the end of an assistant's turn and the first token of its next one.
	Turn(messages []chat.Message) ([]int32, error)
}

// Source yields the dialogues of an optimiser step, a function of seed and step; *dataset.Dialogues is one.
type Source interface {
	Batch(seed uint64, step int) [][]dataset.Turn
}

// Run makes the optimiser steps from…from+steps−1 of a fine-tuning and returns the facts of the last. It is a function of
// the imitator's state and the other arguments; when it fails the imitator is spoilt.
func Run(ctx context.Context, m update.Imitator, w Writer, s Source, f spec.Finetune, from, steps int, done func(steps int)) (update.ImitationStats, error) {
	var stats update.ImitationStats
	schedule := update.NewTuningSchedule(f)
	for i := range steps {
		step := from + i
		dialogues := s.Batch(f.Seed, step)
		batch := make([]update.Example, len(dialogues))
		var err error
		for row, turns := range dialogues {
			if batch[row], err = Example(w, turns); err != nil {
				return stats, fmt.Errorf("step %d, dialogue %d: %w", step+1, row+1, err)
			}
		}
		if stats, err = m.Step(ctx, batch, schedule.Rates(step, 0).Policy); err != nil {
			return stats, fmt.Errorf("step %d: %w", step+1, err)
		}
		done(i + 1)
	}
	return stats, nil
}

// Example writes a dialogue as tokens. Its mask is true on the turns that are to be imitated, each one's end included;
// what follows the assistant's last turn is left out.
func Example(w Writer, turns []dataset.Turn) (update.Example, error) {
	var e update.Example
	var said []chat.Message // since the assistant's last turn
	for i, t := range turns {
		if t.Role != dataset.RoleAssistant {
			said = append(said, chat.Message{Role: t.Role, Content: t.Content})
			continue
		}
		if len(said) == 0 {
			return e, fmt.Errorf("%w: turn %d: the assistant speaks without being spoken to", dataset.ErrData, i+1)
		}
		write := w.Turn
		if len(e.Tokens) == 0 {
			write = w.Opening
		}
		glue, err := write(said)
		if err != nil {
			return e, fmt.Errorf("turn %d: %w", i, err)
		}
		reply, err := w.Reply(t.Content)
		if err != nil {
			return e, fmt.Errorf("turn %d: %w", i+1, err)
		}
		e.Tokens = slices.Concat(e.Tokens, glue, reply)
		e.Mask = slices.Concat(e.Mask, make([]bool, len(glue)), slices.Repeat([]bool{t.Imitate}, len(reply)))
		said = nil
	}
	if !slices.Contains(e.Mask, true) {
		return e, fmt.Errorf("%w: the dialogue has no turn to imitate", dataset.ErrData)
	}
	return e, nil
}

// Check refuses, as dataset.ErrData, dialogues that cannot be imitated: that the template or the tokenizer does not write, that
// have more than limit tokens, or that begin with the assistant. It counts them and says why of the first; seen, when not nil,
// is told after each how many there were so far. It returns the tokens of the longest.
func Check(w Writer, dialogues iter.Seq2[string, []dataset.Turn], limit int, seen func(int)) (longest int, err error) {
	var first string // as text: whatever it is, the dialogue is at fault
	n, bad := 0, 0
	for where, turns := range dialogues {
		tokens, err := check(w, turns, limit)
		longest = max(longest, tokens)
		if err != nil {
			if bad++; bad == 1 {
				first = fmt.Sprintf("%s: %v", where, err)
			}
		}
		n++
		if seen != nil {
			seen(n)
		}
	}
	if bad == 0 {
		return longest, nil
	}
	return 0, fmt.Errorf("%w: %d of %d dialogues cannot be imitated; the first: %s", dataset.ErrData, bad, n, first)
}

func check(w Writer, turns []dataset.Turn, limit int) (tokens int, err error) {
	e, err := Example(w, turns)
	if err == nil && len(e.Tokens) > limit {
		err = fmt.Errorf("expected at most %d tokens, found %d; shorten it or leave it out", limit, len(e.Tokens))
	}
	return len(e.Tokens), err
}
