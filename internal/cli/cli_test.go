package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"multiattempt/internal/evaluate"
)

// invoke runs a command line in a directory without services and returns what it printed.
func invoke(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Main(append([]string{"--state-dir", t.TempDir(), "--cache-dir", t.TempDir()}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

func TestEveryCommandIsExplained(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			if sub.Name() == "help" || sub.Name() == "completion" {
				continue
			}
			require.NotEmpty(t, sub.Short, sub.CommandPath())
			if sub.Runnable() {
				require.Contains(t, sub.Example, "multiattempt "+strings.TrimPrefix(sub.CommandPath(), "multiattempt "), sub.CommandPath())
			}
			walk(sub)
		}
	}
	walk((&app{}).newRoot())
}

func TestWrongUsageIsRefusedBeforeAnythingStarts(t *testing.T) {
	run := filepath.Join(t.TempDir(), "run.yaml")
	require.NoError(t, os.WriteFile(run, []byte("iterations: 0\nattempts: {maximum: 3}\n"), 0o600))
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"nonsense"}, `unknown command "nonsense"`},
		{[]string{"train", "--nonsense"}, "unknown flag: --nonsense"},
		{[]string{"show"}, "accepts 1 arg(s), received 0"},
		{[]string{"--log-level", "loud", "version"}, `log.level = "loud": one of debug, info, warn, error`},
		{[]string{"train", "--preset", "nobody"}, `preset = "nobody": one of gsm8k-smollm2, paper`},
		{[]string{"train", "-f", run}, "attempts.maximum = 3: no such setting"},
		{[]string{"train", "-f", filepath.Join(t.TempDir(), "gone.yaml")}, "gone.yaml: no such file"},
		{[]string{"train", "--set", "iterations"}, "an assignment such as iterations=10"},
		{[]string{"train", "--set", "attempts.min=9"}, "attempts.min = 9: at most attempts.max (5)"},
		{[]string{"train", "--run", "a/b"}, `run id "a/b"`},
		{[]string{"finetune", "--set", "steps=0"}, "steps = 0: a whole number from 1"},
		{[]string{"finetune", "--out", filepath.Dir(run)}, "holds files already"},
		{[]string{"eval", "--run", "a", "--model", "b"}, "--run brings its own model"},
		{[]string{"eval", "--attempts", "0"}, "evaluation.final_attempts[0] = 0"},
		{[]string{"compare", "one"}, "requires at least 2 arg(s)"},
		{[]string{"compare", "a", "b", "--figure", "out.png"}, "the figure is an .svg file"},
	} {
		code, stdout, stderr := invoke(t, c.args...)
		require.Equal(t, exitWrongInput, code, "%v: %s", c.args, stderr)
		require.Contains(t, stderr, c.want, "%v", c.args)
		require.Empty(t, stdout, "%v", c.args)
	}
}

func TestWithoutServicesCommandsSayHowToGetThem(t *testing.T) {
	for _, args := range [][]string{{"runs"}, {"show", "x"}, {"pause", "x"}, {"worker"}, {"up"}, {"train"}, {"quickstart"}, {"checkpoints", "x"}} {
		code, _, stderr := invoke(t, args...)
		require.Equal(t, exitUnreachable, code, "%v: %s", args, stderr)
		require.Contains(t, stderr, "this build has no services inside", "%v", args)
	}
	t.Setenv("MULTIATTEMPT_STORE_ENDPOINT", "127.0.0.1:1")
	code, _, stderr := invoke(t, "runs", "--temporal", "127.0.0.1:1")
	require.Equal(t, exitUnreachable, code)
	require.Contains(t, stderr, "connect to Temporal at 127.0.0.1:1")
}

func TestVersionNamesTheBuild(t *testing.T) {
	code, stdout, stderr := invoke(t, "version")
	require.Equal(t, exitDone, code, stderr)
	require.Contains(t, stdout, "no embedded services")
}

func TestCompareReadsScoreTables(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.json"), filepath.Join(dir, "b.json")
	writeResult(t, a, "typed", []int{0, -1, -1, 0})
	writeResult(t, b, "typed", []int{0, 0, -1, 0})
	figure := filepath.Join(dir, "out.svg")
	code, stdout, stderr := invoke(t, "compare", a, b, "--figure", figure)
	require.Equal(t, exitDone, code, stderr)
	require.Contains(t, stdout, "50.0")
	require.Contains(t, stdout, "75.0")
	svg, err := os.ReadFile(figure)
	require.NoError(t, err)
	require.Contains(t, string(svg), "<svg")

	other := filepath.Join(dir, "other.json")
	writeResult(t, other, "paper", []int{0, 0, -1, 0})
	code, _, stderr = invoke(t, "compare", a, other)
	require.Equal(t, exitWrongInput, code)
	require.Contains(t, stderr, "grading modes typed and paper")

	code, stdout, stderr = invoke(t, "compare", a, b, "--format", "json")
	require.Equal(t, exitDone, code, stderr)
	require.Contains(t, stdout, `"differences"`)
	code, _, stderr = invoke(t, "compare", a, b, "--format", "xml")
	require.Equal(t, exitWrongInput, code)
	require.Contains(t, stderr, "--format xml")
}

// writeResult writes the score table of one set at one attempt; solved has one entry a problem, −1 for unsolved.
func writeResult(t *testing.T, file, mode string, solved []int) {
	t.Helper()
	correct := 0
	for _, s := range solved {
		if s >= 0 {
			correct++
		}
	}
	r := evaluate.Result{Run: file, Mode: mode, Sets: []evaluate.Set{{Name: "sums", Problems: len(solved), Scores: []evaluate.Score{{
		Attempts: 1, Correct: correct, N: len(solved), Accuracy: float64(correct) / float64(len(solved)),
		Interval: evaluate.Wilson(correct, len(solved)), Optimum: 1, SolvedAt: solved,
	}}}}}
	r.Finish()
	b, err := r.Encode()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, b, 0o600))
}
