// Package evaluate scores a policy by accuracy at k attempts, with intervals, and compares two policies problem by problem.
//
// The score is sequential accuracy with a verifier: the share of problems that are solved within k attempts when the
// grader says after each whether it was right. It is neither pass@1 nor pass@k, and because the model is told k, each k is
// a fresh run and the curve need not rise. Parallel sampling at the same budget (pass@k, majority vote) stands beside it.
package evaluate

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"multiattempt/internal/blob"
	"multiattempt/internal/dataset"
	"multiattempt/internal/rollout"
)

// version is that of the result's JSON; a reader refuses any other.
const version = 2

// ErrResult: an evaluation's parts contradict each other, or its file is not one.
var ErrResult = errors.New("unusable evaluation result")

// Result is the score table of one policy: the artefact that an evaluation leaves.
type Result struct {
	Version int    `json:"version"`
	Run     string `json:"run,omitempty"`
	Step    int    `json:"step"`
	Policy  string `json:"policy"` // digest of the weights, 64 hexadecimal digits
	Seed    uint64 `json:"seed"`   // of the draws; irrelevant when greedy
	// Grading mode and sampling, which two results must share to be compared.
	Mode         string  `json:"grading_mode"`
	Unboxed      bool    `json:"unboxed"`
	Temperature  float64 `json:"temperature"` // 0 is greedy
	TopP         float64 `json:"top_p"`
	NoRepeat     int     `json:"no_repeat_ngram_size,omitempty"` // 0 is off
	Budget       string  `json:"budget"`                         // what MaxNewTokens counts, as spec.BudgetRule
	MaxNewTokens int     `json:"max_new_tokens"`
	// ParallelTemperature is that of the independent single attempts; 0 where there are none.
	ParallelTemperature float64 `json:"parallel_temperature,omitempty"`
	Sets                []Set   `json:"sets"`
	// Average is the unweighted mean over the sets, for every k that all of them have; empty with fewer than two sets.
	Average []Mean `json:"average,omitempty"`
}

// Set is the score of one set of problems.
type Set struct {
	Name     string      `json:"set"`
	Problems int         `json:"problems"`
	Digest   blob.Digest `json:"problems_sha256"`
	// Files are the SHA-256 of the files that the problems were read from; none for generated sets.
	Files  []blob.Digest `json:"files_sha256,omitempty"`
	Scores []Score       `json:"scores"` // ascending k
	// Parallel is what independent single attempts achieve; nil when none were asked for.
	Parallel *Parallel `json:"parallel,omitempty"`
}

// Mean is the unweighted mean of several sets' accuracies at k attempts.
type Mean struct {
	Attempts int        `json:"attempts"`
	Accuracy float64    `json:"accuracy"`
	Interval [2]float64 `json:"ci95"` // percentile bootstrap over problems, within each set
}

// NewSet scores the episodes of one set, given by number of attempts k. Each k must hold the same number of samples of
// every problem, in any order, Episode.Index being the problem's position in problems and Episode.Sample the sample's.
func NewSet(name string, problems []dataset.Problem, byAttempts map[int][]rollout.Episode) (Set, error) {
	s := Set{Name: name, Problems: len(problems), Digest: dataset.Digest(problems)}
	for k, episodes := range byAttempts {
		score, err := NewScore(k, problems, episodes)
		if err != nil {
			return Set{}, fmt.Errorf("set %s: %w", name, err)
		}
		s.Scores = append(s.Scores, score)
	}
	slices.SortFunc(s.Scores, func(a, b Score) int { return a.Attempts - b.Attempts })
	return s, nil
}

// Score returns the set's score at k attempts.
func (s Set) Score(k int) (Score, bool) {
	for _, score := range s.Scores {
		if score.Attempts == k {
			return score, true
		}
	}
	return Score{}, false
}

// Set returns the set of that name; the empty name stands for the first one.
func (r *Result) Set(name string) (Set, bool) {
	for _, s := range r.Sets {
		if name == "" || s.Name == name {
			return s, true
		}
	}
	return Set{}, false
}

// Finish fills in what follows from the sets: the version and the average over them.
func (r *Result) Finish() {
	r.Version = version
	r.Average = nil
	if len(r.Sets) < 2 {
		return
	}
	for _, first := range r.Sets[0].Scores {
		scores := make([]Score, 0, len(r.Sets))
		for _, set := range r.Sets {
			if score, ok := set.Score(first.Attempts); ok {
				scores = append(scores, score)
			}
		}
		if len(scores) == len(r.Sets) {
			r.Average = append(r.Average, average(first.Attempts, scores))
		}
	}
}

// Encode returns the result as JSON, the same bytes for equal results.
func (r *Result) Encode() ([]byte, error) {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode evaluation: %w", err)
	}
	return append(b, '\n'), nil
}

// Decode reads what Encode wrote.
func Decode(b []byte) (*Result, error) {
	var r Result
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrResult, err)
	}
	if r.Version != version {
		return nil, fmt.Errorf("%w: format version %d, this program reads %d", ErrResult, r.Version, version)
	}
	for _, set := range r.Sets {
		for _, score := range set.Scores {
			if score.N != set.Problems || score.Samples < 1 || len(score.SolvedAt) != score.N*score.Samples {
				return nil, fmt.Errorf("%w: set %s at k = %d has %d episodes of %d problems × %d samples",
					ErrResult, set.Name, score.Attempts, len(score.SolvedAt), set.Problems, score.Samples)
			}
		}
	}
	return &r, nil
}
