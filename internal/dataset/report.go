package dataset

import (
	"fmt"
	"strings"

	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"multiattempt/internal/verify"
)

// maxExamples is how many examples are kept, and maxShown how many runes of an answer a message shows.
const (
	maxExamples = 5
	maxShown    = 60
)

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
		answer := p.Answer
		if runes := []rune(answer); len(runes) > maxShown {
			answer = string(runes[:maxShown]) + "…"
		}
		shown[i] = fmt.Sprintf("%s: %q", p.ID, answer)
	}
	return message.NewPrinter(language.English).Sprintf("%d of %d gold answers cannot be parsed and are compared as text only, e.g. %s",
		r.Opaque, r.Problems, strings.Join(shown, ", "))
}
