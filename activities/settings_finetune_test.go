package activities_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/activities"
	"multiattempt/activities/activitytest"
	"multiattempt/internal/blob"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
)

// tuningChanges is changes for spec.Finetune.
var tuningChanges = map[string]change{
	"preset": {value: `"nobody"`, refused: true}, "name": {value: `"other"`}, "seed": {value: `2`}, "steps": {value: `5`},
	"steps_per_part": {value: `1`}, "continue_after": {value: `1`},
	"model.source": {value: `"nowhere"`, refused: true}, "model.max_length": {value: `9`, refused: true},
	"architecture.hidden_size": {value: `128`}, "architecture.intermediate_size": {value: `128`}, "architecture.layers": {value: `3`},
	"architecture.heads": {value: `8`}, "architecture.kv_heads": {value: `2`}, "architecture.max_positions": {value: `128`},
	"architecture.rope_theta": {value: `500`}, "architecture.words": {value: `["47"]`},
	"data.source": {value: `"FILE"`}, "data.batch_size": {value: `6`}, "data.max_attempts": {value: `2`}, "data.stubborn": {value: `0`},
	"prompt.system": {value: `"?{N}"`}, "prompt.single_attempt": {value: `true`, with: []string{`prompt.system_single=?`}},
	"prompt.system_single": {value: `"??"`, with: []string{`prompt.single_attempt=true`, `prompt.system_single=?`}},
	"prompt.feedback":      {value: `"{left} {attempt} {answer}"`}, "prompt.feedback_role": {value: `"user"`},
	"prompt.repeat_question": {value: `true`, with: []string{`prompt.system_repeat={N}`, `prompt.feedback_repeat={n}`}},
	"prompt.system_repeat":   {value: `"{N}?"`, with: []string{`prompt.repeat_question=true`, `prompt.system_repeat={N}`, `prompt.feedback_repeat={n}`}},
	"prompt.feedback_repeat": {value: `"{n}?"`, with: []string{`prompt.repeat_question=true`, `prompt.system_repeat={N}`, `prompt.feedback_repeat={n}`}},
	"prompt.hints":           {value: `["5"]`, with: []string{`prompt.feedback="{n} {hint}"`, `prompt.hints=["?"]`}},
	"optimizer.policy_lr":    {value: `0.1`}, "optimizer.critic_lr": {value: `0.1`, refused: true}, "optimizer.beta1": {value: `0.5`},
	"optimizer.beta2": {value: `0.5`}, "optimizer.epsilon": {value: `0.1`}, "optimizer.clip_norm": {value: `0.001`, with: []string{`optimizer.epsilon=0.1`}},
	"optimizer.warmup_fraction": {value: `1`}, "optimizer.final_fraction": {value: `1`},
}

// given starts at a model that has weights to adapt.
var given = []string{`model.source="builtin:bigram"`}

var tuningElsewhere = map[string]shown{
	"microbatch":          {ofAnImitator, change{value: `2`}},
	"model.compute":       {ofAnImitator, change{value: `"bfloat16"`}},
	"lora.rank":           {ofAnImitator, change{value: `2`, with: given}},
	"lora.alpha":          {ofAnImitator, change{value: `2`, with: given}},
	"lora.target_modules": {ofAnImitator, change{value: `["q_proj"]`, with: given}},
}

// TestEveryKeyOfAFinetuningCounts is TestEveryKeyOfTheSpecCounts for fine-tuning.
func TestEveryKeyOfAFinetuningCounts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dialogues.jsonl")
	require.NoError(t, os.WriteFile(file, []byte(strings.Repeat(`{"messages":[{"role":"user","content":"1"},{"role":"assistant","content":"2"}]}`+"\n", 8)), 0o644))
	presets, known, told := activitytest.Presets(t), map[string][]string{}, map[string][]string{}
	trace := func(t *testing.T, assignments ...string) []string {
		id := strings.Join(assignments, "\n")
		if known[id] == nil {
			known[id] = tune(t, presets, strings.Split(strings.ReplaceAll(id, "FILE", file), "\n"), func(settings string) {
				told[id] = append(told[id], settings)
			})
		}
		return known[id]
	}
	var keys []string
	walkKeys(reflect.TypeOf(spec.Finetune{}), "", &keys)
	requireEach(t, keys, tuningChanges, tuningElsewhere, trace, func(t *testing.T, assignments ...string) []string {
		trace(t, assignments...)
		return told[strings.Join(assignments, "\n")]
	})
}

// tune makes the first part of a small fine-tuning with the assignments, and describes what it leaves behind.
func tune(t *testing.T, presets activities.Presets, assignments []string, told func(settings string)) []string {
	const small = `{"steps":4,"steps_per_part":2,"data":{"batch_size":4},"prompt":{"system":"{N}","feedback":"{n}"},"optimizer":{"policy_lr":0.05},"microbatch":4}`
	var set []string
	for _, a := range assignments {
		path, value, found := strings.Cut(a, "=")
		if !found {
			continue
		}
		if text, err := unquoted(value); err == nil {
			value = text
		}
		set = append(set, path+"="+value)
	}
	doc, err := spec.Override([]byte(small), spec.Finetune{}, set)
	require.NoError(t, err)
	store := blob.NewMemory()
	h := newHost(t, store, presets, "own")
	shown := &watcher{hash: sha256.New()}
	h.Engine.OnTold = told
	h.Engine.OnImitator = func(i update.Imitator) update.Imitator {
		shown.Imitator = i
		return shown
	}
	out, err := do[activities.ResolveFinetuneOutput](t, h, h.Data.ResolveFinetune, activities.ResolveSpecInput{Run: "f", Spec: json.RawMessage(doc)})
	if err != nil {
		return []string{err.Error()}
	}
	must[activities.TuneOutput](t, h, h.Learner.Tune, activities.TuneInput{Run: "f", Spec: out.Spec, Base: out.Base, Steps: out.Steps})
	return append([]string{fmt.Sprint(out.Name, out.Steps, out.StepsPerPart, out.ContinueAfter), fmt.Sprintf("%x", shown.hash.Sum(nil))},
		contents(t, store)...)
}

// watcher sees what an imitator is shown: a bigram model would not tell one prompt from another.
type watcher struct {
	update.Imitator
	hash hash.Hash
}

func (w *watcher) Step(ctx context.Context, batch []update.Example, lr float64) (update.ImitationStats, error) {
	fmt.Fprintln(w.hash, batch)
	return w.Imitator.Step(ctx, batch, lr)
}
