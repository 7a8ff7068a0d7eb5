package dataset

import (
	"fmt"
	"strings"

	"multiattempt/internal/verify"
)

// maxExamples is how many examples a message shows.
const maxExamples = 5

// Report counts the gold answers that the grader could not parse. Answers would be compared with those as normalised
// text only, which rejects right answers in another notation.
type Report struct {
	Problems int       `json:"problems"`
	Opaque   int       `json:"opaque"`
	Examples []Problem `json:"examples,omitempty"` // the first few opaque ones
}

// inspect grades nothing: it asks the grader what it makes of each gold answer.
func inspect(problems []Problem) Report {
	r := Report{Problems: len(problems)}
	for _, p := range problems {
		if _, opaque := verify.InspectGold(p.Answer); !opaque {
			continue
		}
		if r.Opaque++; len(r.Examples) < maxExamples {
			r.Examples = append(r.Examples, p)
		}
	}
	return r
}

// String is one line for a person, empty when every gold answer was understood.
func (r Report) String() string {
	if r.Opaque == 0 {
		return ""
	}
	shown := make([]string, len(r.Examples))
	for i, p := range r.Examples {
		shown[i] = fmt.Sprintf("%s: %q", p.ID, p.Answer)
	}
	return fmt.Sprintf("%d of %d gold answers could not be parsed and are compared as text only, such as %s",
		r.Opaque, r.Problems, strings.Join(shown, ", "))
}
