// Package dataset turns named sources into problems, and a seed and a step into the problems of that step.
package dataset

// Problem is a question with a known answer.
type Problem struct {
	ID       string `json:"id"` // unique within its set
	Question string `json:"question"`
	Answer   string `json:"answer"` // gold answer, without a box
	Level    int    `json:"level,omitempty"`
}

// Presentation is one showing of a problem: the answer as it holds this time, and the number of attempts it gets.
// All episodes of a group share a presentation.
type Presentation struct {
	Problem
	Index    int `json:"index"`    // position p in the step's batch, 0 ≤ p < P
	Attempts int `json:"attempts"` // N
}
