package worker

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/activities"
	"multiattempt/internal/chat"
	"multiattempt/internal/engine"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
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
