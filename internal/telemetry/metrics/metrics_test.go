package metrics

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

func text(t *testing.T, url string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	b, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusOK, answer.StatusCode)
	return string(b)
}

// count makes every metric appear.
func count(m *Meter) {
	m.Stage("Rollout", 2*time.Second, 1, "")
	m.Stage("Rollout", time.Second, 3, "other")
	m.Rollout("r", 8, 100, 2*time.Second)
	m.Iteration(Iteration{Run: "r", Step: 4, TokensTrained: 90, Bounded: 1, Disagree: 2, Facts: []Fact{
		{Name: "reward_mean_per_episode", Value: 0.5}, {Name: "outcomes_share_of_attempts", Part: "correct", Value: 0.25},
	}})
	m.Store("put", 1000, time.Millisecond, false)
	m.Store("get", 0, time.Millisecond, true)
	m.TrackerFailed("MLflow")
	sdk := m.Temporal()
	sdk.Counter("temporal_request").Inc(3)
	sdk.Timer("temporal_activity_execution_latency").Record(20 * time.Millisecond)
	sdk.WithTags(map[string]string{"task_queue": "q"}).Gauge("temporal_worker_task_slots_available").Update(7)
}

func TestPrometheusReadsEverything(t *testing.T) {
	m, err := New(map[string]string{"worker": "w", "backend": "go"})
	require.NoError(t, err)
	count(m)
	at, stop, err := m.Serve("127.0.0.1:0", func(err error) { t.Error(err) })
	require.NoError(t, err)
	all := text(t, "http://"+at.String()+"/metrics")
	require.NoError(t, stop())
	for _, line := range []string{
		`multiattempt_worker_info{backend="go",worker="w"} 1`,
		`multiattempt_stage_seconds_sum{stage="Rollout"} 3`,
		`multiattempt_stage_retries_total{stage="Rollout"} 1`,
		`multiattempt_stage_failures_total{kind="other",stage="Rollout"} 1`,
		`multiattempt_episodes_total{run="r"} 8`,
		`multiattempt_sampled_tokens_total{run="r"} 100`,
		`multiattempt_rollout_tokens_per_second{run="r"} 50`,
		`multiattempt_iterations_total{run="r"} 1`,
		`multiattempt_trained_tokens_total{run="r"} 90`,
		`multiattempt_bounded_verdicts_total{run="r"} 1`,
		`multiattempt_grading_disagreements_total{run="r"} 2`,
		`multiattempt_step_iterations{run="r"} 4`,
		`multiattempt_reward_mean_per_episode{run="r"} 0.5`,
		`multiattempt_outcomes_share_of_attempts{part="correct",run="r"} 0.25`,
		`multiattempt_store_bytes_total{op="put"} 1000`,
		`multiattempt_store_failures_total{op="get"} 1`,
		`multiattempt_tracker_failures_total{tracker="MLflow"} 1`,
		`temporal_request_total 3`,
		`temporal_activity_execution_latency_seconds_count 1`,
		`temporal_activity_execution_latency_seconds_bucket{le="0.03"} 1`,
		`temporal_worker_task_slots_available{task_queue="q"} 7`,
		`process_resident_memory_bytes`,
	} {
		require.Contains(t, all, line)
	}
}

func TestNamesObeyPrometheusRules(t *testing.T) {
	m, err := New(nil)
	require.NoError(t, err)
	count(m)
	problems, err := testutil.GatherAndLint(m.registry)
	require.NoError(t, err)
	for _, p := range problems {
		require.False(t, strings.HasPrefix(p.Metric, "multiattempt_"), "%s: %s", p.Metric, p.Text)
	}
}

func TestRunsOfLongAgoAreForgotten(t *testing.T) {
	m, err := New(nil)
	require.NoError(t, err)
	for i := range maxRuns + 1 {
		m.Rollout(fmt.Sprint(i), 1, 1, time.Second)
		m.Iteration(Iteration{Run: fmt.Sprint(i)})
	}
	require.Equal(t, maxRuns, testutil.CollectAndCount(m.iterations))
	require.Equal(t, maxRuns, testutil.CollectAndCount(m.tokensPerSecond))
	require.Equal(t, maxRuns, testutil.CollectAndCount(m.facts))
}

func TestNobodyCounts(*testing.T) {
	var m *Meter
	m.Stage("Rollout", time.Second, 1, "")
	m.Rollout("r", 1, 1, time.Second)
	m.Iteration(Iteration{Run: "r"})
	m.Store("put", 1, time.Second, false)
	m.TrackerFailed("x")
	m.Temporal().Counter("x").Inc(1)
}

func TestATakenAddressIsAnError(t *testing.T) {
	m, err := New(nil)
	require.NoError(t, err)
	at, stop, err := m.Serve("127.0.0.1:0", func(error) {})
	require.NoError(t, err)
	_, _, err = m.Serve(at.String(), func(error) {})
	require.ErrorContains(t, err, "metrics.listen")
	require.NoError(t, stop())
}
