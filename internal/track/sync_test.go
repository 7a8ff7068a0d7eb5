package track_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
	"multiattempt/internal/track"
)

func TestTensorBoardGoesOnWhereItWas(t *testing.T) {
	s, dir := blob.NewMemory(), t.TempDir()
	putRun(t, s, "r", 1)
	require.NoError(t, track.NewTensorBoard(dir).Sync(t.Context(), s, "r"))
	file := track.EventFile(dir, "r")
	before, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, track.NewTensorBoard(dir).Sync(t.Context(), s, "r"))
	same, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, before, same, "twice is once")

	// A crash in the middle of a record, then the next step.
	require.NoError(t, os.Truncate(file, int64(len(before)-3)))
	putStep(t, s, "r", 2)
	board := track.NewTensorBoard(dir)
	require.NoError(t, board.Sync(t.Context(), s, "r"))
	require.NoError(t, board.Sync(t.Context(), s, "r"), "an open board remembers")
	tags, steps := track.Places(t, file)
	seen := map[string]bool{}
	for i := range tags {
		at := fmt.Sprint(tags[i], steps[i])
		require.False(t, seen[at], "%s twice", at)
		seen[at] = true
	}
	for _, want := range []string{
		"_hparams_/session_start_info0", "_hparams_/session_end_info0", "update/kl_k3_mean_per_token1", "update/kl_k3_mean_per_token2",
		"reward/reward_mean_per_episode2", "evaluation/accuracy_at_2_share_of_problems/held-out: all1", "dialogues1",
	} {
		require.True(t, seen[want], want)
	}
	require.ErrorIs(t, board.Sync(t.Context(), s, "none"), track.ErrNoRun)
}

// server is as much of an MLflow server as the tracker asks for.
type server struct {
	t       *testing.T
	mu      sync.Mutex
	exists  bool
	tags    map[string]string
	params  map[string]string
	metrics map[string]int // "key step value timestamp": times logged
	status  string
	auth    string
	refuse  bool
}

func (m *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.auth = r.Header.Get("Authorization")
	var in struct {
		Metrics []struct {
			Key             string
			Value           float64
			Step, Timestamp int64
		}
		Params, Tags       []struct{ Key, Value string }
		Key, Value, Status string
	}
	if r.Method == http.MethodPost {
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			m.t.Error(err)
		}
	}
	run := map[string]any{"info": map[string]any{"run_id": "1"}}
	answer := map[string]any{}
	switch r.URL.Path {
	case "/api/2.0/mlflow/experiments/get-by-name":
		w.WriteHeader(http.StatusNotFound)
		answer = map[string]any{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no"}
	case "/api/2.0/mlflow/experiments/create":
		answer["experiment_id"] = "7"
	case "/api/2.0/mlflow/runs/search":
		if m.exists {
			tags := []map[string]string{}
			for k, v := range m.tags {
				tags = append(tags, map[string]string{"key": k, "value": v})
			}
			run["data"] = map[string]any{"tags": tags}
			answer["runs"] = []any{run}
		}
	case "/api/2.0/mlflow/runs/create":
		m.exists = true
		for _, tag := range in.Tags {
			m.tags[tag.Key] = tag.Value
		}
		answer["run"] = run
	case "/api/2.0/mlflow/runs/log-batch":
		if m.refuse && len(in.Metrics) > 0 {
			w.WriteHeader(http.StatusInternalServerError)
			answer = map[string]any{"error_code": "INTERNAL_ERROR", "message": "database is locked"}
			break
		}
		for _, p := range in.Params {
			m.params[p.Key] = p.Value
		}
		for _, v := range in.Metrics {
			m.metrics[fmt.Sprint(v.Key, " ", v.Step, " ", v.Value, " ", v.Timestamp)]++
		}
	case "/api/2.0/mlflow/runs/set-tag":
		m.tags[in.Key] = in.Value
	case "/api/2.0/mlflow/runs/update":
		m.status = in.Status
	default:
		m.t.Errorf("no such call: %s", r.URL.Path)
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func TestMLflowGoesOnWhereItWas(t *testing.T) {
	m := &server{t: t, tags: map[string]string{}, params: map[string]string{}, metrics: map[string]int{}, refuse: true}
	listening := httptest.NewServer(m)
	defer listening.Close()
	s := blob.NewMemory()
	putRun(t, s, "r", 1)
	o := track.MLflowOptions{URL: listening.URL, Experiment: "e", Token: "t"}
	err := track.NewMLflow(o).Sync(t.Context(), s, "r")
	require.ErrorIs(t, err, track.ErrMLflow)
	require.ErrorContains(t, err, "database is locked")
	require.Equal(t, "Bearer t", m.auth)
	m.refuse = false
	require.NoError(t, track.NewMLflow(o).Sync(t.Context(), s, "r"))
	require.Equal(t, "RUNNING", m.status)
	require.Equal(t, "r", m.params["name"])
	first := len(m.metrics)
	require.NotZero(t, first)
	putStep(t, s, "r", 2)
	require.NoError(t, track.NewMLflow(o).Sync(t.Context(), s, "r"), "another process goes on")
	require.Equal(t, "FINISHED", m.status)
	require.Greater(t, len(m.metrics), first)
	for at, times := range m.metrics {
		require.Equal(t, 1, times, at)
	}
	require.Equal(t, "2", m.tags["multiattempt.step"])
	require.Equal(t, "1", m.tags["multiattempt.evaluated"])

	o.URL = "http://127.0.0.1:1"
	err = track.NewMLflow(o).Sync(t.Context(), s, "r")
	require.True(t, errors.Is(err, track.ErrMLflow))
	require.ErrorContains(t, err, "does not answer")
}
