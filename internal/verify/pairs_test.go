package verify_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/verify"
)

// TestPairsPinThePolicies runs testdata/pairs.txt: every pair must get its status, by the rule of its section.
func TestPairsPinThePolicies(t *testing.T) {
	text, err := os.ReadFile("testdata/pairs.txt")
	require.NoError(t, err)
	rule := ""
	for i, line := range strings.Split(string(text), "\n") {
		if name, ok := strings.CutPrefix(line, "## "); ok {
			rule = name
			require.NotEmpty(t, verify.ExplainRule(rule), "line %d: rule %q is explained", i+1, rule)
		}
		fields := strings.Split(line, "\t")
		if len(fields) != 3 {
			require.True(t, line == "" || line[0] == '#', "line %d: %q", i+1, line)
			continue
		}
		v := verify.Compare(fields[1], fields[2], verify.Options{})
		require.Equal(t, fields[0]+" by "+rule, string(v.Status)+" by "+v.Rule, "line %d: gold %s answer %s", i+1, fields[1], fields[2])
		require.Equal(t, v.Status == verify.StatusEqual, v.Correct)
	}
}

// TestEveryRuleIsDocumented holds docs/grading.md and the rules together.
func TestEveryRuleIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/grading.md")
	require.NoError(t, err)
	for _, rule := range verify.Rules() {
		require.Contains(t, string(text), "`"+rule+"`", "rule %s is described in docs/grading.md", rule)
	}
}

func TestTypes(t *testing.T) {
	for text, want := range map[string]string{
		"7": "integer", "025": "integer", "1,234": "integer", "25.0": "integer", "-3": "integer", "3.14": "decimal", "1.5e-7": "decimal",
		`\frac43`: "fraction", "-1./3": "fraction", `1\frac{4}{5}`: "mixed_number", `2\sqrt{3}`: "constant", `\frac{\pi}{2}`: "constant",
		"5!": "constant", "3+4i": "complex", "x^2+1": "expression", "f(x)": "expression", "y=2x": "equation", `x \ge 2`: "inequality",
		`x \in [1,2]`: "membership", "(1,2)": "tuple", "(1,2]": "interval", `(1,\infty)`: "interval", "1,2,3": "list", `\pm 2`: "list",
		`\{1,2\}`: "set", `[0,1]\cup[2,3]`: "union", `\begin{pmatrix}1\\2\end{pmatrix}`: "matrix", `50\%`: "percent", `90^\circ`: "degrees",
		`\$5`: "quantity", `5\text{ cm}`: "quantity", "52_8": "base_n", "3:4": "ratio", `\text{even}`: "text", "C": "choice", `\text{(C)}`: "choice",
		"()": "opaque", `\unknowncommand{1}`: "opaque", "": "opaque", strings.Repeat("1", 5000): "opaque",
	} {
		typ, opaque := verify.InspectGold(text)
		require.Equal(t, want, typ, "type of %.60s", text)
		require.Equal(t, want == "opaque", opaque)
	}
}

func TestOpaqueAnswersAreComparedAsTokens(t *testing.T) {
	v := verify.Compare(`\foo{1} \le 2`, `\foo{ 1 }\leq 2`, verify.Options{})
	require.Equal(t, verify.Verdict{
		Correct: true, Status: verify.StatusEqual, Opaque: true, Extracted: `\foo{ 1 }\leq 2`, HasAnswer: true,
		GoldType: "opaque", PredType: "opaque", Rule: "tokens",
	}, v)
	v = verify.Compare("5", `\foo{5}`, verify.Options{})
	require.Equal(t, verify.StatusUnequal, v.Status)
	require.True(t, v.Opaque)
}

func TestPaperModeFollowsItsRulesWhereTheyAreWrong(t *testing.T) {
	paper := verify.Options{Mode: verify.ModePaper}
	for _, pair := range [][3]string{
		{"1", "100", "paper_number"}, {"50", "0.5", "paper_number"}, {"12345", "12346", "paper_number"}, {"52_8", "528", "paper_number"},
		{"(0,9)", "[0,9)", "paper_list"}, {"t^2+1", "s^2+1", "paper_string"}, {`\text{east}`, `\text{west}`, "paper_string"},
		{"C", "(B)(C)", "paper_choice"}, {`\{1\}`, "(1)", "paper_brackets"}, {"f(x)=2x", "f(x) = x+x", "paper_equation"},
		{`\begin{pmatrix}1\\2\end{pmatrix}`, `\begin{pmatrix}1.0\\2.00001\end{pmatrix}`, "paper_matrix"}, {`\sqrt{8}`, `2\sqrt2`, "paper_symbolic"},
	} {
		v := verify.Compare(pair[0], pair[1], paper)
		require.True(t, v.Correct, "gold %s answer %s", pair[0], pair[1])
		require.Equal(t, pair[2], v.Rule, "gold %s answer %s", pair[0], pair[1])
	}
	for _, pair := range [][2]string{{"3,2", "2,3"}, {`\pm 2`, "2,-2"}, {"1000", "10^3"}, {"1234", `1\,234`}} {
		v := verify.Compare(pair[0], pair[1], paper)
		require.False(t, v.Correct, "gold %s answer %s", pair[0], pair[1])
		require.Equal(t, "paper_unequal", v.Rule)
	}
	require.True(t, verify.Grade("", `\boxed{}`, paper).Correct, "two empty answers are equal there")
	require.True(t, verify.Grade("7", "I think 7.", paper).Correct, "the last number counts there")
	require.False(t, verify.Grade("7", "I think 7.", verify.Options{}).Correct)
}
