package activities_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/activities"
	"multiattempt/activities/activitytest"
	"multiattempt/internal/blob"
	"multiattempt/internal/reward"
)

// doubled pays twice what outcomes earn, and spoils its copies of the episodes.
type doubled struct{}

func (doubled) Reward(_ context.Context, b reward.Batch, outcomes []reward.Earned) ([]reward.Earned, error) {
	for _, e := range b.Episodes {
		clear(e.Attempts)
		clear(e.Tokens)
		clear(e.Mask)
		clear(e.LogProbs)
	}
	for i := range outcomes {
		outcomes[i].Episode *= 2
		for a := range outcomes[i].Attempts {
			outcomes[i].Attempts[a] *= 2
		}
	}
	return outcomes, nil
}

func TestRewardsOfTheProgramsOwn(t *testing.T) {
	store, presets := blob.NewMemory(), activitytest.Presets(t)
	h := newHost(t, store, presets, "h")
	_, err := do[activities.ResolveSpecOutput](t, h, h.Data.ResolveSpec, activities.ResolveSpecInput{
		Run: "r", Spec: json.RawMessage(`{"preset":"small","reward":{"source":"go:doubled"}}`),
	})
	requireFailure(t, err, activities.FailureInvalidSpec)
	require.ErrorContains(t, err, `reward.source = "go:doubled": this program was built without rewards of its own`)

	plan, plain := begin(t, h, `{"preset":"small","advantage":{"credit":"attempt"}}`)
	want := experienceOf(t, store, experienced(t, h, plain, plan.Plan.Shards))
	require.Len(t, want.AttemptRewards, len(want.Rewards))
	activities.OfferReward(h.Data, "doubled", doubled{})
	_, at := begin(t, h, `{"preset":"small","advantage":{"credit":"attempt"},"reward":{"source":"go:doubled"}}`)
	spent := experienced(t, h, at, plan.Plan.Shards)
	got := experienceOf(t, store, spent)
	for i := range want.Rewards {
		require.Equal(t, 2*want.Rewards[i], got.Rewards[i])
		for a := range want.AttemptRewards[i] {
			require.Equal(t, 2*want.AttemptRewards[i][a], got.AttemptRewards[i][a])
		}
	}
	require.InDelta(t, 2*want.Summary.RewardMean, got.Summary.RewardMean, 1e-12)
	require.Equal(t, want.Summary.Outcomes, got.Summary.Outcomes)
	require.Equal(t, want.Summary.SampledTokens, got.Summary.SampledTokens)
	must[activities.UpdateOutput](t, h, h.Learner.Update, activities.UpdateInput{At: at, Experience: spent})
}

func TestRewardsOfAnEndpointOrNone(t *testing.T) {
	answers := true
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Episodes []struct{} }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || !answers {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, `{"rewards":[7`+strings.Repeat(",7", len(in.Episodes)-1)+`]}`)
	}))
	defer server.Close()
	store, presets := blob.NewMemory(), activitytest.Presets(t)
	h := newHost(t, store, presets, "h")
	plan, at := begin(t, h, `{"preset":"small","reward":{"source":"`+server.URL+`","tries":1,"batch_size":5}}`)
	got := experienceOf(t, store, experienced(t, h, at, plan.Plan.Shards))
	require.Len(t, got.Rewards, 16)
	for _, r := range got.Rewards {
		require.Equal(t, 7.0, r)
	}

	answers = false
	batch := must[activities.SampleBatchOutput](t, h, h.Data.SampleBatch, activities.SampleBatchInput{Run: "r", Spec: at.Spec})
	out := must[activities.RolloutOutput](t, h, h.Rollouts.Rollout, activities.RolloutInput{
		Run: "r", Spec: at.Spec, Policy: at.Policy, Problems: batch.Problems, Shards: 1,
	})
	_, err := do[activities.RewardOutput](t, h, h.Data.Reward, activities.RewardInput{Run: "r", Spec: at.Spec, Episodes: []blob.Ref{out.Episodes}})
	require.ErrorContains(t, err, "status 500")
	requireRetryable(t, err)
}

func TestARunWithoutItsEndpointsSecretDoesNotStart(t *testing.T) {
	h := newHost(t, blob.NewMemory(), activitytest.Presets(t), "h")
	_, err := do[activities.ResolveSpecOutput](t, h, h.Data.ResolveSpec, activities.ResolveSpecInput{
		Run: "r", Spec: json.RawMessage(`{"preset":"small","reward":{"source":"https://rewards.example","secret":"env:REWARD_ABSENT"}}`),
	})
	requireFailure(t, err, activities.FailureInvalidSpec)
	require.ErrorContains(t, err, "reward.secret: no secret for the endpoint of rewards: $REWARD_ABSENT is not set on this worker")
}

func experienceOf(t *testing.T, store blob.Store, ref blob.Ref) (x activities.Experience) {
	t.Helper()
	b, err := blob.Load(t.Context(), store, ref)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &x))
	return x
}
