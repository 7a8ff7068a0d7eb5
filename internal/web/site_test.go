package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/internal/rollout"
	"multiattempt/internal/runs/runstest"
	"multiattempt/internal/web"
	"multiattempt/presets"
)

// service is a running service that knows three runs and can be steered.
type service struct {
	mu      sync.Mutex
	runs    []web.LiveRun
	steered []web.Steering
	err     error
}

func newService(now time.Time) *service {
	best := 0.61
	return &service{runs: []web.LiveRun{
		{Run: "demo", Kind: "Train", State: "running", Phase: "training", Step: 40, Of: 60, Model: "Qwen2.5-Math-1.5B", Started: now.Add(-40 * time.Minute),
			URL:    "http://127.0.0.1:8233/namespaces/default/workflows/demo",
			Stages: []web.Stage{{Name: "rollout 3/8", What: "episodes", Done: 80, Of: 128}, {Name: "rollout 4/8", What: "episodes", Done: 41, Of: 128}},
			Actions: []web.Action{
				{Name: "pause", Label: "Pause", Help: "hold after the iteration under way"},
				{Name: "checkpoint_now", Label: "Checkpoint now", Help: "keep a checkpoint after the iteration under way"},
				{Name: "set_learning_rate", Label: "Set rates", Help: "peak learning rates from the next iteration on",
					Fields: []web.Field{{Name: "policy_lr", Label: "policy", Value: "5e-07"}, {Name: "critic_lr", Label: "critic", Value: "1e-05"}}},
				{Name: "stop", Label: "Stop", Help: "finish the iteration under way, keep a checkpoint, complete", Danger: true},
			}},
		{Run: "baseline", Kind: "Train", State: "completed", Phase: "completed", Step: 40, Of: 40, Best: &best, Model: "Qwen2.5-Math-1.5B",
			Started: now.Add(-26 * time.Hour), Ended: now.Add(-25 * time.Hour), URL: "http://127.0.0.1:8233/namespaces/default/workflows/baseline"},
		{Run: "unlucky", Kind: "Train", State: "failed", Step: 0, Of: 60, Model: "SmolLM2-135M", Started: now.Add(-50 * time.Hour),
			Failure: "loss is not a finite number at step 1, minibatch 3"},
	}}
}

func (s *service) List(context.Context) ([]web.LiveRun, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]web.LiveRun(nil), s.runs...), s.err
}

func (s *service) Look(_ context.Context, run string) (web.LiveRun, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.runs {
		if r.Run == run {
			return r, s.err
		}
	}
	return web.LiveRun{}, web.ErrUnknown
}

func (s *service) Steered(context.Context, string) ([]web.Steering, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]web.Steering(nil), s.steered...), nil
}

func (s *service) Steer(_ context.Context, run, action string, fields map[string]string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fields["policy_lr"] == "2" {
		return "", fmt.Errorf("%w: policy_lr = 2: from 0 to 1", web.ErrRefused)
	}
	s.steered = append(s.steered, web.Steering{At: time.Now(), Name: action, Detail: fmt.Sprint(fields), By: "a browser"})
	if action == "pause" {
		s.runs[0].Note = "pauses after the iteration under way"
	}
	return fmt.Sprintf("%s: %s is on its way", run, action), nil
}

func (s *service) Home() string { return "http://127.0.0.1:8233" }

// What a hostile model says. None of it may be obeyed.
const (
	planted  = `<script>window.planted=1</script><img src=x onerror="window.planted=1"><svg/onload=window.planted=1>"'>{{7*7}}</pre></main><a href="javascript:window.planted=1">x</a>`
	terminal = "\x1b[2J\x1b]0;owned\x07\x1b[31mred\x9b1m\b\b\b"
	reversed = "abc\u202egnp.exe\u2066\u200f"
)

// hostile plants them everywhere.
func hostile(step, at int, e *rollout.Episode) {
	if step != 2 {
		return
	}
	switch at {
	case 0:
		e.Question, e.ProblemID, e.Gold = planted, planted, planted
		for i := range e.Attempts {
			e.Attempts[i].Text, e.Attempts[i].Answer, e.Attempts[i].Rule = planted, planted, planted
		}
	case 1:
		e.Question, e.ProblemID, e.Attempts[0].Text, e.Attempts[0].Answer = terminal, "t"+terminal, terminal, terminal
	case 2:
		e.Question, e.Gold, e.Attempts[0].Text, e.Attempts[0].Answer = reversed, reversed, reversed, reversed
	case 3:
		long := strings.Repeat("0123456789abcdef", 1<<16)
		e.Question, e.Attempts[0].Text, e.Attempts[0].Answer = long, long, long
	}
}

// site is a server before a store with runs.
type site struct {
	*httptest.Server
	store   blob.Store
	service *service
}

var (
	once   sync.Once
	made   blob.Store
	makeIt error
)

// stored makes the runs that all tests look at, once: demo (40 of 60 iterations), baseline, and hostile.
func stored(t *testing.T) blob.Store {
	t.Helper()
	once.Do(func() {
		made = blob.NewMemory()
		for _, o := range []runstest.Options{
			{Run: "demo", Steps: 40, Problems: 12, Group: 4, Seed: 7, Skill: 0.72, Scores: true, Evaluate: true, Tokenizer: os.DirFS("../chat/testdata/qwen")},
			{Run: "baseline", Steps: 40, Problems: 12, Group: 4, Seed: 8, Skill: 0.55, Evaluate: true},
			{Run: "hostile", Steps: 3, Edit: hostile, Seed: 9, Scores: true, Tokenizer: os.DirFS("../chat/testdata/qwen")},
		} {
			if makeIt = runstest.Make(context.Background(), made, o); makeIt != nil {
				return
			}
		}
	})
	require.NoError(t, makeIt)
	return made
}

// open starts a server; change may alter what it is started with.
func open(t *testing.T, change func(*web.Options)) *site {
	t.Helper()
	now := time.Now()
	store := runstest.Clock{Store: stored(t), End: now.Add(-20 * time.Second), Every: 61 * time.Second, Steps: 40}
	s := &site{store: store, service: newService(now)}
	o := web.Options{Store: store, CacheDir: t.TempDir(), Live: s.service, Presets: presets.Train(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	if change != nil {
		change(&o)
	}
	ctx, cancel := context.WithCancel(t.Context())
	server, err := web.New(ctx, o)
	require.NoError(t, err)
	s.Server = httptest.NewServer(server.Handler())
	t.Cleanup(func() {
		cancel()
		s.CloseClientConnections()
		s.Close()
		server.Wait()
	})
	return s
}

// own makes a store of the test's own with one run called demo, which the test may change.
func own(t *testing.T) blob.Store {
	t.Helper()
	store := blob.NewMemory()
	require.NoError(t, runstest.Make(t.Context(), store, runstest.Options{Run: "demo", Steps: 40, Problems: 2}))
	return store
}

// add stores the record of one more step of demo.
func add(t *testing.T, store blob.Store, step int) {
	t.Helper()
	body, _, err := store.Get(t.Context(), activities.RecordKey("demo", 40))
	require.NoError(t, err)
	var r activities.StepRecord
	require.NoError(t, json.NewDecoder(body).Decode(&r))
	r.Step = step
	put(t, store, activities.RecordKey("demo", step), r)
}

// put stores an object of JSON.
func put(t *testing.T, store blob.Store, key string, v any) {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	_, err = store.Put(t.Context(), key, bytes.NewReader(b), int64(len(b)), blob.PutOptions{})
	require.NoError(t, err)
}
