package update

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"multiattempt/internal/spec"
)

// State is what one iteration's update leaves to the next, beside the learner's weights and moments. It is part of every
// checkpoint and, like these, repeated from the stored steps since.
type State struct {
	// KLCoefficient is the coefficient of the divergence from the reference that the next iteration begins with; 0: the
	// spec's, as at a run's beginning.
	KLCoefficient float64 `json:"kl_coefficient"`
}

// ErrState: a checkpoint's folder does not hold the state that its settings need. Reading it again does not help.
var ErrState = errors.New("unusable state of the update")

// stateFile lies beside the learner's own files in a checkpoint.
const stateFile = "update.json"

// After is the state that an update leaves.
func After(s Stats) State { return State{KLCoefficient: s.NextKLCoefficient} }

// Write puts the state into a checkpoint's folder; nothing where u has none.
func (s State) Write(dir string, u spec.Update) error {
	if !u.Adaptive() {
		return nil
	}
	b, err := json.Marshal(s) // the shortest text that reads back as the same number
	if err != nil {
		return fmt.Errorf("write the update's state: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, stateFile), b, 0o644)
}

// ReadState reads what Write wrote.
func ReadState(dir string, u spec.Update) (State, error) {
	var s State
	if !u.Adaptive() {
		return s, nil
	}
	b, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s, fmt.Errorf("%w: the checkpoint has no %s; it was made with update.kl_target 0", ErrState, stateFile)
	}
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("%w: %s: %w", ErrState, stateFile, err)
	}
	return s, nil
}

// coefficient is β of the iteration that the state begins.
func (s State) coefficient(u spec.Update) float64 {
	if !u.Adaptive() || s.KLCoefficient == 0 {
		return u.KLCoefficient
	}
	return s.KLCoefficient
}

// mostError bounds what one iteration's deviation from the target counts.
const mostError = 0.2

// nextCoefficient steers β towards the target divergence (Ziegler et al., "Fine-Tuning Language Models from Human
// Preferences", arXiv 1909.08593, §2.2): β·(1 + clip(KL/target − 1, ±0.2)·n/horizon), after an iteration of n episodes.
// u.KLCoefficient is β now.
func nextCoefficient(u spec.Update, kl float64, episodes int) float64 {
	if !u.Adaptive() {
		return u.KLCoefficient
	}
	off := math.Min(math.Max(kl/u.KLTarget-1, -mostError), mostError)
	return u.KLCoefficient * (1 + off*float64(episodes)/u.KLHorizon)
}
