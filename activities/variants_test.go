package activities_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/activities"
	"multiattempt/activities/activitytest"
	"multiattempt/internal/blob"
)

// TestVariantsSurviveALostLearner: whatever an update carries on, a successor that loads the last checkpoint and repeats the
// steps since holds the same bytes.
func TestVariantsSurviveALostLearner(t *testing.T) {
	for name, settings := range map[string]string{
		"adaptive coefficient": `{"preset":"small","update":{"kl_target":0.0001,"kl_horizon":16,"kl_coefficient":0.5},"critic_warmup":0}`,
		"in the reward":        `{"preset":"small","update":{"kl":"reward","kl_estimator":"k1","kl_target":0.0001,"kl_horizon":16},"critic_warmup":0}`,
		"no critic": `{"preset":"small","critic_warmup":0,"data":{"problems_per_step":4,"group_size":4},
			"advantage":{"estimator":"grpo","whiten":false,"drop_equal_groups":true,"credit":"attempt"},"update":{"value_weight":0,"epochs":3,"stop_kl":0.00001}}`,
	} {
		t.Run(name, func(t *testing.T) {
			store, presets := blob.NewMemory(), activitytest.Presets(t)
			first := newHost(t, store, presets, "first")
			plan, at := begin(t, first, settings)
			at = advance(t, first, at, plan.Plan.Shards, 2)
			kept := keep(t, first, at)
			at = advance(t, first, at.At(kept.Checkpoint, kept.Policy), plan.Plan.Shards, 2)
			in := activities.UpdateInput{At: at, Experience: experienced(t, first, at, plan.Plan.Shards)}
			want := must[activities.UpdateOutput](t, first, first.Learner.Update, in)

			second := newHost(t, store, presets, "second")
			got := must[activities.UpdateOutput](t, second, second.Learner.Update, in)
			require.Equal(t, want.Policy, got.Policy)
			require.Equal(t, want.Record, got.Record)
			after := at.After(activities.StepDone{Experience: in.Experience, Policy: want.Policy.Digest}, want.Policy)
			require.Equal(t,
				keep(t, first, after).Checkpoint,
				keep(t, second, after).Checkpoint)
		})
	}
}

func TestTheCoefficientIsSteeredFromStepToStep(t *testing.T) {
	store, presets := blob.NewMemory(), activitytest.Presets(t)
	h := newHost(t, store, presets, "h")
	plan, at := begin(t, h, `{"preset":"small","critic_warmup":0,"update":{"kl_target":0.000001,"kl_horizon":32,"kl_coefficient":0.5},"optimizer":{"policy_lr":0.3}}`)
	advance(t, h, at, plan.Plan.Shards, 4)
	records, err := activities.Records(t.Context(), store, "r")
	require.NoError(t, err)
	require.Len(t, records, 4)
	// The policy starts as the reference: KL 0, which counts −0.2, times 16/32 episodes. Then it moves away.
	require.Equal(t, 0.5, records[0].Update.KLCoefficient)
	require.InDelta(t, 0.45, records[1].Update.KLCoefficient, 1e-12)
	for i := 1; i < 4; i++ {
		require.Equal(t, records[i-1].Update.NextKLCoefficient, records[i].Update.KLCoefficient)
	}
	require.Greater(t, records[3].Update.KLCoefficient, records[2].Update.KLCoefficient)
	text, err := json.Marshal(records[1].Update)
	require.NoError(t, err)
	require.Contains(t, string(text), `"kl_coefficient":0.45`)
}
