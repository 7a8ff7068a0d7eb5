package track

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/internal/report"
	"multiattempt/internal/rollout"
)

// ErrNoRun: the store holds no settings of that run, hence nothing to export.
var ErrNoRun = errors.New("the store has no training run called")

const (
	sampleEvery   = 10 // steps between those of which dialogues are shown; the first is always one
	samplesAtStep = 3  // dialogues
)

// samples returns a few dialogues of a step as Markdown. Steps whose episodes are gone have none.
func samples(ctx context.Context, s blob.Store, step Step) (string, error) {
	var x activities.Experience
	err := loadJSON(ctx, s, step.Experience.Key, &x)
	if errors.Is(err, blob.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if len(x.Episodes) == 0 {
		return "", nil
	}
	episodes, err := activities.LoadEpisodes(ctx, s, x.Episodes[:1])
	if errors.Is(err, blob.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, e := range report.PickExamples(episodes, samplesAtStep) {
		writeDialogue(&b, e)
	}
	return b.String(), nil
}

// writeDialogue writes an episode as Markdown; what the model and the data say stands in fences that they cannot close.
func writeDialogue(b *strings.Builder, e rollout.Episode) {
	fmt.Fprintf(b, "**Problem** %s, gold answer\n\n%s\n\n", quoted(e.ProblemID), fenced(e.Gold))
	b.WriteString(fenced(e.Question))
	for i, a := range e.Attempts {
		fmt.Fprintf(b, "\n\n**Attempt %d of %d** %s", i+1, e.MaxTries, a.Outcome)
		if a.Rule != "" {
			fmt.Fprintf(b, " (%s)", a.Rule)
		}
		b.WriteString("\n\n" + fenced(a.Text))
	}
	b.WriteString("\n\n---\n\n")
}

// quoted is text inside a line of Markdown.
func quoted(text string) string {
	return "`" + strings.NewReplacer("`", "'", "\n", " ").Replace(text) + "`"
}

// fenced is a block of literal text.
func fenced(text string) string {
	fence := "```"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	return fence + "text\n" + text + "\n" + fence
}
