package worker

import (
	"encoding/json"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/testsuite"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/internal/hub"
	"multiattempt/internal/rollout"
	"multiattempt/internal/source"
	"multiattempt/internal/spec"
	"multiattempt/presets"
	"multiattempt/workflows"
)

// trained runs Train with a real engine, and returns its records and the episodes of its first step.
func trained(t *testing.T, settings string) ([]activities.StepRecord, []rollout.Episode) {
	t.Helper()
	d, store, dir := pureGo(t), blob.NewMemory(), t.TempDir()
	models, err := activities.NewModels(store, filepath.Join(dir, "models"))
	require.NoError(t, err)
	learner, err := activities.NewLearner(store, d, models, "", filepath.Join(dir, "learner"))
	require.NoError(t, err)
	own := activities.Presets{Train: presets.Train(), Finetune: presets.Finetune(), Model: presets.Model}
	set := activities.Set{
		Data:     activities.NewData(store, d, models, own, source.Finder{Roots: []string{dir}, Hub: hub.FromEnvironment()}, ""),
		Rollouts: activities.NewRollouts(store, d, models),
		Learner:  learner,
	}
	defer func() { require.NoError(t, set.Close()) }()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(slog.New(slog.DiscardHandler))
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(5 * time.Minute) // a busy machine is slow, not wrong
	env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: "r", TaskQueue: "q"})
	workflows.Register(env)
	set.Register(env)
	env.ExecuteWorkflow(workflows.TrainName, json.RawMessage(settings))
	require.NoError(t, env.GetWorkflowError())
	records, err := activities.Records(t.Context(), store, "r")
	require.NoError(t, err)
	var x activities.Experience
	text, err := blob.Read(t.Context(), store, records[0].Experience.Key)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &x))
	episodes, err := activities.LoadEpisodes(t.Context(), store, x.Episodes)
	require.NoError(t, err)
	return records, episodes
}

// TestATrainingRunInBFloat16: rollouts, updates and evaluations from end to end. Repeated, it leaves the same bytes; sampler and
// learner agree better than where one of them computes in float32; both mismatches are within the limit that records name.
func TestATrainingRunInBFloat16(t *testing.T) {
	const short = `"iterations":2,"data":{"problems_per_step":8,"shard_size":4},"attempts":{"max":3,"max_new_tokens":24},
		"prompt":{"system":"{N}","feedback":"{n}"},"update":{"minibatch":8},"checkpoint":{"every":2},
		"evaluation":{"every":0,"limit":4,"attempts":[1],"final_attempts":[1],"max_new_tokens":24}}`
	half, episodes := trained(t, `{"model":{"source":"builtin:smudged-base","compute":"bfloat16"},`+short)
	again, _ := trained(t, `{"model":{"source":"builtin:smudged-base","compute":"bfloat16"},`+short)
	require.Equal(t, half, again)
	mixed, others := trained(t, `{"model":{"source":"builtin:smudged-base","compute":"bfloat16"},"sampling":{"compute":"float32"},`+short)
	require.NotEqual(t, others[0].LogProbs, episodes[0].LogProbs)
	full, _ := trained(t, `{"model":{"source":"builtin:smudged-base"},`+short)
	for i := range half {
		require.Less(t, half[i].Update.MismatchMeanAbs, mixed[i].Update.MismatchMeanAbs)
		require.Less(t, mixed[i].Update.MismatchMeanAbs, mixed[i].Update.MismatchLimit)
		require.Equal(t, 0.05, mixed[i].Update.MismatchLimit)
		require.Equal(t, 0.05, half[i].Update.MismatchLimit)
		require.Equal(t, 0.01, full[i].Update.MismatchLimit)
		t.Logf("mismatch: both bfloat16 %.2g, sampler in float32 %.2g, both float32 %.2g",
			half[i].Update.MismatchMeanAbs, mixed[i].Update.MismatchMeanAbs, full[i].Update.MismatchMeanAbs)
	}
	require.Equal(t, spec.ComputeBFloat16, spec.Run{Model: spec.Model{Compute: spec.ComputeBFloat16}}.SamplerCompute())
}
