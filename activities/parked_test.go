package activities_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/activities"
	"multiattempt/activities/activitytest"
	"multiattempt/internal/blob"
	"multiattempt/internal/experience"
	"multiattempt/internal/update"
)

// counting counts optimiser steps.
type counting struct {
	update.Learner
	steps *int
}

func (c counting) Step(ctx context.Context, rows []experience.Row, rates update.Rates) (update.StepStats, error) {
	*c.steps++
	return c.Learner.Step(ctx, rows, rates)
}

// TestTwoRunsOnOneWorkerRepeatNothing alternates between two runs: each comes back from the local disk as it was.
func TestTwoRunsOnOneWorkerRepeatNothing(t *testing.T) {
	store, presets := blob.NewMemory(), activitytest.Presets(t)
	alone := newHost(t, blob.NewMemory(), presets, "alone")
	plan, from := begin(t, alone, `{"preset":"small"}`)
	want := advance(t, alone, from, plan.Plan.Shards, 4)

	h := newHost(t, store, presets, "h")
	steps := 0
	h.Engine.OnLearner = func(l update.Learner) update.Learner { return counting{l, &steps} }
	_, at := begin(t, h, `{"preset":"small"}`)
	_, other := begin(t, h, `{"preset":"small","seed":2}`)
	for range 4 {
		at = advance(t, h, at, plan.Plan.Shards, 1)
		other = advance(t, h, other, plan.Plan.Shards, 1)
	}
	require.Equal(t, want.Policy.Digest, at.Policy.Digest)
	require.Equal(t, 2*4*2, steps, "two runs of four iterations of two minibatches")
}

// TestALearnerComesBackWithAllItsSettings: also with those that a bigram model has no use for.
func TestALearnerComesBackWithAllItsSettings(t *testing.T) {
	h := newHost(t, blob.NewMemory(), activitytest.Presets(t), "h")
	var told string
	var learners []string
	h.Engine.OnTold = func(settings string) { told = settings }
	h.Engine.OnLearner = func(l update.Learner) update.Learner {
		learners = append(learners, told)
		return l
	}
	plan, at := begin(t, h, `{"preset":"small","model":{"compute":"bfloat16"},"lora":{"policy":{"rank":3},"critic":{"rank":5}}}`)
	_, other := begin(t, h, `{"preset":"small","seed":2}`)
	at = advance(t, h, at, plan.Plan.Shards, 1)
	advance(t, h, other, plan.Plan.Shards, 1)
	advance(t, h, at, plan.Plan.Shards, 1)
	require.Len(t, learners, 3)
	require.Contains(t, learners[0], "bfloat16")
	require.Equal(t, learners[0], learners[2])
	require.NotEqual(t, learners[0], learners[1])
}

