package worker

import (
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/activities"
	"multiattempt/internal/chat"
	"multiattempt/internal/dataset"
	"multiattempt/internal/engine"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
	"multiattempt/presets"
)

func pureGo(t *testing.T) device {
	t.Helper()
	backend, err := engine.Open(engine.PureGo)
	require.NoError(t, err)
	t.Cleanup(backend.Close)
	return device{backend, slog.New(slog.DiscardHandler)}
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

	sampler, err := d.NewSampler(t.Context(), dir)
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
	control := device{nil, slog.New(slog.DiscardHandler)}
	require.NoError(t, control.Create(t.Context(), dir, a, "ab", 1))
	require.NoError(t, control.Check(dir))
	require.NoError(t, control.Fits(t.Context(), dir, spec.Default()))
}

func TestOnlyTheEnginesPermanentErrorsAreMarked(t *testing.T) {
	require.NoError(t, permanent(nil))
	require.ErrorIs(t, permanent(fmt.Errorf("x: %w", engine.ErrTensor)), activities.ErrModel)
	require.NotErrorIs(t, permanent(os.ErrDeadlineExceeded), activities.ErrModel)
}
