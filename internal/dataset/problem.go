// Package dataset turns named sources into problems, and a seed and a step into the problems of that step.
package dataset

// Problem is a question with a known answer.
type Problem struct {
	ID       string `json:"id"` // unique within its set
	Question string `json:"question"`
	Answer   string `json:"answer"`          // gold answer, without a box
	Unit     string `json:"unit,omitempty"`  // the unit that the answer is asked in, for people; not compared
	Level    int    `json:"level,omitempty"` // difficulty; 0: unknown
	// Choices is the number of equally likely answers that the question leaves open: a reader who is told nothing more
	// is right once in Choices. 0 and 1 both mean that the question determines its answer.
	Choices int `json:"choices,omitempty"`
	// Hints are shown after failed attempts, where the feedback has a place for them: one for each, the last of them for all
	// that follow.
	Hints []string `json:"hints,omitempty"`
}

// Presentation is one showing of a problem: the answer as it holds this time, and the number of attempts it gets.
// All episodes of a group share a presentation.
type Presentation struct {
	Problem
	Index    int `json:"index"`    // position p in the step's batch, 0 ≤ p < P
	Attempts int `json:"attempts"` // N
}

// Optimum is the best expected share of solved problems at k attempts with a verifier: the mean of min(k, c)/c over the
// problems' numbers of choices c. It is 1 when every question determines its answer.
func Optimum(problems []Problem, k int) float64 {
	if len(problems) == 0 {
		return 0
	}
	sum := 0.0
	for _, p := range problems {
		c := max(p.Choices, 1)
		sum += float64(min(k, c)) / float64(c)
	}
	return sum / float64(len(problems))
}
