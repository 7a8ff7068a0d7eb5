package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// runGrade runs the command with the given input.
func runGrade(in string, args ...string) (stdout, stderr string, err error) {
	var out, problems bytes.Buffer
	cmd := newGradeCommand()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetIn(strings.NewReader(in))
	cmd.SetOut(&out)
	cmd.SetErr(&problems)
	cmd.SetArgs(args)
	err = cmd.Execute()
	return out.String(), problems.String(), err
}

func TestGradeWritesOneVerdictPerLineInOrder(t *testing.T) {
	in := `{"id":"a","gold_answer":"\\frac12","pred_boxed":"so \\boxed{0.5}","more":1}

{"id":7,"gold_answer":27.0,"pred_boxed":"\\boxed{28}"}
{"id":"c","gold_answer":"3","pred_boxed":"I think \\boxed{3"}
`
	out, problems, err := runGrade(in)
	require.NoError(t, err)
	require.Empty(t, problems)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 3)
	want := []map[string]any{
		{"id": "a", "correct": true, "status": "equal", "opaque": false, "extracted": "0.5", "gold_type": "fraction", "pred_type": "decimal", "rule": "exact"},
		{"id": 7.0, "correct": false, "status": "unequal", "opaque": false, "extracted": "28", "gold_type": "integer", "pred_type": "integer", "rule": "exact"},
		{"id": "c", "correct": false, "status": "no_answer", "opaque": false, "extracted": "", "gold_type": "", "pred_type": "", "rule": "unclosed_box"},
	}
	for i, line := range lines {
		var got map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &got))
		require.Contains(t, got, "micros")
		delete(got, "micros")
		require.Equal(t, want[i], got)
	}
}

func TestGradeNamesBadLinesAndGradesTheOthers(t *testing.T) {
	in := `{"id":"a","gold_answer":"1","pred_boxed":"\\boxed{1}"}
not json
{"id":"c","gold_answer":"1"}
{"gold_answer":"1","pred_boxed":"\\boxed{1}"}
{"id":"e","gold_answer":["1"],"pred_boxed":"\\boxed{1}"}
{"id":"f","gold_answer":"2","pred_boxed":"\\boxed{2}"}`
	out, problems, err := runGrade(in)
	require.ErrorIs(t, err, errUsage)
	require.Equal(t, exitWrongInput, exitCode(err))
	require.Contains(t, err.Error(), "4 of 6 lines")
	require.Equal(t, 2, strings.Count(out, `"status":"equal"`))
	for _, want := range []string{"line 2: ", `line 3: "pred_boxed" is missing`, `line 4: "id" is missing`, "line 5: "} {
		require.Contains(t, problems, want)
	}
}

func TestGradeExplainsOnePair(t *testing.T) {
	out, _, err := runGrade("", "--gold", `\frac12`, "--answer", `so \boxed{0.5}`)
	require.NoError(t, err)
	for _, want := range []string{"(fraction)", "(decimal)", "verdict  equal", "exact: ", "paper    equal"} {
		require.Contains(t, out, want)
	}
	out, _, err = runGrade("", "--gold", "3", "--answer", "nothing here", "--mode", "paper")
	require.NoError(t, err)
	require.Contains(t, out, "answer   none")
	out, _, err = runGrade("", "--gold", "3", "--answer", "the final answer is 3.", "--unboxed")
	require.NoError(t, err)
	require.Contains(t, out, "verdict  equal")
}

func TestGradeRefusesWrongFlags(t *testing.T) {
	_, _, err := runGrade("", "--gold", "3")
	require.ErrorIs(t, err, errUsage)
	_, _, err = runGrade("", "--mode", "strict")
	require.ErrorContains(t, err, "typed or paper")
}
