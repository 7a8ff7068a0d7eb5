package verify_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/verify"
)

func TestExtract(t *testing.T) {
	for _, c := range []struct {
		name, text, answer string
		status             verify.ExtractStatus
	}{
		{"box", `so \boxed{42}.`, "42", verify.ExtractFound},
		{"frame", `so \fbox{42}.`, "42", verify.ExtractFound},
		{"last of several", `\boxed{1} no, \boxed{2}`, "2", verify.ExtractFound},
		{"nested braces", `\boxed{\frac{1}{\sqrt{2}}}`, `\frac{1}{\sqrt{2}}`, verify.ExtractFound},
		{"escaped braces", `\boxed{\left\{1,2\right\}}`, `\left\{1,2\right\}`, verify.ExtractFound},
		{"text inside", `\boxed{5 \text{ cm}}`, `5 \text{ cm}`, verify.ExtractFound},
		{"line breaks", "\\boxed{\n  1,\n  2\n}", "1,\n  2", verify.ExtractFound},
		{"space before the brace", `\boxed {7}`, "7", verify.ExtractFound},
		{"outermost of nested boxes", `\boxed{x = \boxed{3}}`, `x = \boxed{3}`, verify.ExtractFound},
		{"stray brace before", `the set {1, 2 gives \boxed{3}`, "3", verify.ExtractFound},
		{"stray brace after", `\boxed{3} }}`, "3", verify.ExtractFound},
		{"doubled backslash", `\\boxed{3}`, "3", verify.ExtractFound},
		{"after a line break command", `x\\\boxed{3}`, "3", verify.ExtractFound},
		{"closed box before an unclosed one", `\boxed{3} and \boxed{4`, "3", verify.ExtractFound},
		{"inside an unclosed one", `\boxed{x \boxed{4}`, "4", verify.ExtractFound},
		{"unclosed", `\boxed{\frac{1}{2}`, "", verify.ExtractTruncated},
		{"cut off at the brace", `\boxed{`, "", verify.ExtractTruncated},
		{"empty", `\boxed{}`, "", verify.ExtractEmpty},
		{"blank", `\boxed{  }`, "", verify.ExtractEmpty},
		{"no box", "42", "", verify.ExtractNone},
		{"no backslash", "boxed{42}", "", verify.ExtractNone},
		{"other command", `\boxedfoo{42}`, "", verify.ExtractNone},
		{"nothing", "", "", verify.ExtractNone},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer, status := verify.Extract(c.text, verify.Options{})
			require.Equal(t, c.answer, answer)
			require.Equal(t, c.status, status)
			require.Equal(t, status == verify.ExtractFound || status == verify.ExtractEmpty, verify.CompleteBox(c.text))
		})
	}
}

func TestExtractUnboxed(t *testing.T) {
	for text, want := range map[string]string{
		"The final answer is 5.":                        "5",
		"The answer is $\\frac{1}{2}$. I hope so.":      `\frac{1}{2}`,
		"Answer: (1, 2)\nThanks":                        "(1, 2)",
		"**Final answer:** 7":                           "7",
		"first 3, then 12.5":                            "12.5",
		"it costs 1,234 in all":                         "1,234",
		"so x = -3":                                     "-3",
		"a range of 3-4":                                "4",
		"no digits at all":                              "",
		"The answer is 3. But then: the answer is 4.":   "4",
		"a box wins: \\boxed{9}; the final answer is 8": "9",
	} {
		answer, status := verify.Extract(text, verify.Options{Unboxed: true})
		require.Equal(t, want, answer, text)
		require.Equal(t, want != "", status == verify.ExtractFound, text)
	}
}

func TestOnlyTheEndOfAVeryLongTextIsSearched(t *testing.T) {
	long := strings.Repeat("é", 2<<20)
	answer, status := verify.Extract(long+`\boxed{1}`, verify.Options{})
	require.Equal(t, verify.ExtractFound, status)
	require.Equal(t, "1", answer)
	_, status = verify.Extract(`\boxed{1}`+long, verify.Options{})
	require.Equal(t, verify.ExtractNone, status)
}

func TestGradeTellsWhyThereIsNoAnswer(t *testing.T) {
	require.Equal(t, verify.Verdict{Status: verify.StatusNoAnswer, Rule: "no_box"}, verify.Grade("1", "1", verify.Options{}))
	require.Equal(t, verify.Verdict{Status: verify.StatusNoAnswer, Rule: "empty_box"}, verify.Grade("", `\boxed{}`, verify.Options{}))
	require.Equal(t, verify.Verdict{Status: verify.StatusNoAnswer, Truncated: true, Rule: "unclosed_box"},
		verify.Grade("1", `\boxed{1`, verify.Options{}))
}
