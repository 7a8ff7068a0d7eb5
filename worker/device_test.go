package worker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/activities"
	"multiattempt/config"
	"multiattempt/internal/chat"
	"multiattempt/internal/dataset"
	"multiattempt/internal/engine"
	"multiattempt/internal/experience"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
	"multiattempt/presets"
)

func pureGo(t *testing.T) device {
	t.Helper()
	backend, err := engine.Open(engine.PureGo)
	require.NoError(t, err)
	t.Cleanup(backend.Close)
	return newDevice(backend, slog.New(slog.DiscardHandler), config.Worker{Roles: []config.Role{config.RoleControl, config.RoleRollout, config.RoleLearner}})
}

func TestCreateMakesAModelThatCanBeTuned(t *testing.T) {
	d, dir := pureGo(t), t.TempDir()
	a := spec.Architecture{HiddenSize: 8, IntermediateSize: 16, Layers: 1, Heads: 2, KVHeads: 1, MaxPositions: 32, RopeTheta: 10000}
	require.NoError(t, d.Create(t.Context(), dir, a, "ab", 1))
	info, err := d.Describe(dir)
	require.NoError(t, err)
	require.Equal(t, 32, info.MaxPositions)
	template, err := chat.Load(dir)
	require.NoError(t, err)
	reply, err := template.Reply("ab")
	require.NoError(t, err)

	sampler, err := d.NewSampler(t.Context(), dir, spec.ComputeBFloat16)
	require.NoError(t, err)
	sampler.Close()

	imitator, err := d.NewImitator(t.Context(), activities.ImitatorOptions{Model: dir, Optimizer: spec.DefaultFinetune().Optimizer, Microbatch: 1})
	require.NoError(t, err)
	mask := make([]bool, len(reply))
	for i := range mask {
		mask[i] = i > 0
	}
	stats, err := imitator.Step(t.Context(), []update.Example{{Tokens: reply, Mask: mask}}, 0.01)
	require.NoError(t, err)
	require.Positive(t, stats.Loss)
	_, err = imitator.Step(t.Context(), []update.Example{{Tokens: []int32{99}, Mask: []bool{true}}}, 0.01)
	require.ErrorIs(t, err, activities.ErrModel, "a token that the model does not have")
	require.NoError(t, imitator.Close())
}

func TestCreateMakesTheBuiltInModelsFolder(t *testing.T) {
	f, err := spec.ResolveFinetune([]byte(`{"preset":"quickstart-base"}`), presets.Finetune())
	require.NoError(t, err)
	dialogues, err := dataset.OpenDialogues(f.Data, f.Prompt)
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, pureGo(t).Create(t.Context(), dir, f.Architecture, dialogues.Alphabet(), f.Seed))
	shipped, err := presets.Model("smudged-base")
	require.NoError(t, err)
	made := os.DirFS(dir)
	for _, name := range []string{"config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"} {
		want, err := fs.ReadFile(shipped, name)
		require.NoError(t, err)
		got, err := fs.ReadFile(made, name)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got), name)
	}
	want, err := fs.Stat(shipped, "model.safetensors")
	require.NoError(t, err)
	got, err := fs.Stat(made, "model.safetensors")
	require.NoError(t, err)
	require.Equal(t, want.Size(), got.Size(), "the same tensors")
}

