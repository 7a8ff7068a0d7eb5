package forecast_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/forecast"
	"multiattempt/internal/spec"
	"multiattempt/presets"
)

func resolve(t *testing.T, doc string) spec.Run {
	t.Helper()
	r, err := spec.Resolve([]byte(doc), presets.Train())
	require.NoError(t, err)
	return r
}

func TestThePapersRunByHand(t *testing.T) {
	r := resolve(t, `{"preset":"paper"}`)
	m := forecast.Known(r.Model.Source)
	require.NotNil(t, m, "the preset's model needs no download")
	c := forecast.Of(r, m)
	require.Equal(t, 8, c.OptimizerStepsPerIteration)
	require.Equal(t, 10_240, c.OptimizerSteps)
	require.Equal(t, int64(1024*3000), c.TokensPerIterationMax)
	require.Equal(t, 159, c.Evaluations, "every 8 of 1,280 iterations, and none at the end")
	const weights = 4 * 1_543_714_304
	require.Equal(t, int64(weights), c.Memory.Learner.Policy)
	require.Equal(t, int64(weights), c.Memory.Learner.Critic)
	require.Equal(t, int64(4*weights), c.Memory.Learner.Moments, "two moments of two networks")
	require.Equal(t, int64(6*weights), c.CheckpointBytes, "policy, critic and their moments")
	require.Equal(t, int64(4*2*28*256*4096*128), c.Memory.Sampler.Cache, "128 dialogues of 4,096 tokens")
}

func TestWithoutACriticOrAModel(t *testing.T) {
	r := resolve(t, `{"preset":"quickstart-grpo","attempts":{"budget":"per_attempt","max_new_tokens":10}}`)
	c := forecast.Of(r, nil)
	require.Nil(t, c.Memory)
	require.Equal(t, int64(1024*5*10), c.TokensPerIterationMax)
	require.Equal(t, 7, c.EpisodesPerProblem)
	m := &forecast.Model{Name: "m", Parameters: 1000, HeadOnly: 100, Layers: 2, HiddenSize: 10, Intermediate: 20, Heads: 2, KVWidth: 10, MaxPositions: 50}
	c = forecast.Of(r, m)
	require.Zero(t, c.Memory.Learner.Critic)
	require.Equal(t, int64(8000), c.Memory.Learner.Moments)
	require.Equal(t, int64(12_000), c.CheckpointBytes)

	r.LoRA.Policy = spec.LoRA{Rank: 2, Alpha: 1, Targets: []string{"q_proj", "k_proj"}}
	c = forecast.Of(r, m)
	require.Equal(t, int64(4*160), c.Memory.Learner.Policy, "2·(10+10) + 2·(10+10) in each of two layers")
	require.Equal(t, int64(4*160*3+4000), c.CheckpointBytes, "adapters with moments, and the merged policy")
}

func TestExpectedTimeByHand(t *testing.T) {
	r := resolve(t, `{"preset":"quickstart","iterations":10}`)
	m := &forecast.Model{Name: "m", Parameters: 2000}
	c := forecast.Of(r, m)
	speed := forecast.Speed{Model: "m", Parameters: 2000, SamplingRate: 1024, UpdateRate: 512, EpisodeTokens: 2}
	got := forecast.Expect(r, m, c, speed)
	require.InDelta(t, 2+4, got.Iteration, 1e-9)
	require.InDelta(t, 60, got.Training, 1e-9)
	require.InDelta(t, 1000*7*2/1024., got.Evaluations, 1e-9)
	require.False(t, got.Scaled)

	speed.Model, speed.Parameters, speed.EpisodeTokens = "stand-in", 1000, 0
	got = forecast.Expect(r, m, c, speed)
	require.True(t, got.Scaled)
	require.True(t, got.Bound)
	require.InDelta(t, 2*(60+120), got.Iteration, 1e-9, "half as fast, and 60 tokens an episode")
}
