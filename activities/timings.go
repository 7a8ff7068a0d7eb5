package activities

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"multiattempt/internal/blob"
)

// Timing is where the wall-clock time of one step went, in seconds. It is measured, so it is no part of the step's record,
// which is the same bytes whoever computes it.
type Timing struct {
	Step    int     `json:"step"` // iterations done, this one included
	Rollout float64 `json:"rollout_seconds"`
	Reward  float64 `json:"reward_seconds"`
	// Checkpoint is how long the update waited for the checkpoint of the step before, which is kept during the rollout.
	Checkpoint float64 `json:"checkpoint_wait_seconds"`
	Score      float64 `json:"score_seconds"`
	Optimise   float64 `json:"optimise_seconds"`
	Publish    float64 `json:"publish_seconds"`
	Memory     float64 `json:"resident_bytes"` // of the learner's process; 0 where that is not known
}

// Spent is how long the stages before an update took, in seconds, as the workflow saw it.
type Spent struct {
	Rollout    float64 `json:"rollout_seconds"`
	Reward     float64 `json:"reward_seconds"`
	Checkpoint float64 `json:"checkpoint_wait_seconds,omitempty"`
}

// timingsTogether is the number of steps whose timings share one object.
const timingsTogether = 100

// TimingPrefix lists a run's timings: objects of up to a hundred steps, JSON arrays of Timing.
func TimingPrefix(run string) string { return runKey(run) + "/timings/" }

func timingKey(run string, step int) string {
	return fmt.Sprintf("%s%06d.json", TimingPrefix(run), (step-1)/timingsTogether)
}

// Timings returns what was measured of a run's steps from one on, by step. What cannot be read is left out: a gap in a figure.
func Timings(ctx context.Context, s blob.Store, run string, from int) (map[int]Timing, error) {
	all := map[int]Timing{}
	err := s.List(ctx, TimingPrefix(run), func(o blob.Info) error {
		if o.Key < timingKey(run, from) {
			return nil
		}
		b, err := read(ctx, s, o.Key)
		if err != nil {
			return err
		}
		var some []Timing
		if json.Unmarshal(b, &some) == nil { // else half-written
			for _, t := range some {
				all[t.Step] = t
			}
		}
		return nil
	})
	return all, err
}

// LoadTiming returns a step's timing; ok is false where none was measured, or none can be read.
func LoadTiming(ctx context.Context, s blob.Store, run string, step int) (t Timing, ok bool) {
	var all []Timing
	b, err := read(ctx, s, timingKey(run, step))
	if err != nil || json.Unmarshal(b, &all) != nil {
		return Timing{}, false
	}
	at, ok := slices.BinarySearchFunc(all, step, func(x Timing, step int) int { return x.Step - step })
	if !ok {
		return Timing{}, false
	}
	return all[at], true
}

// putTiming adds a step's timing to those of its hundred, in place of an earlier one.
func putTiming(ctx context.Context, s blob.Store, run string, t Timing) error {
	key := timingKey(run, t.Step)
	var all []Timing
	b, err := read(ctx, s, key)
	if err != nil && !errors.Is(err, blob.ErrNotFound) {
		return err
	}
	if err == nil && json.Unmarshal(b, &all) != nil {
		all = nil // half-written by another program: begun anew
	}
	all = slices.DeleteFunc(all, func(x Timing) bool { return x.Step == t.Step })
	at, _ := slices.BinarySearchFunc(all, t.Step, func(x Timing, step int) int { return x.Step - step })
	all = slices.Insert(all, at, t)
	if b, err = json.Marshal(all); err != nil {
		return err
	}
	_, err = s.Put(ctx, key, bytes.NewReader(b), int64(len(b)), blob.PutOptions{})
	return err
}

// stopwatch measures the parts of an update.
type stopwatch struct {
	at    time.Time
	parts map[string]time.Duration
	now   string
}

func startWatch() *stopwatch { return &stopwatch{at: time.Now(), parts: map[string]time.Duration{}} }

// enter counts the time from here on to part.
func (w *stopwatch) enter(part string) {
	if part == w.now {
		return
	}
	now := time.Now()
	if w.now != "" {
		w.parts[w.now] += now.Sub(w.at)
	}
	w.at, w.now = now, part
}

func (w *stopwatch) seconds(part string) float64 { return w.parts[part].Seconds() }
