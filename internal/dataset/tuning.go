package dataset

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"multiattempt/internal/seed"
	"multiattempt/internal/spec"
)

// Dialogues is a source of dialogues to fine-tune on: a file, or the generated ones of the smudged task.
type Dialogues struct {
	// File is what a list was read from; zero for generated dialogues.
	File File

	data   spec.TuningData
	prompt spec.Prompt
	list   [][]Turn // nil: generated
	lines  []int    // of the list's dialogues in the file, from 1
}

// OpenDialogues opens data.Source: "smudged", whose dialogues use the words of prompt, or a .jsonl file whose lines hold
// {"messages":[{"role":…,"content":…}, …]}. Every assistant turn of a file is imitated. Errors as those of Open.
func OpenDialogues(data spec.TuningData, prompt spec.Prompt) (*Dialogues, error) {
	d := &Dialogues{data: data, prompt: prompt}
	if data.Source == Smudged {
		return d, nil
	}
	var bad faults
	records, file, err := readRecords(data.Source, &bad)
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		if turns := readTurns(r, &bad); turns != nil {
			d.list, d.lines = append(d.list, turns), append(d.lines, r.line)
		}
	}
	if len(d.list) < data.BatchSize {
		bad.add(data.Source, 0, "holds %d dialogues, fewer than the %d of one step; lower data.batch_size", len(d.list), data.BatchSize)
	}
	d.File = file
	return d, bad.err()
}

// Batch returns the dialogues of an optimiser step, [B] with B = data.BatchSize: a function of seed and step, passing
// through a list in a new seeded order each epoch and dropping the epoch's remainder, as Set.Present does.
func (d *Dialogues) Batch(tuningSeed uint64, step int) [][]Turn {
	batch := make([][]Turn, d.data.BatchSize)
	if d.list == nil {
		for row := range batch {
			batch[row] = SmudgedDialogue(tuningSeed, step, row, d.data, d.prompt)
		}
		return batch
	}
	perEpoch := len(d.list) / len(batch)
	order := seed.Rand("dataset/dialogues", tuningSeed, uint64(step/perEpoch)).Perm(len(d.list))
	for row := range batch {
		batch[row] = d.list[order[step%perEpoch*len(batch)+row]]
	}
	return batch
}

// Examine lists, each with where it stands, the dialogues to check before a fine-tuning: all of a list; of generated ones,
// which are endless, those of a step whose retries repeat whatever was rejected, and so use up their attempts.
func (d *Dialogues) Examine(tuningSeed uint64) iter.Seq2[string, []Turn] {
	return func(yield func(where string, turns []Turn) bool) {
		for i, turns := range d.list {
			if !yield(fmt.Sprintf("%s:%d", d.data.Source, d.lines[i]), turns) {
				return
			}
		}
		data := d.data
		data.Stubborn = 1
		for row := range d.data.BatchSize {
			if d.list != nil || !yield(fmt.Sprintf("generated dialogue %d", row+1), SmudgedDialogue(tuningSeed, 0, row, data, d.prompt)) {
				return
			}
		}
	}
}

// Alphabet returns every character that the dialogues can hold, each once, in ascending order: what a character-level
// tokenizer must know.
func (d *Dialogues) Alphabet() string {
	var text strings.Builder
	if d.list == nil {
		p := d.prompt // a placeholder becomes a number, whose digits the task's alphabet has, or a hint
		words := []string{p.System, p.SystemSingle, p.SystemRepeat, p.Feedback, p.FeedbackRepeat}
		placeholders := strings.NewReplacer("{N}", "", "{n}", "", "{left}", "", "{attempt}", "", "{answer}", "", spec.HintPlaceholder, "")
		text.WriteString(placeholders.Replace(strings.Join(words, "")))
		text.WriteString(strings.Join(p.Hints, ""))
		text.WriteString(SmudgedAlphabet)
	}
	for _, turns := range d.list {
		for _, turn := range turns {
			text.WriteString(turn.Content)
		}
	}
	characters := []rune(text.String())
	slices.Sort(characters)
	return string(slices.Compact(characters))
}

// readTurns reads one line of messages; what is wrong becomes a fault and the result nil.
func readTurns(r record, bad *faults) []Turn {
	messages, _ := r.fields["messages"].([]any)
	turns := make([]Turn, len(messages))
	imitated := false
	for i, m := range messages {
		turn, err := readTurn(m)
		if err != nil {
			bad.add(r.file, r.line, "message %d: %v", i+1, err)
			return nil
		}
		turns[i] = turn
		imitated = imitated || turn.Imitate
	}
	if !imitated {
		bad.add(r.file, r.line, `want "messages" with at least one of role %q`, RoleAssistant)
		return nil
	}
	return turns
}

func readTurn(message any) (Turn, error) {
	fields, _ := message.(map[string]any)
	role, _ := fields["role"].(string)
	content, isText := fields["content"].(string)
	switch {
	case role != RoleSystem && role != RoleUser && role != RoleAssistant:
		return Turn{}, fmt.Errorf("role is %q, want %q, %q or %q", role, RoleSystem, RoleUser, RoleAssistant)
	case !isText:
		return Turn{}, fmt.Errorf("content of the %s is no text", role)
	}
	return Turn{Role: role, Content: content, Imitate: role == RoleAssistant}, nil
}
