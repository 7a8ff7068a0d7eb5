//go:build trackers

package track_test

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
	"multiattempt/internal/track"
)

// python returns a program of the virtual environment that `make test-trackers` makes, or $MULTIATTEMPT_TEST_TRACKERS names.
func python(t *testing.T, program string) string {
	t.Helper()
	dir := os.Getenv("MULTIATTEMPT_TEST_TRACKERS")
	if dir == "" {
		dir = "../../.cache/trackers"
	}
	path, err := filepath.Abs(filepath.Join(dir, "bin", program))
	require.NoError(t, err)
	require.FileExists(t, path, "make test-trackers installs it")
	return path
}

func TestTensorBoardItselfReadsTheEvents(t *testing.T) {
	s, dir := blob.NewMemory(), t.TempDir()
	putRun(t, s, "r", 2)
	require.NoError(t, track.NewTensorBoard(dir).Sync(t.Context(), s, "r"))
	cmd := exec.CommandContext(t.Context(), python(t, "python"), "../../tools/trackers/read_events.py", filepath.Join(dir, "r"))
	cmd.Stderr = os.Stderr
	b, err := cmd.Output()
	require.NoError(t, err)
	var got struct {
		Scalars map[string][][3]float64
		Text    map[string][][2]any
		Hparams map[string]any
		Status  int
	}
	require.NoError(t, json.Unmarshal(b, &got))
	kl := got.Scalars["update/kl_k3_mean_per_token"]
	require.Len(t, kl, 2)
	require.InDelta(t, 2, kl[1][0], 0)
	require.InDelta(t, 0.02, kl[1][1], 1e-7)
	require.WithinDuration(t, time.Now(), time.UnixMilli(int64(kl[1][2]*1000)), time.Minute)
	require.InDelta(t, 5, got.Scalars["speed/sampled_tokens_per_rollout_second"][0][1], 0)
	require.InDelta(t, 1e9, got.Scalars["memory/learner_resident_bytes"][1][1], 0)
	require.InDelta(t, 1, got.Scalars["evaluation/accuracy_at_2_share_of_problems/held-out: all"][0][1], 0)
	require.Equal(t, "r", got.Hparams["name"])
	require.InDelta(t, 2, got.Hparams["iterations"], 0)
	require.Contains(t, got.Hparams, "optimizer.policy_lr")
	require.Equal(t, 1, got.Status, "STATUS_SUCCESS")
	require.Contains(t, got.Text["dialogues"][0][1].([]any)[0], "````text\n"+hostile+"\n````")
}

func TestWeightsAndBiasesItselfLogsTheTable(t *testing.T) {
	s, dir := blob.NewMemory(), t.TempDir()
	putRun(t, s, "r", 2)
	table, err := track.ReadTable(t.Context(), s, []string{"r"})
	require.NoError(t, err)
	var text bytes.Buffer
	require.NoError(t, table.WriteCSV(&text))
	script, err := filepath.Abs("../../tools/trackers/wandb_log.py")
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), python(t, "python"), script)
	cmd.Dir, cmd.Stdin = dir, &text
	cmd.Env = append(os.Environ(), "WANDB_MODE=offline", "WANDB_ERROR_REPORTING=false", "HOME="+dir)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	files, err := filepath.Glob(filepath.Join(dir, "wandb", "offline-run-*", "run-r.wandb"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	b, err := os.ReadFile(files[0])
	require.NoError(t, err)
	require.Contains(t, string(b), "update/kl_k3_mean_per_token")
}

func TestMLflowItselfTakesTheRuns(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	dir := t.TempDir()
	cmd := exec.Command(python(t, "mlflow"), "server", "--host", "127.0.0.1", "--port", port, "--workers", "1",
		"--backend-store-uri", "sqlite:///"+dir+"/mlflow.db", "--artifacts-destination", dir+"/artifacts")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "MLFLOW_DISABLE_TELEMETRY=true", "DO_NOT_TRACK=true")
	log, err := os.Create(dir + "/log")
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = log, log
	setGroup(cmd)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		killGroup(cmd)
		_ = cmd.Wait()
		if t.Failed() {
			b, _ := os.ReadFile(dir + "/log")
			t.Logf("%s", b)
		}
	})
	// The server lays its database out first, which takes its time.
	require.Eventually(t, func() bool {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/health", nil)
		require.NoError(t, err)
		answer, err := http.DefaultClient.Do(r)
		return err == nil && answer.Body.Close() == nil && answer.StatusCode == http.StatusOK
	}, 5*time.Minute, 200*time.Millisecond)

	s := blob.NewMemory()
	putRun(t, s, "r", 1)
	o := track.MLflowOptions{URL: "http://" + address, Experiment: "failures"}
	require.NoError(t, track.NewMLflow(o).Sync(t.Context(), s, "r"))
	putStep(t, s, "r", 2)
	for range 2 {
		require.NoError(t, track.NewMLflow(o).Sync(t.Context(), s, "r"))
	}

	var found struct {
		Runs []struct {
			Info struct {
				ID     string `json:"run_id"`
				Name   string `json:"run_name"`
				Status string
			}
			Data struct {
				Params  []struct{ Key, Value string }
				Metrics []struct {
					Key   string
					Value float64
					Step  json.Number
				}
			}
		}
	}
	api(t.Context(), t, address, "POST", "runs/search", `{"experiment_ids":["1"]}`, &found)
	require.Len(t, found.Runs, 1, "synced three times, one run")
	require.Equal(t, "r", found.Runs[0].Info.Name)
	require.Equal(t, "FINISHED", found.Runs[0].Info.Status)
	require.NotEmpty(t, found.Runs[0].Data.Params)
	require.NotEmpty(t, found.Runs[0].Data.Metrics)
	var history struct{ Metrics []struct{ Value float64 } }
	api(t.Context(), t, address, "GET", "metrics/get-history?run_id="+found.Runs[0].Info.ID+"&metric_key=update/kl_k3_mean_per_token", "", &history)
	require.Len(t, history.Metrics, 2, "one value a step")
	api(t.Context(), t, address, "GET", "metrics/get-history?run_id="+found.Runs[0].Info.ID+"&metric_key=time/rollout_seconds", "", &history)
	require.Len(t, history.Metrics, 1, "one value a step that was measured")
}
