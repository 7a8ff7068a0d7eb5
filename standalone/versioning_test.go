package main

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"multiattempt/workflows"
)

// TestRunsEndOnTheVersionTheyBeganWith upgrades an installation while a run is under way: the run stays with the workers of
// its version, its evaluation and continuations too, and a new run begins on the new one.
func TestRunsEndOnTheVersionTheyBeganWith(t *testing.T) {
	in := newInstallation(t)
	in.start(t, "up", "--only", "temporal,store").untilReady(t)
	c, err := client.Dial(client.Options{HostPort: in.address(), Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer c.Close()
	deployment := c.WorkerDeploymentClient().GetHandle("multiattempt")
	worker := func(build string) (*process, installation) {
		beside := installation{state: in.state, flags: append(slices.Clone(in.flags[:2]), "--cache-dir", t.TempDir())}
		p := beside.start(t, "worker", "--deployment", "multiattempt", "--build-id", build, "--backend", "go")
		p.until(t, "version "+build+" was current", func(ctx context.Context) bool {
			_, err := deployment.SetCurrentVersion(ctx, client.WorkerDeploymentSetCurrentVersionOptions{BuildID: build})
			return err == nil
		})
		require.Contains(t, p.out.String(), "set-current-version")
		return p, beside
	}
	versionOf := func(run string) string {
		d, err := c.DescribeWorkflowExecution(t.Context(), run, "")
		require.NoError(t, err)
		return d.WorkflowExecutionInfo.GetVersioningInfo().GetDeploymentVersion().GetBuildId()
	}
	train := func(run string, iterations string) {
		in.succeed(t, "train", "--preset", "tiny", "--run", run, "--set", "iterations="+iterations, "--set", "continue_after=2")
	}
	old, _ := worker("a")
	train("first", "1000000")
	old.untilStep(t, in, "first", 1)
	next, beside := worker("b")
	train("second", "3")
	old.untilStep(t, in, "first", 6) // through continuations
	require.Equal(t, "a", versionOf("first"))
	require.Contains(t, in.succeed(t, "show", "second", "--follow"), "(completed, completed)")
	require.Equal(t, "b", versionOf("second"))
	beside.succeed(t, "health")

	// The procedure of docs/production.md for a run that outlives its version's workers.
	require.NoError(t, old.cmd.Process.Signal(syscall.SIGTERM))
	old.wait(t)
	_, err = c.UpdateWorkflowExecutionOptions(t.Context(), client.UpdateWorkflowExecutionOptionsRequest{
		WorkflowId: "first",
		WorkflowExecutionOptionsChanges: client.WorkflowExecutionOptionsChanges{VersioningOverride: &client.VersioningOverrideChange{
			Value: &client.AutoUpgradeVersioningOverride{},
		}},
	})
	require.NoError(t, err)
	step := 0
	next.until(t, "it answered", func(ctx context.Context) bool {
		st, ok := status(ctx, c, "first")
		step = st.Step
		return ok
	})
	next.untilStep(t, in, "first", step+2)
	in.succeed(t, "stop", "first")
	var out workflows.TrainOutput
	require.NoError(t, c.GetWorkflow(t.Context(), "first", "").Get(t.Context(), &out))
	require.Equal(t, workflows.PhaseStopped, out.Phase)
	require.True(t, strings.HasPrefix(out.LatestCheckpoint.Key, "runs/first/checkpoints/"))

	// Collecting what is left over takes nothing from either run.
	require.Contains(t, in.succeed(t, "fsck", "--gc", "--older", "1ms"), "blobs/")
	require.Contains(t, in.succeed(t, "checkpoints", "first", "--verify"), "latest")
}
