package forecast_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/engine"
	"multiattempt/internal/forecast"
	"multiattempt/internal/nn"
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
	require.Equal(t, int64(1_543_714_304), m.Parameters)
	require.Equal(t, int64(6*weights+3*head), c.CheckpointBytes, "policy, critic with its head, and their moments")
	require.Equal(t, int64(weights), c.PublishedBytesPerIt)
	require.Equal(t, 4096, c.Memory.RowTokens)
	require.Equal(t, int64(3*weights+head), c.Memory.Weights)
	require.Equal(t, int64(4*weights+2*head), c.Memory.Moments, "two moments of two networks")
}

// head is the size of the critic's scalar head, in bytes.
const head = 4 * 1536

// TestTheForecastIsTheLearnersOwn: what is printed before a run is what a learner reckons with before it begins.
func TestTheForecastIsTheLearnersOwn(t *testing.T) {
	for _, doc := range []string{
		`{"preset":"paper"}`, `{"preset":"paper","model":{"compute":"bfloat16"},"lora":{"policy":{"rank":32},"critic":{"rank":32}}}`,
		`{"preset":"gsm8k-smollm2"}`, `{"preset":"gsm8k-smollm2","update":{"value_weight":0},"advantage":{"estimator":"grpo","whiten":false},"data":{"group_size":2,"shard_size":2}}`,
	} {
		r := resolve(t, doc)
		m := forecast.Known(r.Model.Source)
		require.NotNil(t, m, r.Model.Source)
		c, plan := forecast.Of(r, m), engine.PlanTraining(r, m.Config)
		require.Equal(t, plan.Total(), c.Memory.Total)
		require.Equal(t, plan.Sampler.Total(), c.Memory.Sampler)
		require.Less(t, c.Memory.Learner, c.Memory.Total)
		require.GreaterOrEqual(t, c.Memory.Learner, c.Memory.Weights+c.Memory.Moments+c.Memory.Gradients+c.Memory.Activations)
	}
}

func TestWithoutACriticOrAModel(t *testing.T) {
	r := resolve(t, `{"preset":"quickstart-grpo","attempts":{"budget":"per_attempt","max_new_tokens":10}}`)
	c := forecast.Of(r, nil)
	require.Nil(t, c.Memory)
	require.Equal(t, int64(1024*5*10), c.TokensPerIterationMax)
	require.Equal(t, 7, c.EpisodesPerProblem)
	m := forecast.NewModel("m", nn.Config{
		Architecture: nn.Llama, VocabSize: 30, HiddenSize: 8, IntermediateSize: 20, Layers: 2, Heads: 2, KVHeads: 1, HeadDim: 4, MaxPositions: 50,
		RMSNormEps: 1e-5, RopeTheta: 1e4,
	})
	c = forecast.Of(r, m)
	require.Equal(t, 4*m.Parameters, c.Memory.Weights-4*m.Parameters, "policy and reference")
	require.Equal(t, 8*m.Parameters, c.Memory.Moments)
	require.Equal(t, 12*m.Parameters, c.CheckpointBytes)

	r.LoRA.Policy = spec.LoRA{Rank: 2, Alpha: 1, Targets: []string{"q_proj", "k_proj"}}
	c = forecast.Of(r, m)
	const adapters = 2 * 2 * (8 + 8 + 8 + 4) // in each of two layers, rank 2
	require.Equal(t, 4*(m.Parameters+adapters), c.Memory.Weights, "the base once")
	require.Equal(t, 4*(adapters*3+m.Parameters), c.CheckpointBytes, "adapters with moments, and the merged policy")
}

func TestExpectedTimeByHand(t *testing.T) {
	r := resolve(t, `{"preset":"quickstart","iterations":10}`)
	m := &forecast.Model{Name: "m", Parameters: 2000}
	c := forecast.Of(r, nil)
	sets := forecast.Sets{Problems: 1000, Unknown: []string{"mine"}}
	speed := forecast.Speed{Model: "m", Parameters: 2000, SamplingRate: 1024, UpdateRate: 512, EpisodeTokens: 2}
	got := forecast.Expect(r, m, c, speed, sets)
	require.InDelta(t, 2+4, got.Iteration, 1e-9)
	require.InDelta(t, 60, got.Training, 1e-9)
	require.InDelta(t, 1000*7*2/1024., got.Evaluations, 1e-9)
	require.False(t, got.Scaled)
	require.Equal(t, []string{"mine"}, got.UnknownSets)

	speed.Model, speed.Parameters, speed.EpisodeTokens = "stand-in", 1000, 0
	got = forecast.Expect(r, m, c, speed, sets)
	require.True(t, got.Scaled)
	require.True(t, got.Bound)
	require.InDelta(t, 2*(60+120), got.Iteration, 1e-9, "half as fast, and 60 tokens an episode")
	require.InDelta(t, 2*1000*7*float64(r.Evaluation.MaxNewTokens)/1024, got.Evaluations, 1e-9)
}
