package spec_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/spec"
)

// testPresets are the presets that the files in testdata name.
var testPresets = fstest.MapFS{
	"parent.yaml": {Data: []byte("iterations: 5\nseed: 9\nattempts: {max: 3}\nevaluation: {final_attempts: [1]}\n")},
	"child.yaml":  {Data: []byte("preset: parent\nattempts: {min: 2}\niterations: 6\n")},
	"loop.yaml":   {Data: []byte("preset: loop\n")},
	"wrong.yaml":  {Data: []byte("oops: 1\n")},
}

func TestDefaultsAreValid(t *testing.T) {
	require.NoError(t, spec.Default().Validate())
	require.NoError(t, spec.DefaultFinetune().Validate())
}

func TestGoodFiles(t *testing.T) {
	for _, file := range glob(t, "testdata/*.good.yaml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			_, err := resolveFile(t, file)
			require.NoError(t, err)
		})
	}
}

// TestBadFiles resolves each *.bad.yaml, whose "# want:" lines must all stand in one error, and its "# not:" lines nowhere in it.
func TestBadFiles(t *testing.T) {
	for _, file := range glob(t, "testdata/*.bad.yaml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			_, err := resolveFile(t, file)
			require.ErrorIs(t, err, spec.ErrInvalid)
			wants := 0
			text, readErr := os.ReadFile(file)
			require.NoError(t, readErr)
			for line := range strings.Lines(string(text)) {
				if want, ok := strings.CutPrefix(strings.TrimSpace(line), "# want: "); ok {
					require.ErrorContains(t, err, want)
					wants++
				}
				if secret, ok := strings.CutPrefix(strings.TrimSpace(line), "# not: "); ok {
					require.NotContains(t, err.Error(), secret)
				}
			}
			require.Positive(t, wants, "the file says what it wants")
		})
	}
}

// TestTheAlgorithmsSettingsAreDocumented requires a word on each in docs/algorithms.md.
func TestTheAlgorithmsSettingsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/algorithms.md")
	require.NoError(t, err)
	for section, of := range map[string]any{"reward": spec.Reward{}, "advantage": spec.Advantage{}, "update": spec.Update{}} {
		for i := range reflect.TypeOf(of).NumField() {
			key := reflect.TypeOf(of).Field(i).Tag.Get("json")
			if !strings.Contains(string(text), "`"+section+"."+key) {
				require.Contains(t, string(text), "`."+key+"`", "%s.%s", section, key)
			}
		}
	}
}

func TestPresetsOverlayInOrder(t *testing.T) {
	r, err := resolveFile(t, "testdata/preset.good.yaml")
	require.NoError(t, err)
	want := spec.Default()
	want.Preset = "child"
	want.Seed = 9                    // parent
	want.Attempts.Max = 3            // parent
	want.Evaluation.Final = []int{1} // parent: a list replaces
	want.Attempts.Min = 2            // child
	want.Iterations = 7              // the file, over child's 6 and parent's 5
	require.Equal(t, want, r)
}

func TestAResolvedRunResolvesToItself(t *testing.T) {
	r, err := resolveFile(t, "testdata/preset.good.yaml")
	require.NoError(t, err)
	doc, err := json.Marshal(r)
	require.NoError(t, err)
	again, err := spec.Resolve(doc, testPresets)
	require.NoError(t, err)
	require.Equal(t, r, again)
}

func TestNotANumberIsRefused(t *testing.T) {
	r := spec.Default()
	r.Update.Clip, r.Reward.Correct, r.Optimizer.PolicyLR = math.NaN(), math.Inf(1), math.Inf(1)
	err := r.Validate()
	require.ErrorContains(t, err, "update.clip = NaN")
	require.ErrorContains(t, err, "reward.correct = +Inf")
	require.ErrorContains(t, err, "optimizer.policy_lr = +Inf")
}

