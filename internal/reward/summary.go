package reward

import "multiattempt/internal/rollout"

// Summary describes a batch of episodes. Shares lie in 0…1; their denominators stand in their names.
type Summary struct {
	Episodes      int     `json:"episodes"`
	Attempts      int     `json:"attempts"`
	RewardMean    float64 `json:"reward_mean_per_episode"`
	AttemptsMean  float64 `json:"attempts_mean_per_episode"`
	SampledTokens int     `json:"sampled_tokens"`
	// SolvedAt[a] is the share of episodes solved at attempt a (from 0); Solved is their sum.
	SolvedAt []float64 `json:"solved_at_attempt_share_of_episodes"`
	Solved   float64   `json:"solved_share_of_episodes"`
	// Outcomes are shares of attempts.
	Outcomes map[rollout.Outcome]float64 `json:"outcomes_share_of_attempts"`
	// Repeats is the share of retries that give an earlier answer of their episode again.
	Repeats float64 `json:"repeats_share_of_retries"`
	Retries int     `json:"retries"`
	// Recovered is the share of episodes with a failed first attempt and leave to retry that were solved later.
	Recovered float64 `json:"recovered_share_of_failed_first"`
	Bounded   int     `json:"bounded_attempts"` // the grader hit a work limit
	Opaque    int     `json:"opaque_attempts"`  // compared as tokens only
	Disagreed int     `json:"grading_disagreements"`
}

// Summarise counts what happened in episodes whose rewards are given in the same order.
func Summarise(episodes []rollout.Episode, rewards []Earned) Summary {
	s := Summary{Episodes: len(episodes), Outcomes: map[rollout.Outcome]float64{}}
	var total float64
	var repeats, failedFirst, recovered int
	solvedAt := []int{}
	for i := range episodes {
		e := &episodes[i]
		total += rewards[i].Episode
		for len(solvedAt) < e.MaxTries {
			solvedAt = append(solvedAt, 0)
		}
		solved := e.Solved()
		if solved >= 0 {
			solvedAt[solved]++
		}
		if e.MaxTries > 1 && solved != 0 {
			failedFirst++
			if solved > 0 {
				recovered++
			}
		}
		repeats += s.countAttempts(e)
	}
	s.RewardMean = share(total, s.Episodes)
	s.AttemptsMean = share(float64(s.Attempts), s.Episodes)
	s.SolvedAt = make([]float64, len(solvedAt))
	for a, n := range solvedAt {
		s.SolvedAt[a] = share(float64(n), s.Episodes)
		s.Solved += s.SolvedAt[a]
	}
	for o, n := range s.Outcomes {
		s.Outcomes[o] = share(n, s.Attempts)
	}
	s.Repeats = share(float64(repeats), s.Retries)
	s.Recovered = share(float64(recovered), failedFirst)
	return s
}

// countAttempts adds one episode's attempts and returns how many retries repeat an earlier answer.
func (s *Summary) countAttempts(e *rollout.Episode) (repeats int) {
	for a, attempt := range e.Attempts {
		s.Attempts++
		s.SampledTokens += attempt.End - attempt.Start
		s.Outcomes[attempt.Outcome]++
		if a > 0 {
			s.Retries++
			if e.Repeated(a) {
				repeats++
			}
		}
		if attempt.Outcome == rollout.Bounded {
			s.Bounded++
		}
		if attempt.Opaque {
			s.Opaque++
		}
		if attempt.TypedCorrect != attempt.PaperCorrect {
			s.Disagreed++
		}
	}
	return repeats
}

func share(part float64, of int) float64 {
	if of == 0 {
		return 0
	}
	return part / float64(of)
}
