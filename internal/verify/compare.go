package verify

import (
	"math/big"
	"strings"
)

// Compare decides whether an extracted answer equals the gold answer.
// It never panics and its work is bounded for every input.
func Compare(gold, answer string, o Options) Verdict {
	gold, answer = strings.TrimSpace(gold), strings.TrimSpace(answer)
	v := Verdict{Status: StatusUnequal, Extracted: answer, HasAnswer: answer != "", Rule: "tokens"}
	switch {
	case answer == "":
		v.Status = StatusNoAnswer
	case gold == answer:
		v.Correct, v.Status = true, StatusEqual
	default:
		g, okG := new(big.Rat).SetString(strings.ReplaceAll(gold, ",", ""))
		a, okA := new(big.Rat).SetString(strings.ReplaceAll(answer, ",", ""))
		if okG && okA && len(gold)+len(answer) < 200 && g.Cmp(a) == 0 {
			v.Correct, v.Status, v.Rule = true, StatusEqual, "exact"
		}
	}
	return v
}

// InspectGold parses a gold answer and returns the name of its type. opaque means that it could not be
// parsed: answers would be compared with it as normalised tokens only, which a data set should report.
func InspectGold(gold string) (typ string, opaque bool) {
	if _, ok := new(big.Rat).SetString(strings.TrimSpace(gold)); ok {
		return "number", false
	}
	return "opaque", true
}
