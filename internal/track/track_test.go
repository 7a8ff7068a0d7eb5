package track_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/internal/evaluate"
	"multiattempt/internal/reward"
	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
	"multiattempt/internal/track"
	"multiattempt/internal/update"
)

// hostile is what a model may say: it must stay inside its block of Markdown.
const hostile = "```\n</pre><script>alert(1)</script>\x1b[31m \\boxed{7}"

// putRun stores a run of n iterations with settings for 2, dialogues and an evaluation after the last.
func putRun(t testing.TB, s blob.Store, run string, n int) {
	t.Helper()
	settings := spec.Default()
	settings.Name, settings.Iterations = run, 2
	putJSON(t, s, activities.SpecPrefix(run)+"0123456789ab.json", settings)
	var timings []activities.Timing
	for step := 1; step <= n; step++ {
		putStep(t, s, run, step)
		timings = append(timings, activities.Timing{Step: step, Rollout: 2, Reward: 0.5, Score: 1, Optimise: 2, Publish: 1, Memory: 1e9})
	}
	putJSON(t, s, activities.TimingPrefix(run)+"000000.json", timings)
	result := evaluate.Result{Run: run, Step: n, Sets: []evaluate.Set{{Name: "held-out: all", Problems: 2, Scores: []evaluate.Score{
		{Attempts: 1, Samples: 1, Correct: 1, N: 2, Accuracy: 0.5, SolvedAt: []int{0, -1}}, {Attempts: 2, Samples: 1, Correct: 2, N: 2, Accuracy: 1, SolvedAt: []int{0, 1}},
	}}}}
	result.Finish()
	b, err := result.Encode()
	require.NoError(t, err)
	_, err = blob.PutAs(t.Context(), s, fmt.Sprintf("%s%06d/result-0123456789ab.json", activities.EvaluationPrefix(run), n), b)
	require.NoError(t, err)
}

func putStep(t testing.TB, s blob.Store, run string, step int) {
	t.Helper()
	episodes := []rollout.Episode{{
		ProblemID: "p`1", Question: "3 + 4?", Gold: "7", MaxTries: 2, Policy: strings.Repeat("0", 64),
		Attempts: []rollout.Attempt{{Start: 0, End: 1, Outcome: rollout.Wrong, Text: "8"}, {Start: 1, End: 2, Outcome: rollout.Correct, Text: hostile, Rule: "integer"}},
		Tokens:   []int32{1, 2}, Mask: []bool{true, true}, LogProbs: []float32{-1, -1},
	}}
	b, err := rollout.Encode(episodes)
	require.NoError(t, err)
	shard, err := blob.PutAs(t.Context(), s, fmt.Sprintf("runs/%s/steps/%06d/episodes-0000", run, step), b)
	require.NoError(t, err)
	x := putJSON(t, s, fmt.Sprintf("runs/%s/steps/%06d/experience.json", run, step), activities.Experience{Step: step - 1, Episodes: []blob.Ref{shard}})
	putJSON(t, s, activities.RecordKey(run, step), activities.StepRecord{
		Run: run, Step: step, Experience: x,
		Reward: reward.Summary{Episodes: 1, SampledTokens: 10, RewardMean: 0.5 * float64(step), SolvedAt: []float64{0, 1}, Outcomes: map[rollout.Outcome]float64{rollout.Correct: 0.5}},
		Update: update.Stats{KL: 0.01 * float64(step), TokensTrained: 2},
	})
}

func putJSON(t testing.TB, s blob.Store, key string, v any) blob.Ref {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	ref, err := blob.PutAs(t.Context(), s, key, b)
	require.NoError(t, err)
	return ref
}

func TestEveryNumberOfARecordIsAScalar(t *testing.T) {
	s := blob.NewMemory()
	putRun(t, s, "r", 2)
	steps, err := track.Steps(t.Context(), s, "r", 0)
	require.NoError(t, err)
	require.Len(t, steps, 2)
	scalars, err := steps[1].Scalars()
	require.NoError(t, err)
	got := map[string]float64{}
	for _, sc := range scalars {
		got[sc.Tag()] = sc.Value
	}
	require.Len(t, got, len(scalars), "no tag twice")
	require.InDelta(t, 1, got["reward/reward_mean_per_episode"], 0)
	require.InDelta(t, 0.02, got["update/kl_k3_mean_per_token"], 0)
	require.InDelta(t, 1, got["reward/solved_at_attempt_share_of_episodes/2"], 0, "attempts count from 1")
	require.InDelta(t, 0.5, got["reward/outcomes_share_of_attempts/correct"], 0)

	require.InDelta(t, 2, got["time/rollout_seconds"], 0)
	require.InDelta(t, 6.5, got["time/stages_seconds"], 0)
	require.InDelta(t, 5, got["speed/sampled_tokens_per_rollout_second"], 0)
	require.InDelta(t, 0.5, got["speed/trained_tokens_per_update_second"], 0)
	require.InDelta(t, 1e9, got["memory/learner_resident_bytes"], 0)

	// What nobody measured, or left half-written, is a gap.
	putStep(t, s, "r", 3)
	_, err = s.Put(t.Context(), activities.TimingPrefix("r")+"000001.json", strings.NewReader("[{"), 2, blob.PutOptions{})
	require.NoError(t, err)
	steps, err = track.Steps(t.Context(), s, "r", 2)
	require.NoError(t, err)
	require.Nil(t, steps[0].Timing)

	later, err := track.Steps(t.Context(), s, "r", 1)
	require.NoError(t, err)
	require.Len(t, later, 2)
	require.Equal(t, 2, later[0].Step)
}

func TestTables(t *testing.T) {
	s := blob.NewMemory()
	putRun(t, s, "a", 2)
	putRun(t, s, "b", 1)
	table, err := track.ReadTable(t.Context(), s, []string{"a", "b"})
	require.NoError(t, err)
	require.Len(t, table.Rows, 3)

	var text bytes.Buffer
	require.NoError(t, table.WriteCSV(&text))
	lines, err := csv.NewReader(&text).ReadAll()
	require.NoError(t, err)
	require.Len(t, lines, 4)
	column := func(name string) int {
		for i, h := range lines[0] {
			if h == name {
				return i
			}
		}
		require.FailNow(t, "no column "+name)
		return 0
	}
	kl, accuracy := column("update/kl_k3_mean_per_token"), column("evaluation/accuracy_at_2_share_of_problems/held-out: all")
	require.Equal(t, []string{"a", "1", "0.01", ""}, []string{lines[1][0], lines[1][1], lines[1][kl], lines[1][accuracy]})
	require.Equal(t, []string{"a", "2", "0.02", "1"}, []string{lines[2][0], lines[2][1], lines[2][kl], lines[2][accuracy]})
	require.Equal(t, "b", lines[3][0])

	var file bytes.Buffer
	require.NoError(t, table.WriteParquet(&file))
	rows := parquet.NewReader(bytes.NewReader(file.Bytes()))
	require.Equal(t, int64(3), rows.NumRows())
	row := map[string]any{}
	require.NoError(t, rows.Read(&row))
	require.InDelta(t, 0.01, row["update/kl_k3_mean_per_token"], 0)
	require.EqualValues(t, 1, row["step"])
	require.Nil(t, row["evaluation/accuracy_at_2_share_of_problems/held-out: all"])
	require.NoError(t, rows.Close())

	_, err = track.ReadTable(t.Context(), s, []string{"none"})
	require.ErrorIs(t, err, track.ErrNoRun)
}
