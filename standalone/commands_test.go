package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// run runs a command beside `up` and returns its exit code and what it printed, both streams together.
func (in installation) run(t *testing.T, args ...string) (int, string) {
	t.Helper()
	beside := installation{state: in.state, flags: in.flags[:4]} // --state-dir and --cache-dir
	p := beside.start(t, args...)
	code := p.wait(t)
	return code, p.out.String()
}

// succeed is run for a command that must work.
func (in installation) succeed(t *testing.T, args ...string) string {
	t.Helper()
	code, out := in.run(t, args...)
	require.Zero(t, code, "%v\n%s", args, out)
	return out
}

// TestCommandsBesideRunningServices goes through a run's life with nothing configured but the state directory.
func TestCommandsBesideRunningServices(t *testing.T) {
	in := newInstallation(t)
	up := in.start(t, "up")
	up.untilReady(t)
	require.Contains(t, in.succeed(t, "doctor"), "ok  Temporal")

	long := []string{"train", "--preset", "tiny", "--run", "life", "--set", "iterations=1000000"}
	require.Contains(t, in.succeed(t, long...), "Started run life")
	require.Contains(t, in.succeed(t, long...), "is under way already")
	code, out := in.run(t, append(long, "--set", "reward.wrong=0")...)
	require.Equal(t, 2, code)
	require.Contains(t, out, "life exists with other settings")

	up.untilStep(t, in, "life", 1)
	require.Contains(t, in.succeed(t, "pause", "life"), "life: ")
	code, out = in.run(t, "pause", "life")
	require.Equal(t, 2, code, out)
	require.Contains(t, in.succeed(t, "checkpoint", "life"), "sha256 ")
	require.Contains(t, in.succeed(t, "evaluate-now", "life"), "smudged")
	require.Contains(t, in.succeed(t, "set", "life", "policy_lr=1e-4", "checkpoint_every=5"), "life: ")
	code, out = in.run(t, "set", "life", "colour=red")
	require.Equal(t, 2, code, out)
	require.Contains(t, in.succeed(t, "resume", "life"), "life: ")
	require.Contains(t, in.succeed(t, "stop", "life"), "stops after the iteration under way")
	require.Contains(t, in.succeed(t, "show", "life", "--follow"), "(completed, stopped)")

	t.Setenv("MULTIATTEMPT_STATE_DIR", in.state) // no flag follows what is being typed
	typed := installation{state: in.state}.start(t, "__complete", "compare", "li")
	require.Zero(t, typed.wait(t))
	require.Contains(t, typed.out.String(), "life\ttrain, completed, step ")
	require.Contains(t, in.succeed(t, "top"), "no run is running")

	var shown struct {
		Run              string
		Phase            string
		Step             int
		RewardMean       *float64 `json:"reward_mean"`
		LatestCheckpoint struct {
			Step        int
			Key, SHA256 string
		} `json:"latest_checkpoint"`
	}
	require.NoError(t, json.Unmarshal([]byte(in.succeed(t, "show", "life", "--json")), &shown))
	require.Equal(t, "life", shown.Run)
	require.Equal(t, "stopped", shown.Phase)
	require.Positive(t, shown.Step)
	require.NotNil(t, shown.RewardMean)
	require.Equal(t, shown.Step, shown.LatestCheckpoint.Step)
	require.Contains(t, in.succeed(t, "checkpoints", "life", "--verify"), shown.LatestCheckpoint.SHA256)

	require.Contains(t, in.succeed(t, "eval", "--run", "life", "--attempts", "1,2", "--id", "scores"), "optimum")
	require.Contains(t, in.succeed(t, "compare", "one=scores", "two=scores"), "McNemar")
	runs := in.succeed(t, "runs")
	require.Contains(t, runs, "life")
	require.Contains(t, runs, "scores")

	afterwards(t, in, up, shown.Step, long)
}

// afterwards looks into what the run left after so many iterations, goes on from it, and starts it over.
func afterwards(t *testing.T, in installation, up *process, step int, long []string) {
	t.Helper()
	log := in.succeed(t, "log", "life")
	for _, asked := range []string{"start", "pause", "set_learning_rate", "set_checkpoint_every", "resume", "stop", "@"} {
		require.Contains(t, log, asked)
	}
	require.Regexp(t, `life +[0-9]+ +[0-9]+ +[0-9.]+ +0 `, in.succeed(t, "fsck", "life", "--read"), "checkpoints, objects, MB, no fault")
	more := fmt.Sprintf("iterations=%d", step+1)
	require.Contains(t, in.succeed(t, "fork", fmt.Sprintf("life@%d", step), "--run", "child", "--set", more, "--follow"), "Run child completed")
	code, out := in.run(t, "fork", "life@999999")
	require.Equal(t, 2, code, out)
	code, out = in.run(t, "stop", "life")
	require.Equal(t, 2, code)
	require.Contains(t, out, "run life has ended")
	code, out = in.run(t, long...)
	require.Equal(t, 2, code)
	require.Contains(t, out, "--continue lets it go on")
	other := append(long, "--set", "iterations=2", "--overwrite")
	require.Contains(t, in.succeed(t, append(other, "--follow")...), "Run life completed after step 2")
	require.Regexp(t, `(?s)start .* pause .* stop .* start `, in.succeed(t, "log", "life"), "who asked what stays, also of what was started over")
	require.Contains(t, in.succeed(t, "train", "--preset", "tiny", "--run", "away", "--set", "iterations=1000000"), "Started run away")
	up.untilStep(t, in, "away", 1)
	require.Contains(t, in.succeed(t, "cancel", "away"), "away: cancelled")
	require.Contains(t, in.succeed(t, "checkpoints", "away", "--verify"), "latest")
	code, out = in.run(t, "show", "nobody")
	require.Equal(t, 2, code)
	require.Contains(t, out, "no run is called nobody")
}

// TestPagesWithoutAWorker: a process that runs services only has pages, too, of what it knows.
func TestPagesWithoutAWorker(t *testing.T) {
	for parts, want := range map[string]string{
		"temporal,store": `Pages +http://127\.0\.0\.1:[0-9]+\n`,
		"store":          `Pages +http://127\.0\.0\.1:[0-9]+  \(as the store has them`,
		"temporal":       `Pages +none: this process knows of no object store`,
	} {
		in := newInstallation(t)
		up := in.start(t, "up", "--only", parts)
		up.untilReady(t)
		require.Regexp(t, want, up.out.String())
		address := regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+`).FindString(up.out.String())
		if parts != "temporal" {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
			require.NoError(t, err)
			answer, err := http.DefaultClient.Do(request)
			require.NoError(t, err)
			require.NoError(t, answer.Body.Close())
			require.Equal(t, http.StatusOK, answer.StatusCode, parts)
		}
		require.NoError(t, up.cmd.Process.Signal(os.Interrupt))
		require.Zero(t, up.wait(t), up.out.String())
	}
}
