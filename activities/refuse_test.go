package activities_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/activities"
	"multiattempt/activities/activitytest"
	"multiattempt/internal/blob"
	"multiattempt/internal/checkpoint"
	"multiattempt/internal/dataset"
	"multiattempt/internal/experience"
	"multiattempt/internal/hub/hubtest"
	"multiattempt/internal/update"
	"multiattempt/internal/update/updatetest"
)

// resolve asks for the settings of a run called r.
func resolve(t *testing.T, h host, fields string) (activities.ResolveSpecOutput, error) {
	t.Helper()
	return do[activities.ResolveSpecOutput](t, h, h.Data.ResolveSpec, activities.ResolveSpecInput{Run: "r", Spec: json.RawMessage(fields)})
}

func TestResolveSpecRefusesBrokenWeights(t *testing.T) {
	store := blob.NewMemory()
	h := newHost(t, store, activitytest.Presets(t), "h")
	dir := t.TempDir()
	require.NoError(t, updatetest.Create(dir, dataset.SmudgedAlphabet, 1))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "model.safetensors"), []byte("weights"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte("{}"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "notes.md"), []byte("not of the model"), 0o644))
	ref, err := blob.Upload(t.Context(), store, os.DirFS(dir))
	require.NoError(t, err)

	h.Engine.Broken = fmt.Errorf("%w: model.safetensors: model.norm.weight: expected shape [2], found [3]", activities.ErrModel)
	for _, name := range []string{dir, fmt.Sprintf("ref:%s@%s:%d", ref.Key, ref.SHA256, ref.Size)} {
		_, err := resolve(t, h, fmt.Sprintf(`{"preset":"small","model":{"source":%q}}`, name))
		requireFailure(t, err, activities.FailureInvalidModel)
		require.ErrorContains(t, err, "expected shape [2], found [3]")
	}
	h.Engine.Broken = nil
	_, err = resolve(t, h, `{"preset":"small","model":{"source":"no-such-folder"}}`)
	requireFailure(t, err, activities.FailureInvalidModel)
	require.ErrorContains(t, err, "no-such-folder")
}

func TestModelsOfTheHubAreRefusedBeforeTheirWeightsAreAskedFor(t *testing.T) {
	dir, dialogues := t.TempDir(), filepath.Join(t.TempDir(), "long.jsonl")
	require.NoError(t, updatetest.Create(dir, dataset.SmudgedAlphabet, 1))
	files := map[string][]byte{"config.json": []byte("{}"), "model.safetensors": []byte("weights")}
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		files[name] = b
	}
	server := hubtest.Start(t, "me/base", files)
	h := newHost(t, blob.NewMemory(), activitytest.Presets(t), "h")
	finetune := func(fields string) error {
		_, err := do[activities.ResolveFinetuneOutput](t, h, h.Data.ResolveFinetune, activities.ResolveSpecInput{Run: "f", Spec: json.RawMessage(fields)})
		return err
	}
	const from = `"preset":"small","model":{"source":"hf:me/base"`

	h.Engine.Alien = fmt.Errorf("%w: model_type gemma", activities.ErrModel)
	_, err := resolve(t, h, `{`+from+`}}`)
	requireFailure(t, err, activities.FailureInvalidModel)
	require.ErrorContains(t, err, "gemma")
	_, err = do[activities.EvaluationTask](t, h, h.Data.ResolveEvaluation, activities.ResolveEvaluationInput{ID: "e", Spec: json.RawMessage(`{` + from + `},"evaluation":{"final_attempts":[1]}}`)})
	requireFailure(t, err, activities.FailureInvalidModel)
	requireFailure(t, finetune(`{`+from+`}}`), activities.FailureInvalidModel)
	h.Engine.Alien = nil
	h.Engine.Full = fmt.Errorf("%w: 9 GiB needed, 8 there", activities.ErrModel)
	_, err = resolve(t, h, `{`+from+`}}`)
	require.ErrorContains(t, err, "9 GiB needed")
	_, err = do[activities.EvaluationTask](t, h, h.Data.ResolveEvaluation, activities.ResolveEvaluationInput{ID: "e", Spec: json.RawMessage(`{` + from + `},"evaluation":{"final_attempts":[1]}}`)})
	require.ErrorContains(t, err, "9 GiB needed")
	require.ErrorContains(t, finetune(`{`+from+`}}`), "9 GiB needed")
	h.Engine.Full = nil
	_, err = resolve(t, h, `{`+from+`,"max_length":129}}`)
	require.ErrorContains(t, err, "at most 128 tokens")
	require.ErrorContains(t, finetune(`{`+from+`,"max_length":129}}`), "at most 128 tokens")
	line := fmt.Sprintf(`{"messages":[{"role":"user","content":"1"},{"role":"assistant","content":%q}]}`+"\n", strings.Repeat("1", 128))
	require.NoError(t, os.WriteFile(dialogues, []byte(strings.Repeat(line, 4)), 0o644))
	err = finetune(fmt.Sprintf(`{%s},"data":{"source":%q}}`, from, dialogues))
	requireFailure(t, err, activities.FailureBadData)

	requests := server.Requests()
	require.NotEmpty(t, requests)
	for _, r := range requests {
		require.NotContains(t, r, "safetensors")
	}
	_, err = resolve(t, h, `{`+from+`}}`)
	require.NoError(t, err)
	require.Contains(t, server.Requests(), "/model.safetensors")
}

