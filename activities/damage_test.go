package activities_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/activities"
	"multiattempt/activities/activitytest"
	"multiattempt/internal/blob"
)

// TestACheckpointThatCannotBeUsedIsRefused damages a checkpoint in every way, and then goes on from it, evaluates it and
// forks it, each on a worker that has nothing in its cache: what is wrong, where, and what to do is said, and nothing is
// deleted or overwritten.
func TestACheckpointThatCannotBeUsedIsRefused(t *testing.T) {
	presets := activitytest.Presets(t)
	all := []string{"resume", "eval", "fork"}
	for name, c := range map[string]struct {
		damage func(t *testing.T, s blob.Store, key string)
		of     string   // the end of what is damaged
		what   []string // refuses it; empty: all
		kind   string
		say    []string
	}{
		"corrupt policy": {flip, "policy/bigram.json", all, activities.FailureCorrupt, []string{"corrupt object", "policy/bigram.json", "go back to an earlier checkpoint"}},
		"missing policy": {remove, "policy/bigram.json", all, activities.FailureMissing, []string{"policy/bigram.json", "object not found", "go back to an earlier checkpoint"}},
		"corrupt state": {flip, "state/learner.json", []string{"resume", "fork"}, activities.FailureCorrupt,
			[]string{"corrupt object", "state/learner.json", "go back to an earlier checkpoint"}},
		"missing state": {remove, "state/learner.json", []string{"resume", "fork"}, activities.FailureMissing,
			[]string{"state/learner.json", "object not found", "go back to an earlier checkpoint"}},
		"foreign": {replace(`"run": "r"`, `"run": "other"`), "000002/manifest.json", all, activities.FailureCorrupt,
			[]string{"checkpoint of another run", "manifest.json says other@2", "go on from an earlier checkpoint"}},
		"newer": {replace(`"version": 1`, `"version": 99`), "000002/manifest.json", all, activities.FailureCorrupt,
			[]string{"newer format", "manifest.json has version 99", "use the program that wrote it"}},
		"no manifest any more": {remove, "000002/manifest.json", []string{"eval", "fork"}, activities.FailureNoCheckpoint,
			[]string{"no checkpoint: r@2", "`multiattempt checkpoints r` lists"}},
	} {
		t.Run(name, func(t *testing.T) {
			store := blob.NewMemory()
			h := newHost(t, store, presets, "h")
			plan, at := begin(t, h, `{"preset":"small"}`)
			at = advance(t, h, at, plan.Plan.Shards, 2)
			kept := keep(t, h, at)
			x := experienced(t, h, at, plan.Plan.Shards)
			at = at.At(kept.Checkpoint, kept.Policy)
			key := ""
			for _, k := range keys(t, store, "runs/r/checkpoints/") {
				if strings.HasSuffix(k, c.of) {
					key = k
				}
			}
			require.NotEmpty(t, key, "%v", keys(t, store, "runs/r/checkpoints/"))
			c.damage(t, store, key)
			before := everything(t, store)
			for _, what := range c.what {
				err := use(t, newHost(t, store, presets, "fresh"), what, at, x)
				requireFailure(t, err, c.kind)
				for _, part := range c.say {
					require.ErrorContains(t, err, part, what)
				}
				after := everything(t, store)
				for k, b := range before {
					require.Equal(t, b, after[k], "%s: %s", what, k)
				}
			}
		})
	}
}

// use does something with the checkpoint of step 2 of run r.
func use(t *testing.T, h host, what string, at activities.Position, experience blob.Ref) error {
	t.Helper()
	switch what {
	case "resume":
		if _, err := resolve(t, h, `{"preset":"small"}`); err != nil {
			return err
		}
		_, err := do[activities.UpdateOutput](t, h, h.Learner.Update, activities.UpdateInput{At: at, Experience: experience})
		return err
	case "fork":
		_, err := do[activities.ResolveSpecOutput](t, h, h.Data.ResolveSpec, activities.ResolveSpecInput{
			Run: "f", Spec: json.RawMessage(`{"iterations":9}`), Fork: &activities.Fork{Run: "r", Step: 2}})
		return err
	}
	task, err := do[activities.EvaluationTask](t, h, h.Data.ResolveEvaluation,
		activities.ResolveEvaluationInput{ID: "e", Run: "r", Step: 2, Spec: json.RawMessage(`{"evaluation":{"final_attempts":[1]}}`)})
	if err != nil {
		return err
	}
	set := must[activities.OpenSetsOutput](t, h, h.Data.OpenSets, task).Sets[0]
	_, err = do[activities.RolloutOutput](t, h, h.Rollouts.Rollout, activities.RolloutInput{
		Run: "r", Spec: task.Spec, Policy: task.Policy, Problems: set.Problems, Shards: 1, Evaluate: true, Set: set.Name, Attempts: 1,
	})
	return err
}

// everything is what a store holds.
func everything(t *testing.T, s blob.Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, key := range keys(t, s, "") {
		b, err := blob.Read(t.Context(), s, key)
		require.NoError(t, err)
		all[key] = string(b)
	}
	return all
}

func remove(t *testing.T, s blob.Store, key string) {
	t.Helper()
	require.NoError(t, s.Delete(t.Context(), key))
}

func flip(t *testing.T, s blob.Store, key string) {
	t.Helper()
	b, err := blob.Read(t.Context(), s, key)
	require.NoError(t, err)
	b[len(b)/2] ^= 1
	overwrite(t, s, key, b)
}

// replace changes an object's text.
func replace(old, with string) func(t *testing.T, s blob.Store, key string) {
	return func(t *testing.T, s blob.Store, key string) {
		t.Helper()
		b, err := blob.Read(t.Context(), s, key)
		require.NoError(t, err)
		changed := strings.Replace(string(b), old, with, 1)
		require.NotEqual(t, string(b), changed)
		overwrite(t, s, key, []byte(changed))
	}
}

func overwrite(t *testing.T, s blob.Store, key string, b []byte) {
	t.Helper()
	_, err := s.Put(t.Context(), key, bytes.NewReader(b), int64(len(b)), blob.PutOptions{})
	require.NoError(t, err)
}