func TestFoldersThatAreNoModelAreRefused(t *testing.T) {
	d, dir := pureGo(t), t.TempDir()
	_, err := d.Describe(dir)
	require.ErrorIs(t, err, activities.ErrModel)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"model_type":"mamba"}`), 0o644))
	_, err = d.Describe(dir)
	require.ErrorIs(t, err, activities.ErrModel)
	_, err = d.NewLearner(t.Context(), activities.LearnerOptions{Model: dir, Reference: dir})
	require.ErrorIs(t, err, activities.ErrModel)
}

func TestAWorkerThatComputesNothingResolvesRuns(t *testing.T) {
	dir := t.TempDir()
	a := spec.Architecture{HiddenSize: 8, IntermediateSize: 16, Layers: 1, Heads: 2, KVHeads: 1, MaxPositions: 32, RopeTheta: 10000}
	control := newDevice(nil, slog.New(slog.DiscardHandler), config.Worker{Roles: []config.Role{config.RoleControl}})
	require.NoError(t, control.Create(t.Context(), dir, a, "ab", 1))
	require.NoError(t, control.Check(dir))
	require.NoError(t, control.FitsTraining(t.Context(), dir, spec.Default()))
}

// TestEachRoleRefusesItsOwnPart: of a model with 16 TB of weights, of which there is the configuration.
func TestEachRoleRefusesItsOwnPart(t *testing.T) {
	d, dir := pureGo(t), t.TempDir()
	a := spec.Architecture{HiddenSize: 8, IntermediateSize: 16, Layers: 1, Heads: 2, KVHeads: 1, MaxPositions: 32, RopeTheta: 10000}
	require.NoError(t, d.Create(t.Context(), dir, a, "ab", 1))
	file := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, bytes.Replace(text, []byte(`"intermediate_size": 16`), []byte(`"intermediate_size": 500000000000`), 1), 0o644))
	require.NoError(t, os.Remove(filepath.Join(dir, "model.safetensors")))

	run, f := spec.Default(), spec.DefaultFinetune()
	work := map[string]func(device) error{
		"training":   func(d device) error { return d.FitsTraining(t.Context(), dir, run) },
		"evaluation": func(d device) error { return d.FitsEvaluation(t.Context(), dir, run) },
		"tuning":     func(d device) error { return d.FitsTuning(t.Context(), dir, f, 10) },
	}
	parts := map[string]string{"both": "; sampler: weights", "learner": `Adam's copies [0-9.]+\), the device`, "rollout": "key-value cache of"}
	for name, c := range map[string]struct {
		roles   []config.Role
		refuses []string
	}{
		"both":    {[]config.Role{config.RoleRollout, config.RoleLearner}, []string{"training", "evaluation", "tuning"}},
		"learner": {[]config.Role{config.RoleControl, config.RoleLearner}, []string{"training", "tuning"}},
		"rollout": {[]config.Role{config.RoleRollout}, []string{"training", "evaluation"}},
		"control": {[]config.Role{config.RoleControl}, nil},
	} {
		backend := d.backend
		if name == "control" {
			backend = nil
		}
		of := newDevice(backend, slog.New(slog.DiscardHandler), config.Worker{Roles: c.roles})
		for what, fits := range work {
			err := fits(of)
			if !slices.Contains(c.refuses, what) {
				require.NoError(t, err, "%s %s", name, what)
				continue
			}
			require.ErrorIs(t, err, activities.ErrModel)
			require.ErrorIs(t, err, engine.ErrMemory)
			require.Regexp(t, `takes [0-9.]+ GB .*, the device of go has [0-9.]+ GB; `, err.Error())
			if what == "training" {
				require.Regexp(t, parts[name], err.Error())
			}
		}
	}
}

// TestALearnersCompilationsAreLogged: a first step compiles, the same again does not.
func TestALearnersCompilationsAreLogged(t *testing.T) {
	d, dir := pureGo(t), t.TempDir()
	var lines bytes.Buffer
	d.log = slog.New(slog.NewJSONHandler(&lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
	a := spec.Architecture{HiddenSize: 8, IntermediateSize: 16, Layers: 1, Heads: 2, KVHeads: 1, MaxPositions: 32, RopeTheta: 10000}
	require.NoError(t, d.Create(t.Context(), dir, a, "ab", 1))
	run := spec.Default()
	l, err := d.NewLearner(t.Context(), activities.LearnerOptions{Model: dir, Reference: dir, Update: run.Update, Optimizer: run.Optimizer})
	require.NoError(t, err)
	row := experience.Row{
		Tokens: []int32{5, 6}, Mask: []bool{false, true}, Old: []float32{0, -1}, Ref: []float32{0, -1}, Advantages: []float32{0, 1},
		Returns: []float32{0, 1}, Values: []float32{0, 0},
	}
	for range 2 {
		_, err = l.Step(t.Context(), []experience.Row{row}, update.Rates{Policy: 1e-3, Critic: 1e-3})
		require.NoError(t, err)
	}
	require.NoError(t, l.Close())
	var levels []string
	for line := range strings.Lines(lines.String()) {
		var l struct {
			Level, Msg    string
			Compilations  int
			Rows          int
			Seconds       float64
			InAll         int     `json:"compilations_in_all"`
			SecondsCompil float64 `json:"compilation_seconds"`
		}
		require.NoError(t, json.Unmarshal([]byte(line), &l))
		require.Equal(t, "learned", l.Msg)
		require.Equal(t, 1, l.Rows)
		require.Equal(t, l.Level == "INFO", l.Compilations > 0)
		require.Equal(t, l.Level == "INFO", l.SecondsCompil > 0)
		require.Positive(t, l.InAll)
		levels = append(levels, l.Level)
	}
	require.Equal(t, []string{"INFO", "DEBUG"}, levels)
}

func TestOnlyTheEnginesPermanentErrorsAreMarked(t *testing.T) {
	require.NoError(t, permanent(nil))
	require.ErrorIs(t, permanent(fmt.Errorf("x: %w", engine.ErrTensor)), activities.ErrModel)
	require.NotErrorIs(t, permanent(os.ErrDeadlineExceeded), activities.ErrModel)
}