// TestWorkersRefuseWhatCannotFitBeforeTheyLoadIt: a worker that only controls does not know their devices.
func TestWorkersRefuseWhatCannotFitBeforeTheyLoadIt(t *testing.T) {
	store, presets := blob.NewMemory(), activitytest.Presets(t)
	control, small := newHost(t, store, presets, "control"), newHost(t, store, presets, "small")
	small.Engine.Full = fmt.Errorf("%w: 9 GiB needed, 8 there", activities.ErrModel)
	plan, at := begin(t, control, `{"preset":"small"}`)
	shown := must[activities.SampleBatchOutput](t, control, control.Data.SampleBatch, activities.SampleBatchInput{Run: "r", Spec: at.Spec})
	rollout := activities.RolloutInput{Run: "r", Spec: at.Spec, Policy: at.Policy, Problems: shown.Problems, Shards: plan.Plan.Shards}
	tuning := must[activities.ResolveFinetuneOutput](t, control, control.Data.ResolveFinetune, activities.ResolveSpecInput{Run: "f", Spec: json.RawMessage(`{"preset":"small"}`)})
	require.Positive(t, tuning.Longest)
	x := experienced(t, control, at, plan.Plan.Shards)
	for what, refused := range map[string]func() error{
		"rollout": func() error {
			_, err := do[activities.RolloutOutput](t, small, small.Rollouts.Rollout, rollout)
			return err
		},
		"update": func() error {
			_, err := do[activities.UpdateOutput](t, small, small.Learner.Update, activities.UpdateInput{At: at, Experience: x})
			return err
		},
		"fine-tuning": func() error {
			_, err := do[activities.TuneOutput](t, small, small.Learner.Tune, activities.TuneInput{
				Run: "f", Spec: tuning.Spec, Base: tuning.Base, Steps: 1, Longest: tuning.Longest,
			})
			return err
		},
	} {
		err := refused()
		requireFailure(t, err, activities.FailureInvalidModel)
		require.ErrorContains(t, err, "9 GiB needed, 8 there", what)
	}
	require.Zero(t, small.Engine.Samplers()+small.Engine.Learners())
	small.Engine.Full = nil
	must[activities.RolloutOutput](t, small, small.Rollouts.Rollout, rollout)
}

