package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/web"
)

// listing is a Temporal with these runs.
type listing []web.LiveRun

func (l listing) List(context.Context) ([]web.LiveRun, error) { return l, nil }

func (l listing) Look(_ context.Context, run string) (web.LiveRun, error) {
	for _, r := range l {
		if r.Run == run {
			r.Stages = []web.Stage{{Name: "rollout 1 of 2", What: "episodes", Done: 3, Of: 8}}
			return r, nil
		}
	}
	return web.LiveRun{}, web.ErrUnknown
}

func newListing() (listing, time.Time) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	reward, best := 0.25, 0.5
	return listing{
		{Run: "one", Kind: "Train", State: "running", Phase: "training", Step: 3, Of: 12, Reward: &reward, Best: &best, Started: now.Add(-time.Minute)},
		{Run: "ended", Kind: "Train", State: "completed"},
		{Run: hostile, Kind: "Evaluate", State: "running", Troubles: []string{"Rollout failed: " + hostile}, Started: now.Add(-2 * time.Hour)},
	}, now
}

func TestTopPrintsOneTable(t *testing.T) {
	all, now := newListing()
	var out bytes.Buffer
	x := &top{app: &app{stdout: &out}, source: all, clock: func() time.Time { return now }}
	require.NoError(t, x.print(t.Context(), &out, 0, 0))
	text := out.String()
	require.Contains(t, text, "12:00:00 2 running\n  run ")
	require.Regexp(t, `(?m)^  one +Train +training +3/12  \+0\.250  50\.0 %  1m00s +rollout 1 of 2 3/8 episodes$`, text)
	require.NotContains(t, text, "ended")
	require.Contains(t, text, "! Rollout failed: <U+001B>[2J")
	require.False(t, strings.ContainsAny(text, obeyed), "%q", text)
	require.Less(t, len(text), 2000)

	// Twelve seconds and four steps later there is something to say of the time left.
	all[0].Step, now = 7, now.Add(12*time.Second)
	out.Reset()
	require.NoError(t, x.print(t.Context(), &out, 140, 5))
	require.Regexp(t, `(?m)^  one .* 15s  rollout 1 of 2 3/8 episodes$`, out.String())
	require.Contains(t, out.String(), "2 running")
	for _, line := range strings.Split(out.String(), "\n") {
		require.LessOrEqual(t, len([]rune(line)), 140, line)
	}

	out.Reset()
	x.source = listing{}
	require.NoError(t, x.print(t.Context(), &out, 0, 0))
	require.Equal(t, "12:00:12  no run is running; `multiattempt runs` lists those that ended\n", out.String())
}

func TestTopAsJSON(t *testing.T) {
	all, now := newListing()
	var out bytes.Buffer
	x := &top{app: &app{stdout: &out}, source: all, clock: func() time.Time { return now }}
	found, err := x.look(t.Context())
	require.NoError(t, err)
	require.NoError(t, x.printJSON(found))
	require.False(t, strings.ContainsAny(out.String(), obeyed), "escaped, and to a parser the same")
	var back []topRun
	require.NoError(t, json.Unmarshal(out.Bytes(), &back))
	require.Equal(t, strings.ToValidUTF8(hostile, "\ufffd"), back[1].Run)
	require.Equal(t, topStage{Name: "rollout 1 of 2", What: "episodes", Done: 3, Of: 8}, back[0].Stages[0])
}

func TestTopShowsAsManyRunsAsFit(t *testing.T) {
	var all listing
	for i := range 50 {
		all = append(all, web.LiveRun{Run: fmt.Sprintf("run-%02d", i), State: "running"})
	}
	var out bytes.Buffer
	x := &top{app: &app{stdout: &out}, source: all, clock: time.Now}
	require.NoError(t, x.print(t.Context(), &out, 100, 10))
	require.Contains(t, out.String(), "50 running, the newest 7")
	require.LessOrEqual(t, strings.Count(out.String(), "\n"), 10)
}

func TestTopLeavesAtAKey(t *testing.T) {
	for _, keys := range []string{"xyzq", "\x03", ""} {
		stopped := false
		stopAtKey(strings.NewReader(keys), func() { stopped = true })
		require.True(t, stopped, "%q", keys)
	}
}
