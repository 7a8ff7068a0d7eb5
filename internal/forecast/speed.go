package forecast

import (
	"slices"

	"multiattempt/internal/spec"
)

// Speed is what a short benchmark measured on this machine.
type Speed struct {
	Backend    string `json:"backend"`
	Device     int64  `json:"device_bytes,omitempty"` // memory of the device; 0: not known
	Model      string `json:"measured_on"`            // the run's own model, or a stand-in
	Parameters int64  `json:"measured_parameters"`
	// SamplingRate is in sampled tokens a second; UpdateRate too, of one whole pass: scores and one epoch of optimiser steps.
	SamplingRate float64 `json:"sampling_tokens_per_second"`
	UpdateRate   float64 `json:"update_tokens_per_second"`
	// EpisodeTokens is the mean number of tokens sampled in an episode; 0 when the benchmark had to cut episodes short.
	EpisodeTokens float64 `json:"tokens_sampled_mean_per_episode,omitempty"`
	Episodes      int     `json:"episodes"` // that were measured
}

// Time is how long a run is expected to take on one device like the one measured, in seconds.
type Time struct {
	Speed Speed `json:"benchmark"`
	// EpisodeTokens is what the forecast supposes of each episode; Bound tells that it is the most that is possible.
	EpisodeTokens float64 `json:"tokens_sampled_per_episode"`
	Bound         bool    `json:"is_upper_bound"`
	// Scaled tells that a stand-in was measured and the speed divided by the ratio of parameters.
	Scaled      bool    `json:"scaled_by_parameters"`
	Iteration   float64 `json:"seconds_per_iteration"`
	Training    float64 `json:"training_seconds"`
	Evaluations float64 `json:"evaluation_seconds"` // of the problems that Problems counts
	// Problems are those of all evaluation sets together; the sizes of UnknownSets are not known here and not among them.
	Problems    int      `json:"evaluation_problems"`
	UnknownSets []string `json:"evaluation_sets_of_unknown_size,omitempty"`
	Total       float64  `json:"total_seconds"`
}

// Sets are the evaluation sets of a run.
type Sets struct {
	Problems int      // of all sets whose size is known
	Unknown  []string // names of the others
}

// Expect turns a benchmark into the time of a run.
func Expect(r spec.Run, model *Model, c Cost, s Speed, sets Sets) Time {
	t := Time{Speed: s, EpisodeTokens: s.EpisodeTokens, Problems: sets.Problems, UnknownSets: sets.Unknown}
	examined := t.EpisodeTokens
	if t.EpisodeTokens == 0 {
		t.EpisodeTokens, t.Bound = float64(tokensMax(r.Attempts)), true
		examined = examinedMax(r)
	}
	slower := 1.0
	if model != nil && s.Parameters > 0 && model.Name != s.Model {
		slower, t.Scaled = float64(model.Parameters)/float64(s.Parameters), true
	}
	tokens := float64(c.EpisodesPerIteration) * t.EpisodeTokens
	t.Iteration = slower * (tokens/s.SamplingRate + tokens*float64(r.Update.Epochs)/s.UpdateRate)
	t.Training = t.Iteration * float64(r.Iterations)
	t.Evaluations = slower * float64(sets.Problems*c.EpisodesPerProblem) * examined / s.SamplingRate
	t.Total = t.Training + t.Evaluations
	return t
}

// examinedMax bounds the tokens sampled in an episode of an evaluation.
func examinedMax(r spec.Run) float64 {
	attempts := r.Attempts
	attempts.MaxNewTokens, attempts.Max = r.Evaluation.MaxNewTokens, 1
	for _, k := range append(slices.Clone(r.Evaluation.Attempts), r.Evaluation.Final...) {
		attempts.Max = max(attempts.Max, k)
	}
	return float64(tokensMax(attempts))
}