func TestAForkGoesOnWithOtherSettings(t *testing.T) {
	store, presets := blob.NewMemory(), activitytest.Presets(t)
	h := newHost(t, store, presets, "h")
	plan, at := begin(t, h, `{"preset":"small"}`)
	at = advance(t, h, at, plan.Plan.Shards, 2)
	kept := keep(t, h, at)

	fork := func(run, fields string) (activities.ResolveSpecOutput, error) {
		return do[activities.ResolveSpecOutput](t, h, h.Data.ResolveSpec, activities.ResolveSpecInput{
			Run: run, Spec: json.RawMessage(fields), Fork: &activities.Fork{Run: "r", Step: 2},
		})
	}
	out, err := fork("f", `{"optimizer":{"policy_lr":0.5}}`)
	require.NoError(t, err)
	require.Equal(t, "f", out.Name)
	require.Equal(t, 0.5, out.Plan.Rates.Policy)
	require.Equal(t, 6, out.Plan.Iterations, "the older run's")
	require.True(t, out.Checkpoint.IsZero(), "the workflow makes it one")
	repeated, err := fork("f", `{"optimizer":{"policy_lr":0.5}}`)
	require.NoError(t, err)
	require.Equal(t, out, repeated)
	first := activities.CommitCheckpointInput{Run: "f", Step: out.Branch.Step, Candidate: out.Branch.Candidate, Retain: out.Plan.Retain}
	out.Checkpoint, err = h.Data.CommitCheckpoint(t.Context(), first)
	require.NoError(t, err)
	out.Branch = activities.Branch{}
	require.Equal(t, "f", out.Checkpoint.Run)
	require.Equal(t, 2, out.Checkpoint.Step)
	require.Equal(t, kept.Policy.Digest, out.Restored.Digest)
	require.Contains(t, object(t, store, out.Checkpoint.Key), kept.Checkpoint.Key, "the manifest names its parent")

	for _, key := range keys(t, store, "runs/r/") { // the older run may go
		require.NoError(t, store.Delete(t.Context(), key))
	}
	again, err := fork("f", `{"optimizer":{"policy_lr":0.5}}`)
	require.NoError(t, err)
	require.Equal(t, out, again)
	position := activities.Position{Run: "f", Spec: again.Spec, Base: again.Base, Policy: again.Base}.At(again.Checkpoint, again.Restored)
	advance(t, h, position, plan.Plan.Shards, 1)

	_, err = fork("f", `{"optimizer":{"policy_lr":0.25}}`)
	requireFailure(t, err, activities.FailureRunExists)
	_, err = fork("g", `{}`)
	requireFailure(t, err, activities.FailureNoCheckpoint)
}

func TestAForkMayNotChangeTheModelOrEndBeforeItBegins(t *testing.T) {
	store, presets := blob.NewMemory(), activitytest.Presets(t)
	h := newHost(t, store, presets, "h")
	plan, at := begin(t, h, `{"preset":"small"}`)
	at = advance(t, h, at, plan.Plan.Shards, 2)
	keep(t, h, at)
	for fields, want := range map[string]string{
		`{"iterations":2}`:                         "iterations",
		`{"model":{"source":"builtin:other"}}`:     "model.source",
		`{"colour":"red"}`:                         "colour",
		`{"preset":"small","iterations":1,"x":{}}`: "x",
	} {
		_, err := do[activities.ResolveSpecOutput](t, h, h.Data.ResolveSpec, activities.ResolveSpecInput{
			Run: "f", Spec: json.RawMessage(fields), Fork: &activities.Fork{Run: "r"},
		})
		requireFailure(t, err, activities.FailureInvalidSpec)
		require.ErrorContains(t, err, want)
	}
	require.Empty(t, keys(t, store, "runs/f/checkpoints"))
}

// TestOnlyAcceptedStepsHaveARecord: what an update writes gets its name from Commit alone.
func TestOnlyAcceptedStepsHaveARecord(t *testing.T) {
	store, presets := blob.NewMemory(), activitytest.Presets(t)
	h := newHost(t, store, presets, "h")
	plan, at := begin(t, h, `{"preset":"small"}`)
	x := experienced(t, h, at, plan.Plan.Shards)
	out := must[activities.UpdateOutput](t, h, h.Learner.Update, activities.UpdateInput{At: at, Experience: x})
	require.Empty(t, keys(t, store, activities.RecordPrefix("r")))
	require.NoError(t, h.Data.Commit(t.Context(), activities.CommitInput{Run: "r", Step: 1, Record: out.Record}))
	records, err := activities.Records(t.Context(), store, "r")
	require.NoError(t, err)
	require.Len(t, records, 1)
	require.Equal(t, out.Policy, records[0].Policy)
}

func object(t *testing.T, s blob.Store, key string) string {
	t.Helper()
	body, _, err := s.Get(t.Context(), key)
	require.NoError(t, err)
	b, err := io.ReadAll(body)
	require.NoError(t, errors.Join(err, body.Close()))
	return string(b)
}
