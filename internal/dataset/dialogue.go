package dataset

import (
	"multiattempt/internal/seed"
	"multiattempt/internal/spec"
)

// Roles of a dialogue's turns.
const (
	RoleSystem    = "system"
	RoleUser      = "user"
	RoleAssistant = "assistant"
)

// Turn is one message of a dialogue to fine-tune on.
type Turn struct {
	Role    string
	Content string
	Imitate bool // the turn's tokens, its end of turn included, are trained on
}

// SmudgedDialogue returns a whole multi-attempt dialogue about a smudged sum of the training split, as a stubborn
// person would hold it. An attempt names the digit it supposes and boxes the sum; the arithmetic is always right. The
// number of attempts told is uniform over 1…d.MaxAttempts. The first digit is drawn uniformly from the possible ones; a
// retry repeats the one just rejected with probability d.Stubborn, else it is drawn uniformly from those not tried yet.
// Feedback follows and the dialogue ends exactly as in an episode: at the right answer or when the attempts are used up.
// A function of its arguments.
func SmudgedDialogue(tuningSeed uint64, step, row int, d spec.TuningData, p spec.Prompt) []Turn {
	at := []uint64{tuningSeed, uint64(step), uint64(row)}
	q := drawQuestion("smudged/tuning", nil, at...)
	problem := q.hide("", append(at, 1)...)
	answers := q.answers()
	draw := seed.Rand("smudged/dialogue", at...)
	allowed := 1 + draw.IntN(d.MaxAttempts)

	turns := opening(p, allowed, problem.Question)
	untried := draw.Perm(len(answers))
	var try int
	for left := allowed - 1; ; left-- {
		if left == allowed-1 || draw.Float64() >= d.Stubborn {
			try, untried = untried[0], untried[1:]
		}
		turns = append(turns, Turn{Role: RoleAssistant, Content: q.attempt(try), Imitate: true})
		if answers[try] == problem.Answer || left == 0 {
			return turns
		}
		failed := spec.Failure{Left: left, Attempt: allowed - left, Answer: answers[try], Hint: p.HintAfter(nil, allowed-left)}
		turns = append(turns, feedback(p, failed, problem.Question)...)
	}
}

// opening returns the turns before the first attempt. An empty system text is no turn.
func opening(p spec.Prompt, attempts int, question string) []Turn {
	user := Turn{Role: RoleUser, Content: question}
	if text := p.SystemText(attempts); text != "" {
		return []Turn{{Role: RoleSystem, Content: text}, user}
	}
	return []Turn{user}
}

// feedback returns the turns between a failed attempt and the next one.
func feedback(p spec.Prompt, failed spec.Failure, question string) []Turn {
	turns := []Turn{{Role: p.FeedbackRole, Content: p.FeedbackText(failed)}}
	if p.RepeatQuestion {
		turns = append(turns, Turn{Role: RoleUser, Content: question})
	}
	return turns
}
