package activities_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/activities"
	"multiattempt/activities/activitytest"
	"multiattempt/internal/blob"
	"multiattempt/internal/spec"
)

// change is a setting with another value than the run that it is compared with, which has the settings in with, too.
type change struct {
	value   string // JSON
	with    []string
	refused bool // the value is one that no run starts with
}

// changes has, for every key of spec.Run, a value whose effect TestEveryKeyOfTheSpecCounts must see.
var changes = map[string]change{
	"preset": {value: `"nobody"`, refused: true}, "name": {value: `"other"`}, "seed": {value: `2`}, "iterations": {value: `4`},
	"critic_warmup": {value: `1`}, "continue_after": {value: `1`},

	"model.source": {value: `"nowhere"`, refused: true}, "model.max_length": {value: `25`},
	"data.train": {value: `"smudged"`}, "data.levels": {value: `[2]`}, "data.curriculum": {value: `6`}, "data.limit": {value: `8`},
	"data.field_question": {value: `"other_question"`}, "data.field_answer": {value: `"other_answer"`},
	"data.field_hint":        {value: `"hint"`, with: []string{`prompt.feedback="{n} {hint}"`, `prompt.hints=["?"]`}},
	"data.problems_per_step": {value: `4`, with: []string{`update.minibatch=4`}}, "data.group_size": {value: `4`}, "data.shard_size": {value: `4`},

	"attempts.min": {value: `2`}, "attempts.max": {value: `4`}, "attempts.weights": {value: `[0,0,1]`}, "attempts.stop": {value: `"boxed"`, with: []string{`attempts.stop_every=1`}},
	"attempts.stop_every": {value: `3`, with: []string{`attempts.stop=boxed`}}, "attempts.budget": {value: `"per_attempt"`},
	"attempts.max_new_tokens": {value: `20`},

	"prompt.system": {value: `"?{N}"`}, "prompt.single_attempt": {value: `true`, with: []string{`prompt.system_single=?`}},
	"prompt.system_single": {value: `"??"`, with: []string{`prompt.single_attempt=true`, `prompt.system_single=?`}},
	"prompt.feedback":      {value: `"{left} {attempt} {answer}"`}, "prompt.feedback_role": {value: `"user"`},
	"prompt.repeat_question": {value: `true`, with: []string{`prompt.system_repeat={N}`, `prompt.feedback_repeat={n}`}},
	"prompt.system_repeat":   {value: `"{N}?"`, with: []string{`prompt.repeat_question=true`, `prompt.system_repeat={N}`, `prompt.feedback_repeat={n}`}},
	"prompt.feedback_repeat": {value: `"{n}?"`, with: []string{`prompt.repeat_question=true`, `prompt.system_repeat={N}`, `prompt.feedback_repeat={n}`}},
	"prompt.hints":           {value: `["5","2"]`, with: []string{`prompt.feedback="{n} {hint}"`, `prompt.hints=["?"]`}},

	"sampling.temperature": {value: `0.5`}, "sampling.top_p": {value: `0.5`}, "sampling.top_k": {value: `2`}, "sampling.min_p": {value: `0.4`},
	"grading.mode": {value: `"paper"`}, "grading.unboxed": {value: `true`},

	"reward.source": {value: `"go:nothing"`, refused: true}, "reward.batch_size": {value: `3`, with: []string{`reward.source=ENDPOINT`}},
	"reward.correct": {value: `2`}, "reward.wrong": {value: `0`}, "reward.no_answer": {value: `-3`, with: []string{`attempts.max_new_tokens=8`}}, "reward.discount": {value: `0.5`},
	"reward.repeat_penalty": {value: `0.5`},

	"advantage.estimator": {value: `"rloo"`, with: []string{`update.value_weight=0`, `advantage.estimator=reinforce++`}},
	"advantage.gamma":     {value: `0.5`}, "advantage.lambda": {value: `0.5`}, "advantage.whiten": {value: `false`},
	"advantage.group_std":         {value: `false`, with: []string{`update.value_weight=0`, `advantage.estimator=grpo`, `advantage.whiten=false`}},
	"advantage.drop_equal_groups": {value: `true`}, "advantage.credit": {value: `"attempt"`},
	"advantage.attempt_gamma": {value: `0.5`, with: []string{`advantage.credit=attempt`}},

	"update.minibatch": {value: `8`}, "update.epochs": {value: `2`}, "update.stop_kl": {value: `1e-9`},
	"update.clip": {value: `0.01`}, "update.clip_high": {value: `0.9`, with: []string{`update.clip=0.01`}},
	"update.value_clip": {value: `0.001`}, "update.value_weight": {value: `0.5`, with: []string{`optimizer.clip_norm=0`, `optimizer.epsilon=0.1`}},
	"update.kl": {value: `"none"`}, "update.kl_estimator": {value: `"k2"`}, "update.kl_coefficient": {value: `0.5`},
	"update.kl_target":  {value: `0.001`, with: []string{`update.kl_horizon=16`}},
	"update.kl_horizon": {value: `32`, with: []string{`update.kl_horizon=16`, `update.kl_target=0.001`}},
	"update.entropy":    {value: `0.5`}, "update.aggregation": {value: `"episode_mean"`},
	"update.aggregation_length": {value: `50`, with: []string{`update.aggregation=constant_length`, `update.aggregation_length=100`, `optimizer.clip_norm=0`, `optimizer.epsilon=0.1`}},
	"update.old_log_probs":      {value: `"sampling"`},

	"optimizer.policy_lr": {value: `0.1`}, "optimizer.critic_lr": {value: `0.1`}, "optimizer.beta1": {value: `0.5`},
	"optimizer.beta2": {value: `0.5`}, "optimizer.epsilon": {value: `0.1`}, "optimizer.clip_norm": {value: `0.001`, with: []string{`optimizer.epsilon=0.1`}},
	"optimizer.warmup_fraction": {value: `1`}, "optimizer.final_fraction": {value: `1`},
	"checkpoint.every": {value: `2`}, "checkpoint.keep": {value: `2`}, "checkpoint.keep_every": {value: `1`, with: []string{`checkpoint.keep=2`}},

	"evaluation.every": {value: `2`}, "evaluation.sets": {value: `["smudged"]`}, "evaluation.limit": {value: `2`},
	"evaluation.attempts": {value: `[2]`, with: []string{`evaluation.every=2`}}, "evaluation.final_attempts": {value: `[2]`},
	"evaluation.max_new_tokens": {value: `5`}, "evaluation.temperature": {value: `1`}, "evaluation.shard_size": {value: `2`},
	"evaluation.top_p": {value: `0.3`, with: []string{`evaluation.temperature=1`}}, "evaluation.samples": {value: `2`, with: []string{`evaluation.temperature=1`}},
	"evaluation.parallel": {value: `2`},
	"record.token_scores": {value: `false`}, "record.rescored": {value: `2`},
}

