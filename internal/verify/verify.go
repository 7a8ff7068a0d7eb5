// Package verify decides whether a model's answer equals the gold answer of a mathematical problem.
//
// An answer is extracted from the model's text, parsed into a typed tree and compared in the way that
// the gold answer's type asks for: exactly where exactness is possible, by interval arithmetic where it
// is not. Every step is bounded by work done, never by the clock, so a verdict depends on its inputs
// alone. docs/grading.md describes every policy with an example.
package verify

// Mode selects the rules of a comparison. The zero value means ModeTyped.
type Mode string

const (
	// ModeTyped compares by the gold answer's mathematical type. It is what training and evaluation use.
	ModeTyped Mode = "typed"
	// ModePaper follows the evaluation grader of Chung, Du and Fu (arXiv 2503.04808), which descends from
	// ToRA and Qwen2.5-Math, so that scores stay comparable with published ones.
	ModePaper Mode = "paper"
)

// Options of a grading. The zero value is the default of training and evaluation.
type Options struct {
	// Mode selects the rules; empty means ModeTyped.
	Mode Mode
	// Unboxed also accepts, where the text has no box, the phrase "final answer is …" or else the last
	// number: for models that were not taught to box their answers.
	Unboxed bool
}

// Status is the outcome of a grading.
type Status string

const (
	// StatusEqual: the answer equals the gold answer.
	StatusEqual Status = "equal"
	// StatusUnequal: the answer differs from the gold answer.
	StatusUnequal Status = "unequal"
	// StatusNoAnswer: the text holds no answer, an empty one, or one that was cut off.
	StatusNoAnswer Status = "no_answer"
	// StatusBounded: a work limit was reached before the question was decided. Neither right nor wrong.
	StatusBounded Status = "bounded"
)

// Verdict is the result of grading one answer.
type Verdict struct {
	// Correct is true exactly if Status is StatusEqual.
	Correct bool
	Status  Status
	// Opaque is true if either answer could not be parsed, so that only normalised tokens were compared.
	Opaque bool
	// Extracted is the answer found in the text, "" if there is none.
	Extracted string
	// HasAnswer is true if the text holds a complete, non-empty answer.
	HasAnswer bool
	// Truncated is true if the text's only boxes are unclosed: the answer was cut off.
	Truncated bool
	// GoldType and PredType name the types of the two parsed answers, such as "fraction" or "interval".
	GoldType, PredType string
	// Rule names the policy that decided, as listed in docs/grading.md.
	Rule string
}

// Grade extracts the answer from a model's response and compares it with the gold answer.
// In ModePaper the extraction, too, is the paper's. It never panics and its work is bounded.
func Grade(gold, response string, o Options) Verdict {
	if o.Mode == ModePaper {
		return gradePaper(gold, response)
	}
	answer, status := Extract(response, o)
	switch status {
	case ExtractFound:
		v := Compare(gold, answer, o)
		v.Extracted, v.HasAnswer = answer, true
		return v
	case ExtractTruncated:
		return Verdict{Status: StatusNoAnswer, Truncated: true, Rule: "unclosed_box"}
	case ExtractEmpty:
		return Verdict{Status: StatusNoAnswer, Rule: "empty_box"}
	default:
		return Verdict{Status: StatusNoAnswer, Rule: "no_box"}
	}
}
