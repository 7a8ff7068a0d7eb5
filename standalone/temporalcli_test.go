package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/workflows"
)

// temporalVersion is what tools/temporal-cli pins.
const temporalVersion = "1.5.1"

// temporalCommand returns the plain temporal command, built once from its module and kept in the user's cache directory.
func temporalCommand(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	path := filepath.Join(cache, "multiattempt", "bin", "temporal-"+temporalVersion)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	t.Log("building the temporal command, which takes minutes the first time")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", path+".new", "github.com/temporalio/cli/cmd/temporal")
	build.Dir, err = filepath.Abs("../tools/temporal-cli")
	require.NoError(t, err)
	build.Env = append(os.Environ(), "GOEXPERIMENT=") // as its makers build it
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, os.Rename(path+".new", path))
	return path
}

// plain runs the plain temporal command against an installation.
type plain struct {
	env []string
}

func newPlain(t *testing.T, in installation) plain {
	t.Helper()
	bin := t.TempDir()
	require.NoError(t, os.Symlink(temporalCommand(t), filepath.Join(bin, "temporal")))
	return plain{env: append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "TEMPORAL_ADDRESS="+in.address(), "HOME="+t.TempDir())} // without the user's configuration
}

// shell runs a line as a person types it.
func (p plain) shell(ctx context.Context, line string) (string, error) {
	cmd := exec.CommandContext(ctx, "sh", "-c", line+" --output json")
	cmd.Env = p.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// must is shell for a line that has to work.
func (p plain) must(t *testing.T, line string) string {
	t.Helper()
	out, err := p.shell(t.Context(), line)
	require.NoError(t, err, "%s\n%s", line, out)
	return out
}

// documented runs the line of docs/durability.md that begins with start, with replacements for its names.
func (p plain) documented(t *testing.T, start string, names ...string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/durability.md")
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "temporal workflow "+start) {
			return p.must(t, strings.NewReplacer(names...).Replace(strings.TrimSpace(line)))
		}
	}
	require.Fail(t, "docs/durability.md has no line that begins with temporal workflow "+start)
	return ""
}

// status asks a run where it stands.
func (p plain) status(ctx context.Context, run string) (st workflows.Status, ok bool) {
	out, err := p.shell(ctx, "temporal workflow query -w "+run+" --type "+workflows.QueryStatus)
	var answer struct{ QueryResult []workflows.Status }
	if err != nil || json.Unmarshal([]byte(out), &answer) != nil || len(answer.QueryResult) != 1 {
		return st, false
	}
	return answer.QueryResult[0], true
}

// TestPlainTemporalCommand starts a run with a few bytes of JSON, and steers, watches and forks it with the lines that the
// documentation has, without any command of ours.
func TestPlainTemporalCommand(t *testing.T) {
	t.Setenv("MULTIATTEMPT_BACKEND_CHOICE", "go") // it compiles nothing
	in := newInstallation(t)
	services := in.start(t, "up")
	p := newPlain(t, in)
	services.untilReady(t)
	untilPhase := func(run string, want workflows.Phase) (st workflows.Status) {
		t.Helper()
		services.until(t, "phase "+string(want), func(ctx context.Context) (ok bool) {
			st, ok = p.status(ctx, run)
			return ok && st.Phase == want
		})
		return st
	}
	update := func(name string) { t.Helper(); p.documented(t, "update execute -w RUN --name "+name, "RUN", "plain") }

	p.must(t, `temporal workflow start -w plain --task-queue multiattempt --type Train --input '{"preset":"tiny","iterations":1000000}'`)
	untilPhase("plain", workflows.PhaseTraining)
	update(workflows.UpdatePause)
	untilPhase("plain", workflows.PhasePaused)
	for _, name := range []string{workflows.UpdateCheckpointNow, workflows.UpdateEvaluateNow, workflows.UpdateSetLearningRate, workflows.UpdateSetCheckpointEvery} {
		update(name)
	}
	steered := untilPhase("plain", workflows.PhasePaused)
	require.Equal(t, 1e-4, steered.Rates.Policy)
	require.Equal(t, 5, steered.CheckpointEvery)
	require.Equal(t, steered.Step, steered.LatestCheckpoint.Step)
	require.Equal(t, steered.Step, steered.Evaluation.Step)
	out, err := p.shell(t.Context(), `temporal workflow update execute -w plain --name set_learning_rate --input '{"policy_lr":-1}'`)
	require.Error(t, err, "what makes no sense is refused")
	require.Contains(t, out, "policy_lr")
	require.Regexp(t, `"identity": "[0-9]+@\S+@"`, p.documented(t, "show", "RUN", "plain"), "who asked")
	require.Regexp(t, `set_learning_rate +[0-9]+@\S+ +\{"policy_lr":1e-4\}`, in.succeed(t, "log", "plain"))
	update(workflows.UpdateResume)
	untilPhase("plain", workflows.PhaseTraining)
	update(workflows.UpdateStop)
	require.Contains(t, p.must(t, "temporal workflow result -w plain"), `"COMPLETED"`)
	last := untilPhase("plain", workflows.PhaseStopped)
	require.Equal(t, last.Step, last.LatestCheckpoint.Step)
	require.Contains(t, p.must(t, `temporal workflow list --query 'Phase = "stopped" AND RunName = "plain"'`), "plain")

	p.documented(t, "start -w NEW --type Train", "RUN", "plain", "NEW", "forked", `"step":12`, fmt.Sprintf(`"step":%d`, last.Step))
	services.untilStep(t, in, "forked", last.Step+1)
	p.documented(t, "cancel", "RUN", "forked")
	out, err = p.shell(t.Context(), "temporal workflow result -w forked")
	require.Error(t, err)
	require.Contains(t, out, `"CANCELED"`)
	cancelled, ok := p.status(t.Context(), "forked")
	require.True(t, ok)
	require.Greater(t, cancelled.Step, last.Step)
	require.Equal(t, cancelled.Step, cancelled.LatestCheckpoint.Step, "it leaves a checkpoint")

	out, err = p.shell(t.Context(), `temporal workflow execute -w wrong --task-queue multiattempt --type Train --input '{"preset":"tiny","iterations":-1,"colour":"red"}'`)
	require.Error(t, err, "a wrong spec fails at once")
	for _, part := range []string{"colour", "iterations"} {
		require.Contains(t, strings.ToLower(out), part)
	}
}