// elsewhere names the tests that show what the others do: what a bigram model and a memory cannot show.
var elsewhere = map[string]string{
	"update.microbatch":               "internal/engine/trainer_test.go TestScoresOfAnEpisodeDoNotDependOnItsCompany",
	"checkpoint.best":                 "workflows/experiment_test.go TestTheBestCheckpointSurvivesAResume",
	"evaluation.parallel_temperature": "workflows/evaluate_test.go TestEvaluateSamplesAndSetsParallelSamplingBeside",
	"evaluation.no_repeat_ngram_size": "internal/engine/draw_test.go TestNoRepeat",
	"update.importance_clip":          "internal/engine/ppo_test.go TestTrainingAgreesWithPyTorch",
	"reward.tries":                    "internal/reward/endpoint/endpoint_test.go TestWhatIsNoRewardIsAnError",
	"reward.timeout_seconds":          "internal/reward/endpoint/endpoint_test.go TestAHangingEndpointTimesOut",
	"model.compute":                   "internal/engine/lora_test.go TestBFloat16LearnerIsCloseToFloat32",
	"lora.policy.rank":                "internal/engine/lora_test.go TestOnlyAdaptersAreTrained",
	"lora.policy.alpha":               "internal/engine/lora_test.go TestOnlyAdaptersAreTrained",
	"lora.policy.target_modules":      "internal/engine/lora_test.go TestStateOfOtherAdaptersIsRefused",
	"lora.critic.rank":                "internal/engine/lora_test.go TestOnlyAdaptersAreTrained",
	"lora.critic.alpha":               "internal/engine/lora_test.go TestOnlyAdaptersAreTrained",
	"lora.critic.target_modules":      "internal/engine/lora_test.go TestOnlyAdaptersAreTrained",
}

