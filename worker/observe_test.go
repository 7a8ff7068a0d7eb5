package worker

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/testsuite"
	sdkworker "go.temporal.io/sdk/worker"

	"multiattempt/activities"
	"multiattempt/config"
	"multiattempt/internal/blob"
	"multiattempt/internal/reward"
	"multiattempt/internal/telemetry"
	"multiattempt/internal/track"
	"multiattempt/internal/update"
)

// stages stands in for the activities whose outcomes are counted.
type stages struct{ record blob.Ref }

func (s *stages) Rollout(context.Context) (activities.RolloutOutput, error) {
	return activities.RolloutOutput{Count: 8, Tokens: 80}, nil
}

func (s *stages) Update(context.Context) (activities.UpdateOutput, error) {
	return activities.UpdateOutput{Record: s.record}, nil
}

func (s *stages) Reward(context.Context) (activities.RewardOutput, error) {
	return activities.RewardOutput{}, errors.New("no")
}

func TestActivitiesAreCounted(t *testing.T) {
	log, err := telemetry.NewLogger(t.Output(), "info", "text")
	require.NoError(t, err)
	cfg := config.Config{Metrics: config.Metrics{Listen: "127.0.0.1:0"}}
	o, err := observe(t.Context(), cfg, "w", log)
	require.NoError(t, err)
	defer o.close()
	var options client.Options
	o.client(&options)
	require.NotNil(t, options.MetricsHandler)
	store := o.watch(blob.NewMemory(), config.Tracking{})

	record := activities.StepRecord{Run: "r", Step: 3, Reward: reward.Summary{RewardMean: 0.5, Bounded: 2}, Update: update.Stats{KL: 0.01, TokensTrained: 70}}
	s := &stages{}
	s.record = putRecord(t, store, record)
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.SetWorkerOptions(sdkworker.Options{Interceptors: []interceptor.WorkerInterceptor{o}})
	env.RegisterActivity(s)
	_, err = env.ExecuteActivity(s.Rollout)
	require.NoError(t, err)
	_, err = env.ExecuteActivity(s.Update)
	require.NoError(t, err)
	_, err = env.ExecuteActivity(s.Reward)
	require.Error(t, err)

	all := scrape(t, o)
	for _, line := range []string{
		`multiattempt_stage_seconds_count{stage="Rollout"} 1`,
		`multiattempt_stage_failures_total{kind="other",stage="Reward"} 1`,
		`multiattempt_kl_k3_mean_per_token{run="r"} 0.01`,
		`multiattempt_reward_mean_per_episode{run="r"} 0.5`,
		`multiattempt_bounded_verdicts_total{run="r"} 2`,
		`multiattempt_trained_tokens_total{run="r"} 70`,
		`multiattempt_step_iterations{run="r"} 3`,
		`multiattempt_store_seconds_count{op="get"} 1`,
	} {
		require.Contains(t, all, line)
	}
}

func putRecord(t testing.TB, s blob.Store, r activities.StepRecord) blob.Ref {
	t.Helper()
	b, err := json.Marshal(r)
	require.NoError(t, err)
	ref, err := blob.PutAs(t.Context(), s, activities.RecordKey(r.Run, r.Step), b)
	require.NoError(t, err)
	return ref
}

// scrape reads the metrics as Prometheus does, but for the way over the network.
func scrape(t *testing.T, o *observer) string {
	t.Helper()
	answer := httptest.NewRecorder()
	o.meter.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	return answer.Body.String()
}

// recorder is a tracker that remembers what it was told.
type recorder struct {
	mu   sync.Mutex
	runs []string
	err  error
}

func (r *recorder) Name() string { return "recorder" }

func (r *recorder) Sync(_ context.Context, _ blob.Store, run string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs = append(r.runs, run)
	return r.err
}

func TestTrackersFollowInTheBackground(t *testing.T) {
	good, bad := &recorder{}, &recorder{err: errors.New("away")}
	var failures int
	f := follow(blob.NewMemory(), []track.Tracker{bad, good}, func(track.Tracker, string, error) { failures++ })
	f.changed("a")
	f.changed("b")
	require.NoError(t, f.close(t.Context()), "what waits is done first")
	require.Equal(t, []string{"a", "b"}, good.runs, "a tracker that fails does not hold up the others")
	require.Equal(t, 2, failures)

	var none *following
	none.changed("a")
}
