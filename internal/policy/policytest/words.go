// Package policytest has what a test of dialogues needs in place of a language model: a sampler that answers from a
// script, and a tokenizer whose tokens are words, so that prompts, answers and feedback can be read as text.
package policytest

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"multiattempt/internal/chat"
)

// Special words. A role in brackets opens its turn.
const (
	End  = "[end]"  // closes any turn, as the template writes it
	Stop = "[stop]" // ends a turn, too, when a model writes it; the template never does
)

var specials = []string{"[system]", "[user]", "[assistant]", End, Stop}

// Words is a rollout.Dialogue in which each word between spaces is a token, and a token's id is the order in which its
// word was first seen. It may be used by several goroutines.
type Words struct {
	refused []string // roles

	mu    sync.Mutex
	ids   map[string]int32
	words []string
}

// NewWords returns a dialogue that knows the special words only, so far. It refuses turns of the roles named here.
func NewWords(refused ...string) *Words {
	w := &Words{refused: refused, ids: map[string]int32{}}
	for _, s := range specials {
		w.id(s)
	}
	return w
}

func (w *Words) id(word string) int32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	id, ok := w.ids[word]
	if !ok {
		id = int32(len(w.words))
		w.ids[word], w.words = id, append(w.words, word)
	}
	return id
}

// Encode returns the tokens of text, special words included.
func (w *Words) Encode(text string) []int32 {
	ids := []int32{}
	for _, word := range strings.Fields(text) {
		ids = append(ids, w.id(word))
	}
	return ids
}

// Text returns the words of ids, special ones included.
func (w *Words) Text(ids []int32) string { return w.join(ids, 0) }

// Decode returns the words of ids, special ones left out.
func (w *Words) Decode(ids []int32) string { return w.join(ids, int32(len(specials))) }

// join returns the words of the ids from first on.
func (w *Words) join(ids []int32, first int32) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	words := []string{}
	for _, id := range ids {
		if id >= first {
			words = append(words, w.words[id])
		}
	}
	return strings.Join(words, " ")
}

// Opening returns the tokens of messages and of what opens the assistant's turn.
func (w *Words) Opening(messages []chat.Message) ([]int32, error) {
	text := ""
	for _, m := range messages {
		if slices.Contains(w.refused, m.Role) {
			return nil, fmt.Errorf("%w: %s", chat.ErrRole, m.Role)
		}
		text += fmt.Sprintf("[%s] %s %s ", m.Role, m.Content, End)
	}
	return w.Encode(text + "[assistant]"), nil
}

// Turn returns the tokens between the end of an assistant's turn and the first token of its next one.
func (w *Words) Turn(messages []chat.Message) ([]int32, error) { return w.Opening(messages) }

// EndOfTurn returns the tokens with which a model may end its turn.
func (w *Words) EndOfTurn() []int32 { return w.Encode(Stop + " " + End) }

// Close returns the token that the template writes after an assistant's turn.
func (w *Words) Close() int32 { return w.id(End) }
