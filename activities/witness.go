package activities

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"

	"multiattempt/internal/blob"
	"multiattempt/internal/experience"
	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
)

// witness sees one update: where its time goes and, for the record, what each token was trained with. It changes nothing.
// All methods of a nil witness do nothing: repeated steps were seen the first time.
type witness struct {
	watch *stopwatch
	rows  map[*int32]experience.Row // by the first token of the episode that they share
	kept  []experience.Kept         // one an episode; empty for those that were left out of the update
}

func newWitness() *witness {
	return &witness{watch: startWatch(), rows: map[*int32]experience.Row{}}
}

// watched is a learner whose minibatches the witness sees.
type watched struct {
	update.Learner
	seen *witness
}

// Step implements update.Learner.
func (w watched) Step(ctx context.Context, minibatch []experience.Row, rates update.Rates) (update.StepStats, error) {
	for _, row := range minibatch {
		if len(row.Tokens) > 0 {
			w.seen.rows[&row.Tokens[0]] = row
		}
	}
	return w.Learner.Step(ctx, minibatch, rates)
}

// of returns l, seen by the witness.
func (w *witness) of(l update.Learner) update.Learner {
	if w == nil {
		return l
	}
	return watched{Learner: l, seen: w}
}

// enter says which part of the update begins; an empty name that the last one ended.
func (w *witness) enter(part string) {
	if w != nil {
		w.watch.enter(part)
	}
}

// keep takes what the settings want of the episodes' tokens.
func (w *witness) keep(ctx context.Context, l update.Learner, r spec.Record, episodes []rollout.Episode) error {
	if w == nil {
		return nil
	}
	w.enter("record")
	if r.TokenScores {
		w.kept = make([]experience.Kept, len(episodes))
		for i := range episodes {
			if row, ok := w.rows[&episodes[i].Tokens[0]]; ok {
				w.kept[i] = experience.Keep(row)
			}
		}
	}
	w.rows = nil
	n := min(r.Rescored, len(episodes))
	if n == 0 {
		return nil
	}
	after, err := l.Score(ctx, episodes[:n], nil)
	if err != nil {
		return fmt.Errorf("score after the update: %w", err)
	}
	if w.kept == nil {
		w.kept = make([]experience.Kept, n)
	}
	for i := range after {
		w.kept[i].After = experience.Sampled(episodes[i].Mask, after[i].Old)
	}
	return nil
}

// store stores what was kept; the zero reference when that is nothing.
func (w *witness) store(ctx context.Context, s blob.Store, run string, step int) (blob.Ref, error) {
	if w.kept == nil {
		return blob.Ref{}, nil
	}
	b, err := experience.EncodeKept(w.kept)
	if err != nil {
		return blob.Ref{}, err
	}
	return blob.PutAs(ctx, s, named(stepKey(run, step), "tokens", ".zst", b), b)
}

// timing is where the step's time went.
func (w *witness) timing(step int, before Spent) Timing {
	return Timing{
		Step: step, Rollout: before.Rollout, Reward: before.Reward, Checkpoint: before.Checkpoint,
		Score: w.watch.seconds("score"), Optimise: w.watch.seconds("update"), Publish: w.watch.seconds("publish"),
		Memory: residentMemory(),
	}
}

// residentMemory is the process's resident set in bytes; 0 where the system does not say.
func residentMemory() float64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(b)
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return 0
	}
	return float64(pages * os.Getpagesize())
}