func TestFinetuneIsValidated(t *testing.T) {
	_, err := spec.ResolveFinetune([]byte(`{"steps":0,"model":{"max_length":3},"architecture":{"heads":3,"kv_heads":2},
		"data":{"stubborn":2},"optimizer":{"critic_lr":1},"microbatch":512}`), testPresets)
	for _, want := range []string{"steps = 0", "model.max_length = 3", "architecture.hidden_size = 64", "architecture.kv_heads = 2",
		"data.stubborn = 2", "optimizer.critic_lr = 1", "microbatch = 512: from 1 to data.batch_size (256)"} {
		require.ErrorContains(t, err, want)
	}
	_, err = spec.ResolveFinetune([]byte(`{"lora":{"policy":{"rank":8},"rank":2},"iterations":3,"update":{},"checkpoint":{"every":1}}`), testPresets)
	require.ErrorIs(t, err, spec.ErrInvalid)
	for _, want := range []string{`lora.policy = {"rank":8}: no such setting; there are rank, alpha, target_modules`, "steps counts", "data.batch_size", "steps_per_part"} {
		require.ErrorContains(t, err, want)
	}
	_, err = spec.ResolveFinetune([]byte(`{"lora":{"rank":8,"target_modules":["lm_head"]}}`), testPresets)
	require.ErrorContains(t, err, "lora.rank = 8: 0 with model.source random")
	require.ErrorContains(t, err, `lora.target_modules[0] = "lm_head"`)
	_, err = spec.ResolveFinetune([]byte(`{"model":{"source":"folder"},"architecture":{"heads":0}}`), testPresets)
	require.NoError(t, err, "the architecture of a given model is its own")
}

func TestDigestIsOfWhatTheRunComputes(t *testing.T) {
	a := spec.Default()
	b := a
	b.Name, b.Preset = "other", "child"
	require.Equal(t, digest(t, a), digest(t, b))
	b.Optimizer.Beta1 = 0.8
	require.NotEqual(t, digest(t, a), digest(t, b))
	require.Len(t, digest(t, a), 64)
}

func TestOverride(t *testing.T) {
	doc, err := spec.Override([]byte(`{"seed":18446744073709551615,"data":{"limit":0}}`), spec.Run{}, []string{
		"data.group_size=2", "prompt.system={N}", "evaluation.attempts=[1, 2]", "name=12", "optimizer.policy_lr=1e-3", "data.train=a=b",
	})
	require.NoError(t, err)
	require.JSONEq(t, `{"seed":18446744073709551615,"name":"12","data":{"limit":0,"group_size":2,"train":"a=b"},
		"prompt":{"system":"{N}"},"evaluation":{"attempts":[1,2]},"optimizer":{"policy_lr":0.001}}`, string(doc))
	r, err := spec.Resolve(doc, testPresets)
	require.NoError(t, err)
	require.Equal(t, uint64(math.MaxUint64), r.Seed)
}

func TestOverrideNamesEveryWrongAssignment(t *testing.T) {
	_, err := spec.Override(nil, spec.Run{}, []string{"seed", "data.nothing=1", "seed.x=1", "seed=[", "iterations=2"})
	require.ErrorIs(t, err, spec.ErrInvalid)
	require.ErrorContains(t, err, "4 wrong settings")
	require.ErrorContains(t, err, "data.nothing")
	require.ErrorContains(t, err, `seed.x = "1": no such setting; seed is a whole number`)
	require.ErrorContains(t, err, `data.nothing = "1": no such setting; there are train, levels`)
	_, err = spec.Override(nil, spec.Finetune{}, []string{"iterations=8"})
	require.ErrorContains(t, err, `iterations = "8": none in a fine-tuning: steps counts`)
}

func digest(t *testing.T, r spec.Run) string {
	t.Helper()
	d, err := r.Digest()
	require.NoError(t, err)
	return d
}

func resolveFile(t *testing.T, file string) (spec.Run, error) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	doc, err := spec.FromYAML(text)
	if err != nil {
		return spec.Run{}, err
	}
	return spec.Resolve(doc, testPresets)
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return files
}
