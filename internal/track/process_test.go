//go:build trackers

package track_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// setGroup makes a command the leader of a group, since servers start workers.
func setGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func killGroup(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

// api calls MLflow's REST API.
func api(ctx context.Context, t *testing.T, address, method, what, body string, into any) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+address+"/api/2.0/mlflow/"+what, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.StatusCode)
	require.NoError(t, json.NewDecoder(answer.Body).Decode(into))
	require.NoError(t, answer.Body.Close())
}
