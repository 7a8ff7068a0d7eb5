package verify_test

import (
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/verify"
)

// FuzzGrade checks on any pair that grading ends with a consistent verdict, twice the same and within its memory, in both modes.
func FuzzGrade(f *testing.F) {
	for _, s := range hostileAnswers() {
		if len(s) <= 5000 {
			f.Add(`\frac{1}{2}`, s)
			f.Add(s, `\boxed{`+s+`}`)
		}
	}
	f.Fuzz(func(t *testing.T, gold, response string) {
		for _, o := range []verify.Options{{}, {Unboxed: true}, {Mode: verify.ModePaper}} {
			v := gradeWithin(t, gold, response, o)
			requireConsistent(t, v)
			require.Equal(t, v, verify.Grade(gold, response, o), "verdicts repeat")
		}
		if verify.CompleteBox(response) {
			_, status := verify.Extract(response, verify.Options{})
			require.Contains(t, []verify.ExtractStatus{verify.ExtractFound, verify.ExtractEmpty}, status)
		}
	})
}

// FuzzParse checks on any answer that it equals itself, if it is one.
func FuzzParse(f *testing.F) {
	for _, s := range hostileAnswers() {
		if len(s) <= 5000 {
			f.Add(s)
		}
	}
	f.Fuzz(func(t *testing.T, s string) {
		typ, opaque := verify.InspectGold(s)
		require.Equal(t, typ == "opaque", opaque)
		v := verify.Compare(s, s, verify.Options{})
		requireConsistent(t, v)
		if v.HasAnswer && v.Status != verify.StatusBounded && utf8.ValidString(s) && !v.Opaque {
			require.Equal(t, verify.StatusEqual, v.Status, "%q equals itself", s)
		}
	})
}

// requireConsistent checks what every verdict promises.
func requireConsistent(t *testing.T, v verify.Verdict) {
	t.Helper()
	require.Equal(t, v.Status == verify.StatusEqual, v.Correct)
	require.Contains(t, []verify.Status{verify.StatusEqual, verify.StatusUnequal, verify.StatusNoAnswer, verify.StatusBounded}, v.Status)
	require.NotEmpty(t, verify.ExplainRule(v.Rule), "rule %q is documented", v.Rule)
	require.False(t, v.Truncated && v.HasAnswer)
	require.NotEqual(t, "internal", v.Rule, "no input may make the grader fail")
}