// TestEveryKeyOfTheSpecCounts walks all keys and proves that each changes what a run leaves behind, or its plan, or is
// refused.
func TestEveryKeyOfTheSpecCounts(t *testing.T) {
	w := newWalk(t)
	plain := w.trace(t)
	delete(w.known, "")
	require.Equal(t, plain, w.trace(t), "a run is a function of its settings")
	require.Equal(t, append([]string{"other"}, plain[1:]...), w.trace(t, `name=other`), "the settings themselves are not among what is compared")
	var keys []string
	walkKeys(reflect.TypeOf(spec.Run{}), "", &keys)
	requireEach(t, keys, changes, elsewhere, w.trace)
}

// requireEach compares a run with each key changed to the run without.
func requireEach(t *testing.T, keys []string, changes map[string]change, elsewhere map[string]string, trace func(*testing.T, ...string) []string) {
	for _, key := range keys {
		t.Run(key, func(t *testing.T) {
			if at, ok := elsewhere[key]; ok {
				requireTest(t, at)
				return
			}
			c, ok := changes[key]
			require.True(t, ok, "a new setting: give it a value in changes, or name in elsewhere the test that shows what it does")
			before, after := trace(t, c.with...), trace(t, append(slices.Clone(c.with), key+"="+c.value)...)
			require.Greater(t, len(before), 1, "%v", before)
			require.Equal(t, c.refused, len(after) == 1, "%v", after)
			require.NotEqual(t, before, after, "%s = %s changes nothing", key, c.value)
		})
	}
	for key := range changes {
		require.Contains(t, keys, key)
	}
}

// walkKeys lists the dotted keys of a struct's fields.
func walkKeys(of reflect.Type, prefix string, keys *[]string) {
	for i := range of.NumField() {
		f := of.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Type.Kind() == reflect.Struct {
			walkKeys(f.Type, prefix+name+".", keys)
			continue
		}
		*keys = append(*keys, prefix+name)
	}
}

// requireTest requires that a source file still has a test.
func requireTest(t *testing.T, at string) {
	t.Helper()
	file, test, _ := strings.Cut(at, " ")
	text, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(file)))
	require.NoError(t, err)
	require.Contains(t, string(text), "func "+test+"(")
}

// walk plays small runs and remembers them by their settings.
type walk struct {
	presets  activities.Presets
	problems string // file
	endpoint string
	asked    int // requests to the endpoint
	known    map[string][]string
}

func newWalk(t *testing.T) *walk {
	t.Helper()
	w := &walk{presets: activitytest.Presets(t), problems: filepath.Join(t.TempDir(), "problems.jsonl"), known: map[string][]string{}}
	var lines []string
	for i := range 24 {
		answer := fmt.Sprint(i % 10)
		if i%2 == 1 {
			answer += ".00001" // equal to the paper's grader, not to ours
		}
		lines = append(lines, fmt.Sprintf(`{"question":"%d+?","answer":%q,"level":%d,"hint":"%d","other_question":"?%d","other_answer":"7"}`,
			i, answer, 1+i%2, i%3, i))
	}
	require.NoError(t, os.WriteFile(w.problems, []byte(strings.Join(lines, "\n")), 0o644))
	server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		var in struct{ Episodes []struct{ Reward float64 } }
		_ = json.NewDecoder(r.Body).Decode(&in)
		w.asked++
		rewards := make([]float64, len(in.Episodes))
		_ = json.NewEncoder(out).Encode(map[string]any{"rewards": rewards})
	}))
	t.Cleanup(server.Close)
	w.endpoint = server.URL
	return w
}

