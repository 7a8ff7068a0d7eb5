package verify_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/verify"
)

// hostileAnswers are inputs made to hang, crash or exhaust a grader. They seed the fuzz targets.
func hostileAnswers() []string {
	rep := strings.Repeat
	nest := func(open, closing string, n int) string { return rep(open, n) + "1" + rep(closing, n) }
	return []string{
		// Towers of powers and huge numbers.
		"9**9**9", "9^9^9", "10^{10^{10^{10}}}", "5^{5^{5^{5^5}}}", "2^{10^{10}}", "(10**9)**(10**9)", "10**100000",
		"2^{2^{62}}", "2^{-2^{63}}", "2^{2^{63}}", "2^{2^{64}}", "(-2)^{-2^{63}}", "(1/2)^{2^{63}}", "(-1)^{2^{63}}", "2^{-2^{62}}", "(1+10^{-9})^{10^{9}}", "e^{e^{e^{e^{e}}}}", "e^{10^{9}}", "e^{-10^{9}}", "0^{-1}", "0^0",
		"1e999999999", "1e-999999999", "10^{1e9}", rep("9", 5000), rep("9", 200) + "^{" + rep("9", 200) + "}", "i^{i^{i^i}}",
		rep("9^", 1000) + "9", rep("2^{", 500) + "2" + rep("}", 500), rep("(-1)^{", 60) + "n" + rep("}", 60),
		// Factorials, binomials, sums.
		"factorial(10**6)", "10^{6}!", "1000000!", "50000!", "3000!", "2999!!", "((9!)!)!", "9!!!!!!!!", "100000!/99999!",
		`\binom{10^9}{5\cdot 10^8}`, `\binom{50000}{25000}`, `\binom{1/3}{3000}`, `\sum_{k=1}^{10^{12}} k`, `\sum_{k=1}^{511} \frac{1}{k}`,
		`\sum_{a=1}^{500}\sum_{b=1}^{500}\sum_{c=1}^{500} abc`, `\prod_{k=1}^{500} k^{k^k}`, rep(`\sum_{k=1}^{500}`, 30) + "k",
		// Deep nesting and unbalanced brackets.
		nest("(", ")", 2000), nest("{", "}", 2000), nest("[", "]", 2000), nest(`\{`, `\}`, 1000), nest(`\sqrt{`, "}", 500),
		nest(`\frac{1}{`, "}", 400), nest("|", "|", 2000), nest(`\left(`, `\right)`, 300), rep("-", 4000) + "1", rep("(", 4000),
		rep("}", 4000), rep(`\frac`, 800), rep(`\frac12`, 500), rep(`\sqrt`, 800), rep("x_{a+", 600), nest("x_{a+", "}", 600),
		rep(`\text{`, 600), rep(`\mathrm{`, 500), rep(`\begin{pmatrix}`, 200), rep("A) ", 1300), rep(`\text{A) }`, 400), rep("(A) ", 1000),
		`\begin{pmatrix}` + rep("1&", 2000) + `1\end{pmatrix}`, `\begin{vmatrix}` + rep("1&1&1&1&1\\\\", 5) + `\end{vmatrix}`,
		// Long lists, sums and products.
		rep("1,", 2000) + "1", rep("x+", 2000) + "x", rep("x*", 2000) + "x", rep("x/", 2000) + "x", rep("ab ", 1300), rep(`\pm1`, 900),
		`\{` + rep("1,", 250) + `2\}`, rep("(1,2),", 600), rep(`[0,1]\cup`, 400) + "[0,1]", rep(`\{1\}\cup`, 400) + `\{1\}`,
		rep("x=1,", 900), rep("x=", 1500), rep("1<", 1500) + "1", rep("1:", 1500) + "1", rep(`\sin`, 1000) + "x", rep(`\sin(`, 60) + "1" + rep(")", 60),
		rep("sin(x)*", 500) + "1", rep(`\sqrt{2}+`, 400) + "1", rep(`\ln(x)+`, 400) + "1", rep(`e^{x}\cdot`, 300) + "1", rep(`\sin(x^2)\cos(y)+`, 150) + "1",
		rep("cm ", 1300), "1" + rep(" cm", 1300), rep("f(", 60) + "x" + rep(")", 60), rep("f(x)+", 700) + "1", rep(`\lfloor x\rfloor+`, 200) + "1",
		rep("x^{99999}+", 300) + "1", rep("(x+1)^{1000}*", 200) + "1", rep("\\pi^{1/3}+", 300) + "1", `\arctan(10^{-300})`, `\ln(10^{-300})`,
		`\sqrt{10^{300}+1}-\sqrt{10^{300}}`, `\sin(10^{300})`, `\tan(\pi/2)`, `\ln(0)`, `\arcsin(2)`, "1/(1-1)", `\frac{0}{0}`,
		`\sqrt{2}+\sqrt{3}-\sqrt{5+2\sqrt{6}}`, rep(`\sqrt{1+`, 60) + "1" + rep("}", 60),
		// Code and other text.
		"__import__('os').system('true')", "().__class__.__bases__[0]", "1; import os", "lambda: 1", "exec('1')", `{{7*7}}`, "${jndi:ldap://x}",
		"\x00", "\xff\xfe", "\\boxed{\xf0\x28\x8c\x28}", "1\u0000", "\u202e321", "١٢٣", "１２３", "½", "²³", "𝟏𝟐", "é", strings.Repeat("é", 3000),
		`\`, `\\`, `\boxed`, `\boxed{`, `\boxed{\boxed{`, `\fbox{}`, rep(`\boxed{`, 3000), rep("{", 100_000), rep("1", 1_000_000), rep(`\boxed{1}`, 100_000),
		"$", "$$", "%", "%%%", "&&", "^", "_", "^^", "__", "'''", "!!!", "|||", ":::", ",,,", ";;;", "...", "=", "==", "<", "<<", "±", "∓±",
		"0x10", "1_000", "nan", "inf", "-inf", "1e5", "1e", "e", ".", "..", "1..2", "1.2.3", "0.\\overline{", "0.\\overline{3", "0.\\overline{}",
	}
}

// TestHostileInputsEnd grades every hostile input in every place. That it ends within the test's time is the
// point; the work limits themselves make it so.
func TestHostileInputsEnd(t *testing.T) {
	for _, h := range hostileAnswers() {
		for _, gold := range []string{`\sqrt2`, "1,2,3", `\sin x`, h} {
			for _, o := range []verify.Options{{}, {Mode: verify.ModePaper}} {
				requireConsistent(t, verify.Grade(gold, `\boxed{`+h+`}`, o))
			}
		}
		requireConsistent(t, verify.Grade("7", h, verify.Options{Unboxed: true}))
	}
}

// gradingMemory is the most that one grading may allocate, freed or not, in bytes.
const gradingMemory = 16 << 20

// gradeWithin grades and holds the grading to its memory.
func gradeWithin(t *testing.T, gold, response string, o verify.Options) verify.Verdict {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	v := verify.Grade(gold, response, o)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(gradingMemory), "grading %.60q against %.60q, %+v", response, gold, o)
	return v
}

// TestMemoryOfOneGradingIsBounded holds the bytes allocated for the worst inputs, as answer and as gold, in every mode.
func TestMemoryOfOneGradingIsBounded(t *testing.T) {
	for _, h := range hostileAnswers() {
		for _, gold := range []string{`\sqrt2`, h} {
			for _, o := range []verify.Options{{}, {Unboxed: true}, {Mode: verify.ModePaper}} {
				gradeWithin(t, gold, `\boxed{`+h+`}`, o)
			}
		}
	}
}

// TestLimitsAreBoundedNotWrong: what exceeds a limit is neither right nor wrong.
func TestLimitsAreBoundedNotWrong(t *testing.T) {
	for _, h := range []string{strings.Repeat("1", 1_000_000), strings.Repeat("(", 2000) + "1", strings.Repeat("x+", 2000) + "x"} {
		v := verify.Grade("1", `\boxed{`+h+`}`, verify.Options{})
		require.Equal(t, verify.StatusBounded, v.Status)
		require.False(t, v.Correct)
	}
}
