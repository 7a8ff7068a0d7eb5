package evaluate

import (
	"fmt"

	"multiattempt/internal/blob"
	"multiattempt/internal/dataset"
	"multiattempt/internal/rollout"
	"multiattempt/internal/verify"
)

// Score is what k attempts achieve on one set: N problems, Samples episodes of each.
type Score struct {
	Attempts int     `json:"attempts"` // k
	Samples  int     `json:"samples"`  // episodes of each problem
	Correct  int     `json:"correct"`  // episodes
	N        int     `json:"n"`        // problems
	Accuracy float64 `json:"accuracy"` // Correct/(N·Samples)
	// Interval is Wilson's with one sample of each problem, else a percentile bootstrap over problems.
	Interval [2]float64 `json:"ci95"`
	// Optimum is the best expected accuracy; 1 when every question determines its answer.
	Optimum float64 `json:"optimum"`
	// SolvedAt is the attempt (from 0) that was right, or −1: one entry per episode, a problem's samples together, [P·Samples].
	SolvedAt []int `json:"solved_at"`
	// Modes has, for either grading mode, the episodes in which some attempt was right by its rules. The result's own mode
	// answered during the dialogue, so that the other one judges attempts that were made under the first one's verdicts.
	Modes map[verify.Mode]Proportion `json:"modes"`

	// Outcomes counts attempts by how they ended; Shares are the same divided by all attempts made.
	Outcomes map[rollout.Outcome]int     `json:"outcomes"`
	Shares   map[rollout.Outcome]float64 `json:"outcome_shares"`
	// FailedFirst counts episodes whose first attempt was not right; Recovered those of them that were right later.
	FailedFirst    int     `json:"failed_first"`
	Recovered      int     `json:"recovered"`
	RecoveredShare float64 `json:"recovered_share"` // Recovered/FailedFirst; 0 when no first attempt failed
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
	// Episodes name the stored dialogues, shard by shard.
	Episodes []blob.Ref `json:"episodes,omitempty"`
}

// Proportion is a share of episodes with its interval, which is made as Score.Interval is.
type Proportion struct {
	Correct  int        `json:"correct"`
	Accuracy float64    `json:"accuracy"`
	Interval [2]float64 `json:"ci95"`
}

// NewScore scores the episodes of one set at k attempts; see NewSet.
func NewScore(k int, problems []dataset.Problem, episodes []rollout.Episode) (Score, error) {
	at, samples, err := arrange(k, problems, episodes)
	if err != nil {
		return Score{}, err
	}
	s := Score{
		Attempts: k, N: len(problems), Samples: samples, Optimum: dataset.Optimum(problems, k), SolvedAt: make([]int, len(at)),
		Outcomes: map[rollout.Outcome]int{}, Shares: map[rollout.Outcome]float64{}, Modes: map[verify.Mode]Proportion{},
	}
	typed, paper := make([]bool, len(at)), make([]bool, len(at))
	for i, e := range at {
		s.SolvedAt[i] = e.Solved()
		s.add(e)
		for _, a := range e.Attempts {
			typed[i], paper[i] = typed[i] || a.TypedCorrect, paper[i] || a.PaperCorrect
		}
	}
	s.finish()
	s.Modes[verify.ModeTyped], s.Modes[verify.ModePaper] = s.proportion(typed, "typed"), s.proportion(paper, "paper")
	return s, nil
}

// arrange puts episodes in the order of problems, a problem's samples together, and makes sure that none is missing.
func arrange(k int, problems []dataset.Problem, episodes []rollout.Episode) (at []*rollout.Episode, samples int, err error) {
	if len(problems) == 0 || len(episodes) == 0 || len(episodes)%len(problems) != 0 {
		return nil, 0, fmt.Errorf("%w: %d episodes of %d problems at k = %d", ErrResult, len(episodes), len(problems), k)
	}
	samples = len(episodes) / len(problems)
	at = make([]*rollout.Episode, len(episodes))
	for i := range episodes {
		e := &episodes[i]
		place := e.Index*samples + e.Sample
		switch {
		case e.Index < 0 || e.Index >= len(problems) || e.Sample < 0 || e.Sample >= samples || at[place] != nil:
			return nil, 0, fmt.Errorf("%w: episode of problem %s has index %d and sample %d, used before or not in 0…%d and 0…%d",
				ErrResult, e.ProblemID, e.Index, e.Sample, len(problems)-1, samples-1)
		case e.ProblemID != problems[e.Index].ID:
			return nil, 0, fmt.Errorf("%w: episode %d is of problem %s, want %s", ErrResult, e.Index, e.ProblemID, problems[e.Index].ID)
		case e.MaxTries != k:
			return nil, 0, fmt.Errorf("%w: episode of problem %s was allowed %d attempts, want %d", ErrResult, e.ProblemID, e.MaxTries, k)
		}
		at[place] = e
	}
	return at, samples, nil
}

// add counts one episode.
func (s *Score) add(e *rollout.Episode) {
	solved := e.Solved()
	if solved >= 0 {
		s.Correct++
	}
	if solved != 0 {
		s.FailedFirst++
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
			if e.Repeated(i) {
				s.Repeats++
			}
		}
	}
}

// finish turns counts into shares.
func (s *Score) finish() {
	episodes := float64(s.N * s.Samples)
	s.Accuracy = float64(s.Correct) / episodes
	s.Interval = s.interval(s.perProblem(), s.Correct, "accuracy")
	s.TokensPerEpisodeMean = float64(s.TokensSampled) / episodes
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
	if s.FailedFirst > 0 {
		s.RecoveredShare = float64(s.Recovered) / float64(s.FailedFirst)
	}
}

// proportion counts the episodes that are right, [P·Samples].
func (s *Score) proportion(right []bool, name string) Proportion {
	p, values := Proportion{}, make([]float64, s.N)
	for i, r := range right {
		if r {
			p.Correct++
			values[i/s.Samples] += 1 / float64(s.Samples)
		}
	}
	p.Accuracy = float64(p.Correct) / float64(len(right))
	p.Interval = s.interval(values, p.Correct, name)
	return p
}

// interval is Wilson's where every problem has one sample: a proportion. Samples of a problem are not independent of each
// other, so that with several the problems are resampled. values: share of right samples by problem, [P].
func (s *Score) interval(values []float64, correct int, name string) [2]float64 {
	if s.Samples == 1 {
		return Wilson(correct, s.N)
	}
	return bootstrap([][]float64{values}, name)
}

// perProblem returns each problem's share of solved samples, [P].
func (s Score) perProblem() []float64 {
	values := make([]float64, s.N)
	for i, at := range s.SolvedAt {
		if at >= 0 {
			values[i/s.Samples] += 1 / float64(s.Samples)
		}
	}
	return values
}
