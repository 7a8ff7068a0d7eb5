package activities_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
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
	"reward.secret":  {value: `"env:REWARD_WALKED"`, with: []string{`reward.source=ENDPOINT`}},
	"reward.header":  {value: `"X-Key"`, with: []string{`reward.source=ENDPOINT`, `reward.secret="env:REWARD_WALKED"`}},
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
	"evaluation.parallel": {value: `2`}, "evaluation.parallel_temperature": {value: `0.2`, with: []string{`evaluation.parallel=2`}},
	"record.token_scores": {value: `false`}, "record.rescored": {value: `2`},
}

// shown is a setting whose effect a bigram model and a memory cannot show: change must alter what the engine is told, and
// test, elsewhere, shows what the engine makes of it. Where change is left out, test shows all.
type shown struct {
	test string // file and name
	change
}

const (
	ofALearner   = "internal/engine/settings_test.go TestEverySettingOfALearnerCounts"
	ofAnImitator = "internal/engine/settings_test.go TestEverySettingOfAnImitatorCounts"
)

// elsewhere has the settings of spec.Run that changes lacks.
var elsewhere = map[string]shown{
	"update.microbatch":               {ofALearner, change{value: `2`}},
	"model.compute":                   {ofALearner, change{value: `"bfloat16"`}},
	"sampling.compute":                {"internal/engine/settings_test.go TestEverySettingOfASamplerCounts", change{value: `"bfloat16"`}},
	"lora.policy.rank":                {ofALearner, change{value: `2`}},
	"lora.policy.alpha":               {ofALearner, change{value: `2`}},
	"lora.policy.target_modules":      {ofALearner, change{value: `["q_proj"]`}},
	"lora.critic.rank":                {ofALearner, change{value: `2`}},
	"lora.critic.alpha":               {ofALearner, change{value: `2`}},
	"lora.critic.target_modules":      {ofALearner, change{value: `["q_proj"]`}},
	"evaluation.no_repeat_ngram_size": {"internal/engine/draw_test.go TestNoRepeat", change{value: `3`}},
	"update.importance_clip":          {"internal/experience/scenario_test.go TestScenarios", change{}},
	"checkpoint.best":                 {"workflows/experiment_test.go TestTheBestCheckpointSurvivesAResume", change{}},
	"reward.tries":                    {"internal/reward/endpoint/endpoint_test.go TestRequestsAreRepeatedAsOftenAsTheSettingsSay", change{}},
	"reward.timeout_seconds":          {"internal/reward/endpoint/endpoint_test.go TestAHangingEndpointTimesOut", change{}},
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
	requireEach(t, keys, changes, elsewhere, w.trace, func(t *testing.T, assignments ...string) []string {
		w.trace(t, assignments...)
		return w.told[strings.Join(assignments, "\n")]
	})
}

// requireEach compares a run with each key changed to the run without: by its trace, or by what the engine was told.
func requireEach(t *testing.T, keys []string, changes map[string]change, elsewhere map[string]shown, trace, told func(*testing.T, ...string) []string) {
	for _, key := range keys {
		t.Run(key, func(t *testing.T) {
			if s, ok := elsewhere[key]; ok {
				requireTest(t, s.test)
				if s.value != "" {
					require.NotEqual(t, told(t, s.with...), told(t, append(slices.Clone(s.with), key+"="+s.value)...), "the engine never hears of it")
				}
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
	for _, key := range slices.Concat(slices.Collect(maps.Keys(changes)), slices.Collect(maps.Keys(elsewhere))) {
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
	asked    string // requests to the endpoint, by their headers
	known    map[string][]string
	told     map[string][]string // what the engine was told
}

func newWalk(t *testing.T) *walk {
	t.Helper()
	t.Setenv("REWARD_WALKED", "secret")
	w := &walk{presets: activitytest.Presets(t), problems: filepath.Join(t.TempDir(), "problems.jsonl"), known: map[string][]string{}, told: map[string][]string{}}
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
		w.asked += fmt.Sprintf("%s|%s;", r.Header.Get("Authorization"), r.Header.Get("X-Key"))
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
	w.asked = ""
	w.known[id] = w.play(t, string(doc), func(settings string) { w.told[id] = append(w.told[id], settings) })
	return w.known[id]
}

// unquoted reads a JSON string.
func unquoted(value string) (text string, err error) {
	err = json.Unmarshal([]byte(value), &text)
	return text, err
}

func (w *walk) play(t *testing.T, settings string, told func(settings string)) []string {
	store := blob.NewMemory()
	h := newHost(t, store, w.presets, "own")
	h.Engine.OnTold = told
	out, err := do[activities.ResolveSpecOutput](t, h, h.Data.ResolveSpec, activities.ResolveSpecInput{Run: "r", Spec: json.RawMessage(settings)})
	if err != nil {
		return []string{err.Error()}
	}
	at := activities.Position{Run: "r", Spec: out.Spec, Base: out.Base, Policy: out.Base}
	for range 3 {
		at = advance(t, h, at, out.Plan.Shards, 1)
		kept := keep(t, h, at)
		at = at.At(kept.Checkpoint, kept.Policy)
	}
	examine(t, h, activities.EvaluationTask{
		Run: "r", Step: at.Step(), Spec: at.Spec, Policy: at.Policy, Parallel: out.Plan.Parallel,
		Attempts: slices.Concat(out.Plan.FinalAttempts, out.Plan.EvaluateAttempts),
	})
	plan, err := json.Marshal(out.Plan)
	require.NoError(t, err)
	return append([]string{out.Name, string(plan), w.asked}, contents(t, store)...)
}

// examine rolls out an evaluation of every set at every k, and the single attempts beside them.
func examine(t *testing.T, h host, task activities.EvaluationTask) {
	for _, s := range must[activities.OpenSetsOutput](t, h, h.Data.OpenSets, task).Sets {
		in := activities.RolloutInput{
			Run: task.Run, Spec: task.Spec, Policy: task.Policy, Problems: s.Problems, Step: task.Step, Evaluate: true, Set: s.Name, Shards: s.Shards,
		}
		for _, in.Attempts = range task.Attempts {
			for in.Shard = range s.Shards {
				must[activities.RolloutOutput](t, h, h.Rollouts.Rollout, in)
			}
		}
		in.Attempts, in.Parallel, in.Shards = 1, true, s.ParallelShards
		for in.Shard = range s.ParallelShards {
			must[activities.RolloutOutput](t, h, h.Rollouts.Rollout, in)
		}
	}
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
