package dataset_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/dataset"
	"multiattempt/internal/spec"
)

func TestDialoguesOfAFile(t *testing.T) {
	var lines strings.Builder
	for i := range 5 {
		fmt.Fprintf(&lines, `{"messages":[{"role":"user","content":"Q%d"},{"role":"assistant","content":"A%d"}]}`+"\n", i, i)
	}
	path := write(t, filepath.Join(t.TempDir(), "d.jsonl"), lines.String())
	d, err := dataset.OpenDialogues(spec.TuningData{Source: path, BatchSize: 2}, spec.Prompt{})
	require.NoError(t, err)
	seen := map[string]bool{}
	for step := range 2 { // one epoch: two batches, the fifth dialogue dropped
		batch := d.Batch(1, step)
		require.Equal(t, batch, d.Batch(1, step))
		for _, turns := range batch {
			require.False(t, turns[0].Imitate)
			require.True(t, turns[1].Imitate)
			seen[turns[0].Content] = true
		}
	}
	require.Len(t, seen, 4)
	require.Equal(t, "01234AQ", d.Alphabet())
	require.NotZero(t, d.File.SHA256)
}

func TestGeneratedDialogues(t *testing.T) {
	data := spec.TuningData{Source: dataset.Smudged, BatchSize: 3, MaxAttempts: 2, Stubborn: 0.5}
	prompt := spec.Prompt{System: "{N}", Feedback: "no {n}", FeedbackRole: "system"}
	d, err := dataset.OpenDialogues(data, prompt)
	require.NoError(t, err)
	require.Equal(t, dataset.SmudgedDialogue(4, 7, 2, data, prompt), d.Batch(4, 7)[2])
	require.Equal(t, ` +,0123456789?\bdenox{}`, d.Alphabet())
	var examined []string
	for where, turns := range d.Examine(4) {
		examined = append(examined, where)
		last := turns[len(turns)-1]
		require.Equal(t, dataset.RoleAssistant, last.Role)
	}
	require.Equal(t, []string{"generated dialogue 1", "generated dialogue 2", "generated dialogue 3"}, examined)
}

func TestOpenDialoguesNamesEveryFault(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "d.jsonl"), strings.Join([]string{
		`{"messages":[{"role":"user","content":"Q"}]}`,
		`{"text":"Q"}`,
		`{"messages":[{"role":"tool","content":"Q"}]}`,
		`{"messages":[{"role":"assistant","content":7}]}`,
	}, "\n"))
	_, err := dataset.OpenDialogues(spec.TuningData{Source: path, BatchSize: 2}, spec.Prompt{})
	require.ErrorIs(t, err, dataset.ErrData)
	require.EqualError(t, err, strings.ReplaceAll(`bad data, 5 faults:
  F:1: want "messages" with at least one of role "assistant"
  F:2: want "messages" with at least one of role "assistant"
  F:3: message 1: role is "tool", want "system", "user" or "assistant"
  F:4: message 1: content of the assistant is no text
  F: holds 0 dialogues, fewer than the 2 of one step; lower data.batch_size`, "F:", path+":"))
}
