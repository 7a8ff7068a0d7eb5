package activities_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/activities"
	"multiattempt/activities/activitytest"
	"multiattempt/internal/blob"
	"multiattempt/internal/dataset"
	"multiattempt/internal/evaluate"
)

// writeSums writes a data file of the questions 1+1, 2+1 …, from first to last.
func writeSums(t *testing.T, path string, first, last int) {
	t.Helper()
	var b strings.Builder
	for i := first; i <= last; i++ {
		fmt.Fprintf(&b, "{\"question\":\"%d+1\",\"answer\":\"%d\"}\n", i, i+1)
	}
	require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o644))
}

// fileSettings are the settings of a run that trains on one file and is evaluated on another.
func fileSettings(train, test string) string {
	return fmt.Sprintf(`{"preset":"small","data":{"train":%q},"evaluation":{"sets":[%q],"limit":0,"final_attempts":[1]}}`, train, test)
}

func TestResolveSpecRecordsWhatTheDataAre(t *testing.T) {
	store, dir := blob.NewMemory(), t.TempDir()
	h := newHost(t, store, activitytest.Presets(t), "h")
	train, test := filepath.Join(dir, "train.jsonl"), filepath.Join(dir, "test.jsonl")
	writeSums(t, train, 1, 20)
	writeSums(t, test, 19, 23)
	out, _ := begin(t, h, fileSettings(train, test))
	require.True(t, strings.HasPrefix(out.Data.Key, "runs/r/data-"), out.Data.Key)
	b, err := blob.Load(t.Context(), store, out.Data)
	require.NoError(t, err)
	var id dataset.Identity
	require.NoError(t, json.Unmarshal(b, &id))
	content, err := os.ReadFile(train)
	require.NoError(t, err)
	require.Equal(t, []dataset.Origin{{Source: train, SHA256: blob.Sum(content)}}, id.Train.Files)
	require.Equal(t, 20, id.Train.Problems)
	require.Equal(t, 2, id.Evaluation[0].Shared)
	require.Equal(t, []string{
		"2 of 5 problems of the evaluation set " + test + " are in the training set: its scores say nothing about generalisation",
	}, out.Warnings)
	again, _ := begin(t, h, fileSettings(train, test))
	require.Equal(t, out.Data, again.Data, "repeated, the same object")
}

func TestResolveSpecShoutsWhenTrainingAndEvaluationAreOneFile(t *testing.T) {
	h := newHost(t, blob.NewMemory(), activitytest.Presets(t), "h")
	file := filepath.Join(t.TempDir(), "all.jsonl")
	writeSums(t, file, 1, 20)
	out, _ := begin(t, h, fileSettings(file, file))
	require.Len(t, out.Warnings, 1)
	require.Contains(t, out.Warnings[0], "EVALUATION ON THE TRAINING SET")
}

func TestDataThatChangeUnderARunAreRefused(t *testing.T) {
	h := newHost(t, blob.NewMemory(), activitytest.Presets(t), "h")
	dir := t.TempDir()
	train, test := filepath.Join(dir, "train.jsonl"), filepath.Join(dir, "test.jsonl")
	writeSums(t, train, 1, 20)
	writeSums(t, test, 30, 35)
	out, at := begin(t, h, fileSettings(train, test))
	batch := activities.SampleBatchInput{Run: "r", Spec: at.Spec, Data: out.Data}
	task := activities.EvaluationTask{Run: "r", Spec: at.Spec, Data: out.Data, Policy: at.Policy, Attempts: []int{1}}
	must[activities.SampleBatchOutput](t, h, h.Data.SampleBatch, batch)
	must[activities.OpenSetsOutput](t, h, h.Data.OpenSets, task)

	writeSums(t, train, 1, 21)
	_, err := do[activities.SampleBatchOutput](t, h, h.Data.SampleBatch, batch)
	requireFailure(t, err, activities.FailureBadData)
	require.ErrorContains(t, err, train)
	must[activities.OpenSetsOutput](t, h, h.Data.OpenSets, task)

	writeSums(t, test, 30, 34)
	_, err = do[activities.OpenSetsOutput](t, h, h.Data.OpenSets, task)
	requireFailure(t, err, activities.FailureBadData)
	require.ErrorContains(t, err, test)

	writeSums(t, train, 1, 20)
	must[activities.SampleBatchOutput](t, h, h.Data.SampleBatch, batch)
}

func TestARunGoesOnWithTheProblemsThatItWasTrainedOn(t *testing.T) {
	h := newHost(t, blob.NewMemory(), activitytest.Presets(t), "h")
	dir := t.TempDir()
	train, test := filepath.Join(dir, "train.jsonl"), filepath.Join(dir, "test.jsonl")
	settings := fileSettings(train, test)
	writeSums(t, test, 30, 35)
	writeSums(t, train, 1, 9)
	begin(t, h, settings) // comes to nothing
	writeSums(t, train, 1, 20)
	plan, at := begin(t, h, settings)
	at = advance(t, h, at, plan.Plan.Shards, 1)
	keep(t, h, at)
	again, _ := begin(t, h, settings)
	require.Equal(t, 1, again.Checkpoint.Step)

	writeSums(t, train, 2, 20)
	_, err := do[activities.ResolveSpecOutput](t, h, h.Data.ResolveSpec, activities.ResolveSpecInput{Run: "r", Spec: json.RawMessage(settings)})
	requireFailure(t, err, activities.FailureBadData)
	require.ErrorContains(t, err, train)
}

func TestAResultHasTheDigestsOfItsFiles(t *testing.T) {
	store := blob.NewMemory()
	h := newHost(t, store, activitytest.Presets(t), "h")
	test := filepath.Join(t.TempDir(), "test.jsonl")
	writeSums(t, test, 1, 3)
	content, err := os.ReadFile(test)
	require.NoError(t, err)
	_, at := begin(t, h, fmt.Sprintf(`{"preset":"small","evaluation":{"sets":[%q,"smudged"],"limit":3,"final_attempts":[1]}}`, test))
	task := activities.EvaluationTask{Run: "r", Spec: at.Spec, Policy: at.Policy, Attempts: []int{1}}
	sets := must[activities.OpenSetsOutput](t, h, h.Data.OpenSets, task).Sets
	var scored []blob.Ref
	for _, set := range sets {
		require.Equal(t, 1, set.Shards)
		episodes := must[activities.RolloutOutput](t, h, h.Rollouts.Rollout, activities.RolloutInput{
			Run: "r", Spec: at.Spec, Policy: at.Policy, Problems: set.Problems, Shards: 1, Evaluate: true, Set: set.Name, Attempts: 1,
		}).Episodes
		scored = append(scored, must[activities.ScoreOutput](t, h, h.Data.Score,
			activities.ScoreInput{Task: task, Set: set, Episodes: [][]blob.Ref{{episodes}}}).Set)
	}
	table := must[activities.ScoreTableOutput](t, h, h.Data.ScoreTable, activities.ScoreTableInput{Task: task, Sets: scored})
	b, err := blob.Load(t.Context(), store, table.Result)
	require.NoError(t, err)
	result, err := evaluate.Decode(b)
	require.NoError(t, err)
	require.Equal(t, []blob.Digest{blob.Sum(content)}, result.Sets[0].Files)
	require.Empty(t, result.Sets[1].Files, "generated")
}
