// Package evaluate scores a policy by accuracy at k attempts, with intervals, and compares two policies problem by problem.
//
// The score is sequential accuracy with a verifier: the share of problems that are solved within k attempts when the
// grader says after each whether it was right. It is neither pass@1 nor pass@k, and because the model is told k, each k is
// a fresh run and the curve need not rise.
package evaluate

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"multiattempt/internal/blob"
	"multiattempt/internal/dataset"
	"multiattempt/internal/rollout"
	"multiattempt/internal/verify"
)

// version is that of the result's JSON; a reader refuses any other.
const version = 1

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
	Temperature  float64 `json:"temperature"`
	MaxNewTokens int     `json:"max_new_tokens"`
	Sets         []Set   `json:"sets"`
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
}

// Score is what k attempts achieve on one set.
type Score struct {
	Attempts int        `json:"attempts"` // k
	Correct  int        `json:"correct"`
	N        int        `json:"n"`
	Accuracy float64    `json:"accuracy"` // Correct/N
	Interval [2]float64 `json:"ci95"`     // Wilson score interval
	// Optimum is the best expected accuracy; 1 when every question determines its answer.
	Optimum float64 `json:"optimum"`
	// SolvedAt has one entry per problem, in the set's order, [P]: the attempt (from 0) that was right, or −1.
	SolvedAt []int `json:"solved_at"`

	// Outcomes counts attempts by how they ended; Shares are the same divided by all attempts made.
	Outcomes map[rollout.Outcome]int     `json:"outcomes"`
	Shares   map[rollout.Outcome]float64 `json:"outcome_shares"`
	// Recovered counts episodes that were right after at least one failure.
	Recovered int `json:"recovered"`
	// Retries counts attempts after the first; Repeats those that give an earlier answer of their episode again.
	Retries     int     `json:"retries"`
	Repeats     int     `json:"repeats"`
	RepeatShare float64 `json:"repeat_share"` // Repeats/Retries; 0 without retries
	// TokensSampled is the number of tokens drawn, feedback and prompts not counted.
	TokensSampled        int     `json:"tokens_sampled"`
	TokensPerEpisodeMean float64 `json:"tokens_sampled_mean_per_episode"`
	// Bounded and Opaque count attempts that the grader gave up on at a work limit, or could compare as text only.
	Bounded int `json:"bounded"`
	Opaque  int `json:"opaque"`
	// PaperDisagrees counts attempts that the paper's grading rules judge differently.
	PaperDisagrees int `json:"paper_disagrees"`
}

// Mean is the unweighted mean of several sets' accuracies at k attempts.
type Mean struct {
	Attempts int        `json:"attempts"`
	Accuracy float64    `json:"accuracy"`
	Interval [2]float64 `json:"ci95"` // percentile bootstrap over problems, within each set
}

// NewSet scores the episodes of one set, given by number of attempts k. Each k must hold every problem exactly once,
// in any order, Episode.Index being its position in problems.
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

// NewScore scores the episodes of one set at k attempts; see NewSet.
func NewScore(k int, problems []dataset.Problem, episodes []rollout.Episode) (Score, error) {
	if len(problems) == 0 || len(episodes) != len(problems) {
		return Score{}, fmt.Errorf("%w: %d episodes of %d problems at k = %d", ErrResult, len(episodes), len(problems), k)
	}
	s := Score{
		Attempts: k, N: len(problems), Optimum: dataset.Optimum(problems, k),
		SolvedAt: make([]int, len(problems)), Outcomes: map[rollout.Outcome]int{}, Shares: map[rollout.Outcome]float64{},
	}
	seen := make([]bool, len(problems))
	for i := range episodes {
		e := &episodes[i]
		switch {
		case e.Index < 0 || e.Index >= len(problems) || seen[e.Index]:
			return Score{}, fmt.Errorf("%w: episode of problem %s has index %d, used before or not in 0…%d", ErrResult, e.ProblemID, e.Index, len(problems)-1)
		case e.ProblemID != problems[e.Index].ID:
			return Score{}, fmt.Errorf("%w: episode %d is of problem %s, want %s", ErrResult, e.Index, e.ProblemID, problems[e.Index].ID)
		case e.MaxTries != k:
			return Score{}, fmt.Errorf("%w: episode of problem %s was allowed %d attempts, want %d", ErrResult, e.ProblemID, e.MaxTries, k)
		}
		seen[e.Index] = true
		s.add(e)
	}
	s.finish()
	return s, nil
}

// add counts one episode.
func (s *Score) add(e *rollout.Episode) {
	solved := e.Solved()
	s.SolvedAt[e.Index] = solved
	if solved >= 0 {
		s.Correct++
	}
	if solved > 0 {
		s.Recovered++
	}
	for i, a := range e.Attempts {
		s.Outcomes[a.Outcome]++
		s.TokensSampled += a.End - a.Start
		if a.Opaque {
			s.Opaque++
		}
		if a.PaperCorrect != a.TypedCorrect {
			s.PaperDisagrees++
		}
		if i > 0 {
			s.Retries++
			if repeats(e.Attempts[:i], a) {
				s.Repeats++
			}
		}
	}
}

// finish turns counts into shares.
func (s *Score) finish() {
	s.Accuracy = float64(s.Correct) / float64(s.N)
	s.Interval = Wilson(s.Correct, s.N)
	s.TokensPerEpisodeMean = float64(s.TokensSampled) / float64(s.N)
	s.Bounded = s.Outcomes[rollout.Bounded]
	attempts := 0
	for _, n := range s.Outcomes {
		attempts += n
	}
	for outcome, n := range s.Outcomes {
		s.Shares[outcome] = float64(n) / float64(attempts)
	}
	if s.Retries > 0 {
		s.RepeatShare = float64(s.Repeats) / float64(s.Retries)
	}
}

// repeats reports whether a retry gives an answer that was given before, in these words or others.
func repeats(earlier []rollout.Attempt, a rollout.Attempt) bool {
	return a.Answer != "" && slices.ContainsFunc(earlier, func(b rollout.Attempt) bool {
		return b.Answer == a.Answer || b.Answer != "" && verify.Compare(b.Answer, a.Answer, verify.Options{}).Correct
	})
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
			if score.N != set.Problems || len(score.SolvedAt) != score.N {
				return nil, fmt.Errorf("%w: set %s at k = %d has %d of %d problems", ErrResult, set.Name, score.Attempts, len(score.SolvedAt), set.Problems)
			}
		}
	}
	return &r, nil
}
