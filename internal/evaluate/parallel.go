package evaluate

import (
	"fmt"
	"slices"

	"multiattempt/internal/blob"
	"multiattempt/internal/dataset"
	"multiattempt/internal/rollout"
	"multiattempt/internal/seed"
	"multiattempt/internal/verify"
)

// Parallel is what independent single attempts achieve on a set: what k attempts in a dialogue must be better than to be
// worth their order. Every attempt is a dialogue of its own in which one attempt is told, sampled at a temperature.
type Parallel struct {
	Samples             int             `json:"samples"` // of each problem, n
	Correct             []int           `json:"correct"` // samples that were right, by problem, [P]
	TokensSampled       int             `json:"tokens_sampled"`
	TokensPerSampleMean float64         `json:"tokens_sampled_mean_per_sample"`
	Scores              []ParallelScore `json:"scores"` // ascending k, the same k as the set's scores as far as n reaches
	Episodes            []blob.Ref      `json:"episodes,omitempty"`
}

// ParallelScore is what k samples in parallel achieve.
type ParallelScore struct {
	Attempts int `json:"attempts"` // k
	// Pass is pass@k, whether any of k samples is right, by the unbiased estimate 1 − C(n−c, k)/C(n, k) (Chen et al.,
	// "Evaluating Large Language Models Trained on Code", arXiv 2107.03374). Like attempts in a dialogue it has a verifier.
	Pass         float64    `json:"pass"`
	PassInterval [2]float64 `json:"pass_ci95"` // percentile bootstrap over problems
	// Majority is how often the most frequent answer among k samples is right (Wang et al., "Self-Consistency Improves
	// Chain of Thought Reasoning", arXiv 2203.11171), which needs no verifier. Of equally frequent ones the first counts.
	Majority         float64    `json:"majority"`
	MajorityInterval [2]float64 `json:"majority_ci95"`
	// TokensPerProblemMean is the price of k samples.
	TokensPerProblemMean float64 `json:"tokens_sampled_mean_per_problem"`
	// EqualSamples is the number of samples, from 1 to n, that the tokens of k attempts in a dialogue pay for (rounded down),
	// and PassEqual is pass@EqualSamples: the same budget in tokens rather than in attempts. 0 where the set has no such k.
	EqualSamples int     `json:"equal_tokens_samples,omitempty"`
	PassEqual    float64 `json:"equal_tokens_pass,omitempty"`
}

// voteDraws is the number of subsets of k samples that a majority vote is averaged over.
const voteDraws = 64

// AddParallel scores independent single attempts at every k of the set's scores that they suffice for. There must be
// the same number of samples of every problem.
func (s *Set) AddParallel(problems []dataset.Problem, episodes []rollout.Episode) error {
	at, n, err := arrange(1, problems, episodes)
	if err != nil {
		return fmt.Errorf("set %s, parallel: %w", s.Name, err)
	}
	p := &Parallel{Samples: n, Correct: make([]int, len(problems))}
	for i, e := range at {
		if e.Solved() >= 0 {
			p.Correct[i/n]++
		}
		for _, a := range e.Attempts {
			p.TokensSampled += a.End - a.Start
		}
	}
	p.TokensPerSampleMean = float64(p.TokensSampled) / float64(len(at))
	ballots := make([][]ballot, len(problems))
	for i := range ballots {
		ballots[i] = count(at[i*n : (i+1)*n])
	}
	for _, sequential := range s.Scores {
		if sequential.Attempts <= n {
			p.Scores = append(p.Scores, p.score(sequential, ballots))
		}
	}
	s.Parallel = p
	return nil
}

// Beside returns what k samples in parallel achieve; ok is false when the set has no such score.
func (s Set) Beside(k int) (ParallelScore, bool) {
	if s.Parallel != nil {
		for _, p := range s.Parallel.Scores {
			if p.Attempts == k {
				return p, true
			}
		}
	}
	return ParallelScore{}, false
}

// score scores k samples beside k attempts in a dialogue.
func (p *Parallel) score(sequential Score, ballots [][]ballot) ParallelScore {
	k := sequential.Attempts
	out := ParallelScore{Attempts: k, TokensPerProblemMean: float64(k) * p.TokensPerSampleMean}
	pass, majority := make([]float64, len(p.Correct)), make([]float64, len(p.Correct))
	for i, c := range p.Correct {
		pass[i], majority[i] = passAt(k, p.Samples, c), vote(k, ballots[i], uint64(i))
	}
	out.Pass, out.PassInterval = mean(pass), bootstrap([][]float64{pass}, "pass")
	out.Majority, out.MajorityInterval = mean(majority), bootstrap([][]float64{majority}, "majority")
	if p.TokensPerSampleMean > 0 {
		paid := int(sequential.TokensPerEpisodeMean / p.TokensPerSampleMean)
		out.EqualSamples = min(max(paid, 1), p.Samples)
		for i, c := range p.Correct {
			pass[i] = passAt(out.EqualSamples, p.Samples, c)
		}
		out.PassEqual = mean(pass)
	}
	return out
}

// passAt is the chance that k of n samples, drawn without replacement, hold one of the c that are right.
func passAt(k, n, c int) float64 {
	if n-c < k {
		return 1
	}
	miss := 1.0
	for i := range k {
		miss *= float64(n-c-i) / float64(n-i)
	}
	return 1 - miss
}

// ballot is one sample's vote: the class of answers that it belongs to, −1 without an answer.
type ballot struct {
	class int
	right bool
}

// count sorts a problem's samples by answer: equal in any notation is equal.
func count(samples []*rollout.Episode) []ballot {
	ballots := make([]ballot, len(samples))
	var classes []string
	for i, e := range samples {
		ballots[i].class = -1
		if len(e.Attempts) == 0 || e.Attempts[0].Answer == "" {
			continue
		}
		answer := e.Attempts[0].Answer
		class := slices.IndexFunc(classes, func(c string) bool {
			return c == answer || verify.Compare(c, answer, verify.Options{}).Correct
		})
		if class < 0 {
			class = len(classes)
			classes = append(classes, answer)
		}
		ballots[i] = ballot{class: class, right: e.Attempts[0].Outcome == rollout.Correct}
	}
	return ballots
}

// vote is how often the majority of k ballots is right, over random subsets of the problem's ballots; the draws depend on
// the problem's place alone.
func vote(k int, ballots []ballot, problem uint64) float64 {
	right, draws := 0, voteDraws
	if k == len(ballots) {
		draws = 1
	}
	draw := seed.Rand("evaluate/vote", problem, uint64(k))
	for range draws {
		order := draw.Perm(len(ballots))[:k]
		if draws == 1 {
			slices.Sort(order)
		}
		votes, best := map[int]int{}, -1
		for _, i := range order {
			if b := ballots[i]; b.class >= 0 {
				votes[b.class]++
			}
		}
		for _, i := range order { // in the order of draws, so that the first of equally frequent answers wins
			if b := ballots[i]; b.class >= 0 && (best < 0 || votes[b.class] > votes[ballots[best].class]) {
				best = i
			}
		}
		if best >= 0 && ballots[best].right {
			right++
		}
	}
	return float64(right) / float64(draws)
}

// mean is the arithmetic mean of at least one value.
func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}