const walked = `
iterations: 3
model: {source: "builtin:bigram"}
data: {problems_per_step: 8, group_size: 2, shard_size: 8}
attempts: {max: 3, max_new_tokens: 40}
prompt: {system: "{N}", feedback: "{n}"}
update: {minibatch: 4, microbatch: 4}
optimizer: {policy_lr: 0.3, critic_lr: 0.2, warmup_fraction: 0}
checkpoint: {every: 1, keep: 3}
evaluation: {every: 0, limit: 3, attempts: [1], final_attempts: [1], max_new_tokens: 40, shard_size: 4}
`

// trace plays a run of three steps with the assignments over the walked settings, keeps a checkpoint after each step, and
// evaluates. It returns the run's name and plan and whatever lies in the store, without the settings themselves.
func (w *walk) trace(t *testing.T, assignments ...string) []string {
	t.Helper()
	id := strings.Join(assignments, "\n")
	if known, ok := w.known[id]; ok {
		return known
	}
	doc, err := spec.FromYAML([]byte(walked))
	require.NoError(t, err)
	set := []string{"data.train=" + w.problems, `evaluation.sets=["` + w.problems + `"]`}
	for _, a := range assignments {
		path, value, _ := strings.Cut(strings.ReplaceAll(a, "ENDPOINT", w.endpoint), "=")
		if text, err := unquoted(value); err == nil {
			value = text
		}
		set = append(set, path+"="+value)
	}
	doc, err = spec.Override(doc, spec.Run{}, set)
	require.NoError(t, err)
	w.asked = 0
	w.known[id] = w.play(t, string(doc))
	return w.known[id]
}

// unquoted reads a JSON string.
func unquoted(value string) (text string, err error) {
	err = json.Unmarshal([]byte(value), &text)
	return text, err
}

func (w *walk) play(t *testing.T, settings string) []string {
	store := blob.NewMemory()
	h := newHost(t, store, w.presets, "own")
	out, err := do[activities.ResolveSpecOutput](t, h, h.Data.ResolveSpec, activities.ResolveSpecInput{Run: "r", Spec: json.RawMessage(settings)})
	if err != nil {
		return []string{err.Error()}
	}
	at := activities.Position{Run: "r", Spec: out.Spec, Base: out.Base, Policy: out.Base}
	for range 3 {
		at = advance(t, h, at, out.Plan.Shards, 1)
		kept := must[activities.CheckpointOutput](t, h, h.Learner.Checkpoint, activities.CheckpointInput{At: at})
		at = at.At(kept.Checkpoint, kept.Policy)
	}
	task := activities.EvaluationTask{Run: "r", Step: at.Step(), Spec: at.Spec, Policy: at.Policy}
	for _, s := range must[activities.OpenSetsOutput](t, h, h.Data.OpenSets, task).Sets {
		for _, k := range slices.Concat(out.Plan.FinalAttempts, out.Plan.EvaluateAttempts) {
			for shard := range s.Shards {
				must[activities.RolloutOutput](t, h, h.Rollouts.Rollout, activities.RolloutInput{
					Run: "r", Spec: at.Spec, Policy: at.Policy, Problems: s.Problems, Step: at.Step(), Shard: shard, Shards: s.Shards,
					Evaluate: true, Set: s.Name, Attempts: k,
				})
			}
		}
	}
	plan, err := json.Marshal(out.Plan)
	require.NoError(t, err)
	return append([]string{out.Name, string(plan), fmt.Sprint(w.asked, " requests")}, contents(t, store)...)
}

// contents describes all that lies in a store but the settings themselves, and what the clock says.
func contents(t *testing.T, store blob.Store) (facts []string) {
	require.NoError(t, store.List(t.Context(), "", func(o blob.Info) error {
		name := path.Base(o.Key)
		switch {
		case strings.HasPrefix(name, "spec-"), strings.Contains(o.Key, "/timings/"): // timings are the clock's
		case name == "manifest.json" || name == "latest.json": // name the settings' digest
			facts = append(facts, o.Key)
		default:
			body, _, err := store.Get(t.Context(), o.Key)
			if err != nil {
				return err
			}
			b, err := io.ReadAll(body)
			facts = append(facts, o.Key+" "+blob.Sum(b).String())
			return errors.Join(err, body.Close())
		}
		return nil
	}))
	return facts
}
