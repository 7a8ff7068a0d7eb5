package cli

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
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
		{[]string{"train", "--run", "a/b"}, `run id "a/b": want at most 100 letters`},
		{[]string{"finetune", "--run", "a@1"}, `run id "a@1"`},
		{[]string{"fork", "a/b@1"}, `run id "a/b"`},
		{[]string{"eval", "--preset", "tiny", "--id", "a/b"}, `run id "a/b"`},
		{[]string{"finetune", "--set", "steps=0"}, "steps = 0: a whole number from 1"},
		{[]string{"finetune", "--out", filepath.Dir(run)}, "holds files already"},
		{[]string{"eval", "--run", "a", "--model", "b"}, "--run brings its own model"},
		{[]string{"eval", "--attempts", "0"}, "evaluation.final_attempts[0] = 0"},
		{[]string{"compare"}, "requires at least 1 arg(s)"},
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
	require.Contains(t, stdout, `"arms"`)
	code, stdout, stderr = invoke(t, "compare", a, b, "--format", "csv")
	require.Equal(t, exitDone, code, stderr)
	require.Contains(t, stdout, "mcnemar_p")

	folder := filepath.Join(dir, "report")
	code, stdout, stderr = invoke(t, "compare", "one="+a, "several="+a+","+b, "--out", folder)
	require.Equal(t, exitDone, code, stderr)
	require.Contains(t, stdout, "means over up to 2 seeds")
	require.Contains(t, stdout, "62.5")
	require.FileExists(t, filepath.Join(folder, "report.html"))
	code, _, stderr = invoke(t, "compare", a, "mixed="+a+","+other)
	require.Equal(t, exitWrongInput, code)
	require.Contains(t, stderr, "arm mixed: these evaluations cannot be compared: grading modes typed and paper")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{a, a}, "two arms are called " + a},
		{[]string{a, "twice=" + b + "," + b}, "arm twice has " + b + " at step 0 twice"},
		{[]string{a, "=" + b}, "want NAME=A1,A2,…"},
		{[]string{a, b, "--format", "xml"}, "--format xml: want text, markdown, csv or json"},
	} {
		code, stdout, stderr = invoke(t, append([]string{"compare"}, c.args...)...)
		require.Equal(t, exitWrongInput, code, stderr)
		require.Contains(t, stderr, c.want)
		require.Empty(t, stdout)
	}
	code, _, stderr = invoke(t, "compare", a)
	require.Equal(t, exitWrongInput, code)
	require.Contains(t, stderr, "is one arm")
	code, _, stderr = invoke(t, "compare", a, b, "--format", "xml")
	require.Equal(t, exitWrongInput, code)
	require.Contains(t, stderr, "--format xml")
}

func TestArmsOfAnExperiment(t *testing.T) {
	plan := func(doc string, v variants) (trial, error) {
		return (&app{}).planExperiment([]byte(doc), &v, v.parallel > 0, "")
	}
	one, err := plan(`{"preset":"quickstart"}`, variants{seeds: []uint{1, 2}, arms: []string{"multi", "single"}})
	require.NoError(t, err)
	require.Equal(t, "quickstart", one.id)
	require.Len(t, one.members, 4)
	require.Equal(t, "quickstart-multi-seed1", one.members[0].Run, "as the quickstart names its own")
	require.JSONEq(t, `{"preset":"quickstart-single","seed":1}`, string(one.members[1].Settings))
	wider, err := plan(`{"preset":"quickstart","seeds":[1,2],"arms":["multi","single"]}`, variants{parallel: 2})
	require.NoError(t, err)
	require.Equal(t, one.digest, wider.digest, "how many run at the same time makes no difference")

	defined, err := plan(`{"preset":"quickstart","arms":[{"name":"short","settings":{"iterations":5}},"single"]}`,
		variants{arms: []string{"lambda1", "short"}, defined: []string{"lambda1 advantage.lambda=1 iterations=9"}})
	require.NoError(t, err)
	require.Equal(t, []string{"lambda1", "short"}, []string{defined.members[0].Arm, defined.members[1].Arm}, "those of the document that are asked for")
	require.JSONEq(t, `{"preset":"quickstart","advantage":{"lambda":1},"iterations":9,"seed":1}`, string(defined.members[0].Settings))

	_, err = plan(`{"preset":"quickstart"}`, variants{arms: []string{"nothing"}})
	require.ErrorContains(t, err, "no preset quickstart-nothing")
	_, err = plan(`{}`, variants{defined: []string{"x lamda=1"}})
	require.ErrorContains(t, err, "--arm x: ")
}

func TestDryRunForecasts(t *testing.T) {
	code, stdout, stderr := invoke(t, "train", "--preset", "tiny", "--dry-run", "--json", "--backend", "go", "--set", "update.microbatch=8")
	require.Equal(t, exitDone, code, stderr)
	var f forecasted
	require.NoError(t, json.Unmarshal([]byte(stdout), &f))
	require.Equal(t, 4, f.Spec.Iterations)
	require.Equal(t, 8, f.Cost.OptimizerSteps)
	require.Equal(t, "builtin:smudged-base", f.Time.Speed.Model)
	require.Positive(t, f.Time.Speed.SamplingRate)
	require.Positive(t, f.Time.Speed.UpdateRate)
	require.Positive(t, f.Time.Total)
	require.Greater(t, f.Cost.Memory.Weights, 3*4*f.Model.Parameters, "policy, critic, and reference")
	require.Greater(t, f.Cost.Memory.Total, f.Cost.Memory.Learner)
	require.Equal(t, 16, f.Time.Problems, "evaluation.limit of one set")

	fetches := 0
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetches++
		w.WriteHeader(http.StatusNotFound)
	}))
	defer hub.Close()
	t.Setenv("HF_ENDPOINT", hub.URL)
	code, stdout, stderr = invoke(t, "train", "--preset", "paper", "--dry-run", "--backend", "go", "--set", "update.microbatch=32")
	require.Equal(t, exitDone, code, stderr)
	for _, want := range []string{"iterations: 1280", "Optimiser steps   10240: 8 an iteration", "Qwen2.5-Math-1.5B, 1543714304 parameters", "stand-in", "scaled by",
		"of 1517 problems", "for dialogues of 4096 tokens", "only samples"} {
		require.Contains(t, stdout, want)
	}
	require.Zero(t, fetches, "a forecast downloads nothing")
	code, _, stderr = invoke(t, "train", "--preset", "tiny", "--json")
	require.Equal(t, exitWrongInput, code, stderr)
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
		Attempts: 1, Samples: 1, Correct: correct, N: len(solved), Accuracy: float64(correct) / float64(len(solved)),
		Interval: evaluate.Wilson(correct, len(solved)), Optimum: 1, SolvedAt: solved,
	}}}}}
	r.Finish()
	b, err := r.Encode()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, b, 0o600))
}