func TestResolveFinetuneChecksEveryDialogue(t *testing.T) {
	file := filepath.Join(t.TempDir(), "d.jsonl")
	h := newHost(t, blob.NewMemory(), activitytest.Presets(t), "h")
	for what, c := range map[string]struct{ said, want string }{
		"too long":              {strings.Repeat("1", 200), "expected at most 128 tokens, found 2"},
		"not in its alphabet":   {"w", `the vocabulary lacks "w"`},
		"with a special token":  {"1<|end|>", "contains the special token <|end|>"},
		"nothing wrong with it": {"1", ""},
	} {
		const good = `{"messages":[{"role":"user","content":"1"},{"role":"assistant","content":"2"}]}` + "\n"
		bad := fmt.Sprintf(`{"messages":[{"role":"user","content":"1"},{"role":"assistant","content":%q}]}`, c.said)
		require.NoError(t, os.WriteFile(file, []byte(strings.Repeat(good, 8)+bad), 0o644))
		_, err := do[activities.ResolveFinetuneOutput](t, h, h.Data.ResolveFinetune, activities.ResolveSpecInput{
			Run: "f", Spec: json.RawMessage(fmt.Sprintf(`{"preset":"small","model":{"source":"builtin:bigram"},"data":{"source":%q}}`, file)),
		})
		if c.want == "" {
			require.NoError(t, err, what)
			continue
		}
		requireFailure(t, err, activities.FailureBadData)
		require.ErrorContains(t, err, "1 of 9 dialogues cannot be imitated; the first: "+file+":9: ", what)
		require.ErrorContains(t, err, c.want, what)
	}
}

// The longest prompt of all problems counts, of training and of evaluation, not only those of the first step.
func TestResolveSpecRefusesProblemsThatLeaveNoRoom(t *testing.T) {
	h, dir := newHost(t, blob.NewMemory(), activitytest.Presets(t), "h"), t.TempDir()
	good, bad := filepath.Join(dir, "good.jsonl"), filepath.Join(dir, "bad.jsonl")
	writeSums(t, good, 1, 30)
	text, err := os.ReadFile(good)
	require.NoError(t, err)
	long := fmt.Sprintf("{\"id\":\"long\",\"question\":%q,\"answer\":\"1\"}\n", strings.Repeat("1+", 64))
	require.NoError(t, os.WriteFile(bad, append(text, long...), 0o644))

	_, err = resolve(t, h, fileSettings(bad, good))
	requireFailure(t, err, activities.FailureBadData)
	require.ErrorContains(t, err, "data.train")
	require.ErrorContains(t, err, "a dialogue may hold 128")
	_, err = resolve(t, h, fileSettings(good, bad))
	requireFailure(t, err, activities.FailureBadData)
	require.ErrorContains(t, err, "evaluation.sets "+bad)
	_, err = resolve(t, h, fileSettings(good, good))
	require.NoError(t, err)

	_, err = do[activities.EvaluationTask](t, h, h.Data.ResolveEvaluation,
		activities.ResolveEvaluationInput{ID: "e", Spec: json.RawMessage(fileSettings(good, bad))})
	requireFailure(t, err, activities.FailureBadData)
}

// spoilt is a learner whose next step has a loss that is not finite.
type spoilt struct{ update.Learner }

func (spoilt) Step(context.Context, []experience.Row, update.Rates) (update.StepStats, error) {
	return update.StepStats{}, fmt.Errorf("%w: loss NaN; nothing was applied", update.ErrNotFinite)
}

func TestALossThatIsNotFiniteKeepsItsBatchAndTheLastCheckpoint(t *testing.T) {
	store, presets := blob.NewMemory(), activitytest.Presets(t)
	h := newHost(t, store, presets, "h")
	plan, at := begin(t, h, `{"preset":"small"}`)
	at = advance(t, h, at, plan.Plan.Shards, 2)
	kept := keep(t, h, at)
	at = at.At(kept.Checkpoint, kept.Policy)
	x := experienced(t, h, at, plan.Plan.Shards)

	other := newHost(t, store, presets, "other")
	other.Engine.OnLearner = func(l update.Learner) update.Learner { return spoilt{l} }
	_, err := do[activities.UpdateOutput](t, other, other.Learner.Update, activities.UpdateInput{At: at, Experience: x})
	requireFailure(t, err, activities.FailureNotFinite)
	require.ErrorContains(t, err, "minibatch 1 of")
	require.ErrorContains(t, err, "last good checkpoint is of step 2: "+kept.Checkpoint.Key)

	found := keys(t, store, "runs/r/steps/000003/bad-batch-")
	require.Len(t, found, 1)
	require.ErrorContains(t, err, found[0])
	body, _, err := store.Get(t.Context(), found[0])
	require.NoError(t, err)
	var batch activities.BadBatch
	require.NoError(t, errors.Join(json.NewDecoder(body).Decode(&batch), body.Close()))
	require.Equal(t, at, batch.At)
	b, err := blob.Load(t.Context(), store, batch.Experience)
	require.NoError(t, err)
	var content activities.Experience
	require.NoError(t, json.Unmarshal(b, &content))
	episodes, err := activities.LoadEpisodes(t.Context(), store, content.Episodes)
	require.NoError(t, err)
	require.Len(t, episodes, 16)
	require.Empty(t, keys(t, store, "runs/r/steps/000003/policy/"), "no weights are published")
	latest, err := checkpoint.Resolve(t.Context(), store, "r", checkpoint.Latest)
	require.NoError(t, err)
	require.Equal(t, kept.Checkpoint, latest.Checkpoint)

	must[activities.UpdateOutput](t, h, h.Learner.Update, activities.UpdateInput{At: at, Experience: x})
}

