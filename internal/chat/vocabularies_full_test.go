//go:build full

package chat_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/chat"
)

// Environment variables with the folder that tools/tokenizers/fetch.sh prints, and the one that `make smollm2` makes.
const (
	tokenizerFolders = "MULTIATTEMPT_TOKENIZERS"
	smollm2Folder    = "MULTIATTEMPT_SMOLLM2"
)

// TestDialoguesWithTheFamiliesVocabularies compares the tokens of whole dialogues of several attempts, rendered at once and
// built turn by turn, with transformers' apply_chat_template (tools/fixtures/dialogues.py).
func TestDialoguesWithTheFamiliesVocabularies(t *testing.T) {
	var want struct {
		Dialogues [][]chat.Message
		IDs       map[string][][]int32
	}
	readJSON(t, "dialogues.json", &want)
	require.Len(t, want.IDs, 7)
	for family, rows := range want.IDs {
		t.Run(family, func(t *testing.T) {
			dir := filepath.Join(os.Getenv(tokenizerFolders), family)
			if family == "smollm2" {
				dir = os.Getenv(smollm2Folder)
			}
			template, err := chat.Load(dir)
			require.NoError(t, err, "`make test-full` sets %s and %s", tokenizerFolders, smollm2Folder)
			require.Len(t, rows, len(want.Dialogues))
			for i, dialogue := range want.Dialogues {
				whole, err := template.Opening(dialogue)
				require.NoError(t, err)
				require.Equal(t, rows[i], whole, "dialogue %d", i)
				if slices.ContainsFunc(dialogue, func(m chat.Message) bool { return m.Role == "assistant" && joinsPrompt(m.Content) }) && !template.Trims() {
					continue
				}
				require.Equal(t, rows[i], turnByTurn(t, template, dialogue), "dialogue %d, turn by turn", i)
			}
		})
	}
}

// joinsPrompt reports whether text read together with the line's end before it has other tokens there than read alone. A model
// writes it after the prompt's last token: nobody reads the two together.
func joinsPrompt(text string) bool { return strings.TrimLeft(text, "\n\t ") != text }

// turnByTurn builds a dialogue that ends where the assistant speaks next, each turn in tokens.
func turnByTurn(t *testing.T, template *chat.Template, dialogue []chat.Message) []int32 {
	t.Helper()
	var ids []int32
	write := template.Opening
	from := 0
	for i, m := range dialogue {
		if m.Role != "assistant" {
			continue
		}
		glue, err := write(dialogue[from:i])
		require.NoError(t, err)
		reply, err := template.Reply(m.Content)
		require.NoError(t, err)
		ids = append(append(ids, glue...), reply...)
		write, from = template.Turn, i+1
	}
	glue, err := write(dialogue[from:])
	require.NoError(t, err)
	return append(ids, glue...)
}
