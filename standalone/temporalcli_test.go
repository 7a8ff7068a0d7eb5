package main

import (
	"context"
	"encoding/json"
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

// TestPlainTemporalCommand starts a run with a few bytes of JSON, and steers and watches it, without any command of ours.
func TestPlainTemporalCommand(t *testing.T) {
	command := temporalCommand(t)
	in := newInstallation(t)
	services := in.start(t, "up")
	services.untilReady(t)

	home := "HOME=" + t.TempDir() // without the user's configuration
	temporal := func(ctx context.Context, args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, command, append(args, "--address", in.address(), "--output", "json")...)
		cmd.Env = append(os.Environ(), home)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	must := func(args ...string) string {
		t.Helper()
		out, err := temporal(t.Context(), args...)
		require.NoError(t, err, "%s", out)
		return out
	}
	untilPhase := func(want workflows.Phase) workflows.Status {
		t.Helper()
		var st workflows.Status
		services.until(t, "phase "+string(want), func(ctx context.Context) bool {
			out, err := temporal(ctx, "workflow", "query", "--workflow-id", "plain", "--type", workflows.QueryStatus)
			var answer struct{ QueryResult []workflows.Status }
			if err != nil || json.Unmarshal([]byte(out), &answer) != nil || len(answer.QueryResult) != 1 {
				return false
			}
			st = answer.QueryResult[0]
			return st.Phase == want
		})
		return st
	}
	update := func(name string) {
		t.Helper()
		must("workflow", "update", "execute", "--workflow-id", "plain", "--name", name)
	}

	must("workflow", "start", "--workflow-id", "plain", "--task-queue", "multiattempt", "--type", workflows.TrainName,
		"--input", `{"preset":"tiny","iterations":1000000}`)
	untilPhase(workflows.PhaseTraining)
	update(workflows.UpdatePause)
	untilPhase(workflows.PhasePaused)
	update(workflows.UpdateResume)
	untilPhase(workflows.PhaseTraining)
	update(workflows.UpdateStop)
	result := must("workflow", "result", "--workflow-id", "plain")
	require.Contains(t, result, `"COMPLETED"`)
	last := untilPhase(workflows.PhaseStopped)
	require.Equal(t, last.Step, last.LatestCheckpoint.Step)
	require.Contains(t, must("workflow", "list", "--query", `Phase = "stopped" AND RunName = "plain"`), "plain")

	out, err := temporal(t.Context(), "workflow", "execute", "--workflow-id", "wrong", "--task-queue", "multiattempt",
		"--type", workflows.TrainName, "--input", `{"preset":"tiny","iterations":-1,"colour":"red"}`)
	require.Error(t, err, "a wrong spec fails at once")
	for _, part := range []string{"colour", "iterations"} {
		require.Contains(t, strings.ToLower(out), part)
	}
}