// A run that ended before its first checkpoint is made again by the same settings, and refused to others.
func TestARunWithoutACheckpointIsNotStartedOverByOtherSettings(t *testing.T) {
	store := blob.NewMemory()
	h := newHost(t, store, activitytest.Presets(t), "h")
	plan, at := begin(t, h, `{"preset":"small"}`)
	two := func() map[string]string {
		after := advance(t, h, at, plan.Plan.Shards, 2)
		require.Equal(t, 2, after.Step())
		records := map[string]string{}
		for _, key := range keys(t, store, "runs/r/records/") {
			b, err := blob.Read(t.Context(), store, key)
			require.NoError(t, err)
			records[key] = string(b)
		}
		return records
	}
	made := two()
	require.Len(t, made, 2)
	before := keys(t, store, "runs/r/")

	_, err := resolve(t, h, `{"preset":"small","seed":2}`)
	requireFailure(t, err, activities.FailureRunExists)
	for _, part := range []string{"r has no checkpoint, but its step 1 was made with settings", "--overwrite", "--continue"} {
		require.ErrorContains(t, err, part)
	}
	require.Equal(t, before, keys(t, store, "runs/r/"), "nothing is written")

	again, err := resolve(t, h, `{"preset":"small"}`)
	require.NoError(t, err)
	require.True(t, again.Checkpoint.IsZero(), "from the start")
	require.Equal(t, made, two())
}

func TestRunIDsWithSlashesAreRefusedAtTheStart(t *testing.T) {
	store := blob.NewMemory()
	h := newHost(t, store, activitytest.Presets(t), "h")
	small := json.RawMessage(`{"preset":"small"}`)
	for _, id := range []string{"team/exp-1", "r/evaluate/000005"} {
		_, train := do[activities.ResolveSpecOutput](t, h, h.Data.ResolveSpec, activities.ResolveSpecInput{Run: id, Spec: small})
		_, fork := do[activities.ResolveSpecOutput](t, h, h.Data.ResolveSpec, activities.ResolveSpecInput{Run: "r", Fork: &activities.Fork{Run: id, Step: 1}})
		_, finetune := do[activities.ResolveFinetuneOutput](t, h, h.Data.ResolveFinetune, activities.ResolveSpecInput{Run: id, Spec: small})
		_, experiment := do[activities.ResolveExperimentOutput](t, h, h.Data.ResolveExperiment, activities.ResolveExperimentInput{ID: id, Settings: small})
		_, evaluation := do[activities.EvaluationTask](t, h, h.Data.ResolveEvaluation, activities.ResolveEvaluationInput{ID: id, Spec: small})
		_, ofRun := do[activities.EvaluationTask](t, h, h.Data.ResolveEvaluation, activities.ResolveEvaluationInput{ID: "e", Run: id})
		for _, err := range []error{train, fork, finetune, experiment, evaluation, ofRun} {
			requireFailure(t, err, activities.FailureInvalidSpec)
			require.ErrorContains(t, err, fmt.Sprintf(`run id "%s`, id))
		}
	}
	require.NoError(t, store.List(t.Context(), "", func(o blob.Info) error { return errors.New(o.Key + " was stored") }))
}
