package endpoint_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/reward"
	"multiattempt/internal/reward/endpoint"
	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
)

// batch has three episodes, the first of two attempts.
func batch() (reward.Batch, []reward.Earned) {
	b := reward.Batch{Run: "r", Step: 4, Episodes: []rollout.Episode{
		{ProblemID: "a", Question: "1 / 2 ?", Gold: "2", MaxTries: 3, Attempts: []rollout.Attempt{
			{Start: 2, End: 5, Text: "so 0.5", Answer: "0.5", Outcome: rollout.Wrong},
			{Start: 7, End: 8, Text: "1/2", Answer: "1/2", Outcome: rollout.Wrong},
		}},
		{ProblemID: "b", Index: 1, MaxTries: 1, Attempts: []rollout.Attempt{{Start: 1, End: 2, Outcome: rollout.NoAnswer}}},
		{ProblemID: "b", Index: 1, Sample: 1, MaxTries: 1, Attempts: []rollout.Attempt{{Start: 1, End: 2, Outcome: rollout.Correct}}},
	}}
	return b, reward.All(b.Episodes, spec.Default().Reward)
}

// reach returns a source that does not wait between requests.
func reach(t *testing.T, r spec.Reward, c endpoint.Connection) *endpoint.Source {
	t.Helper()
	s, err := endpoint.New(r, c)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	s.Pause = func(context.Context, int) error { return nil }
	return s
}

// source asks a server that answers with each text in turn, or the last one for ever. It does not wait between requests.
func source(t *testing.T, answers ...string) (s *endpoint.Source, requests *[]string) {
	t.Helper()
	requests = &[]string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		answer := answers[min(len(*requests), len(answers)-1)]
		*requests = append(*requests, string(body))
		switch answer {
		case "busy":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "hang":
			<-r.Context().Done()
		default:
			_, _ = io.WriteString(w, answer)
		}
	}))
	t.Cleanup(server.Close)
	r := spec.Default().Reward
	r.Source, r.BatchSize, r.TimeoutSeconds, r.Tries = server.URL, 2, 30, 3
	return reach(t, r, endpoint.Connection{}), requests
}

func TestRewardsOfAnEndpoint(t *testing.T) {
	s, requests := source(t, `{"rewards":[[0.25,-1],3]}`, "busy", `{"rewards":[-2e0]}`)
	b, outcomes := batch()
	var done []int
	s.Progress = func(n int) { done = append(done, n) }
	got, err := s.Reward(t.Context(), b, outcomes)
	require.NoError(t, err)
	require.Equal(t, []reward.Earned{{Episode: -0.75, Attempts: []float64{0.25, -1}}, {Episode: 3}, {Episode: -2}}, got)
	require.Equal(t, []int{2, 3}, done)
	require.Len(t, *requests, 3)
	require.JSONEq(t, `{"version":1,"run":"r","step":4,"episodes":[
		{"problem_id":"a","question":"1 / 2 ?","gold":"2","index":0,"sample":0,"attempts_allowed":3,"reward":-0.5,"attempts":[
			{"text":"so 0.5","answer":"0.5","outcome":"wrong","tokens":3,"repeats_an_earlier_answer":false,"reward":-0.5},
			{"text":"1/2","answer":"1/2","outcome":"wrong","tokens":1,"repeats_an_earlier_answer":true,"reward":-0.5}]},
		{"problem_id":"b","question":"","gold":"","index":1,"sample":0,"attempts_allowed":1,"reward":-1,"attempts":[
			{"text":"","answer":"","outcome":"no_answer","tokens":1,"repeats_an_earlier_answer":false,"reward":-1}]}]}`, (*requests)[0])
	require.Equal(t, (*requests)[1], (*requests)[2], "repeated as it was")
}

func TestWhatIsNoRewardIsAnError(t *testing.T) {
	b, outcomes := batch()
	for name, c := range map[string]struct{ answer, saying string }{
		"not JSON":         {"oops", "no JSON object"},
		"nothing":          {`{}`, "0 rewards for 2 episodes"},
		"too few":          {`{"rewards":[1]}`, "1 rewards for 2 episodes"},
		"text":             {`{"rewards":[1,"2"]}`, `reward 1 is "2"`},
		"null":             {`{"rewards":[null,1]}`, "reward 0 is null"},
		"too few attempts": {`{"rewards":[[1],1]}`, "reward 0 has 1 numbers for 2 attempts"},
		"null attempt":     {`{"rewards":[[1,null],1]}`, "reward 0 is [1,null]"},
		"infinite":         {`{"rewards":[[1e308,1e308],1]}`, "not finite"},
		"too large":        {`{"rewards":[1e999,1]}`, "reward 0 is 1e999"},
		"unavailable":      {"busy", "status 503"},
	} {
		t.Run(name, func(t *testing.T) {
			s, requests := source(t, c.answer)
			got, err := s.Reward(t.Context(), b, outcomes)
			require.ErrorIs(t, err, endpoint.ErrEndpoint)
			require.ErrorContains(t, err, c.saying)
			require.ErrorContains(t, err, "episodes 1 to 2 of 3")
			require.Nil(t, got)
			require.Len(t, *requests, 3, "tried three times")
		})
	}
}

func TestRequestsAreRepeatedAsOftenAsTheSettingsSay(t *testing.T) {
	b, outcomes := batch()
	for _, tries := range []int{1, 5} {
		r, asked := spec.Default().Reward, 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked++
			w.WriteHeader(http.StatusBadGateway)
		}))
		defer server.Close()
		r.Source, r.Tries = server.URL, tries
		_, err := reach(t, r, endpoint.Connection{}).Reward(t.Context(), b, outcomes)
		require.ErrorIs(t, err, endpoint.ErrEndpoint)
		require.Equal(t, tries, asked)
	}
}

func TestRequestsAreBoundedInTime(t *testing.T) {
	b, outcomes := batch()
	s, _ := source(t, "hang")
	r := spec.Default().Reward
	r.Source, r.TimeoutSeconds, r.Tries = "http://"+"127.0.0.1:1", 0.001, 2
	unreachable := reach(t, r, endpoint.Connection{})
	unreachable.Pause = func(context.Context, int) error { return errors.New("the worker stops") }
	_, err := unreachable.Reward(t.Context(), b, outcomes)
	require.ErrorIs(t, err, endpoint.ErrEndpoint)
	require.ErrorContains(t, err, "the worker stops")

	ctx, cancel := context.WithCancel(t.Context())
	s.Pause = func(context.Context, int) error { t.Error("a cancelled call is not repeated"); return nil }
	cancel()
	_, err = s.Reward(ctx, b, outcomes)
	require.ErrorIs(t, err, context.Canceled)
}

func TestAHangingEndpointTimesOut(t *testing.T) {
	b, outcomes := batch()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_ = json.NewDecoder(r.Body).Decode(&struct{}{})
		<-r.Context().Done()
	}))
	defer server.Close()
	r := spec.Default().Reward
	r.Source, r.TimeoutSeconds, r.Tries = server.URL, 0.01, 2
	s := reach(t, r, endpoint.Connection{})
	_, err := s.Reward(t.Context(), b, outcomes)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, endpoint.ErrEndpoint)
}
