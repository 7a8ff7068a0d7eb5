package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// smallQuickstart shrinks the quickstart to seconds; every stage stays.
var smallQuickstart = []string{
	"--set", "iterations=2", "--set", "critic_warmup=1",
	"--set", "data.problems_per_step=8", "--set", "data.shard_size=8",
	"--set", "update.minibatch=8", "--set", "update.microbatch=8", "--set", "evaluation.limit=6",
}

// summary is what the quickstart's summary.json promises.
type summary struct {
	Seconds float64
	Backend string
	Arms    []struct {
		Name        string
		Seed        uint64
		Accuracy    map[string]float64
		CI          map[string][2]float64
		RepeatShare map[string]float64 `json:"repeat_share"`
		Checkpoint  string             `json:"checkpoint_sha256"`
	}
	Optimum map[string]float64
}

// quickstart runs the small quickstart into out and returns what it printed and its summary.
func quickstart(t *testing.T, out string, seed string) (string, summary) {
	t.Helper()
	in := installation{state: out, flags: []string{"--cache-dir", t.TempDir()}}
	p := in.start(t, append([]string{"quickstart", "--out", out, "--seed", seed}, smallQuickstart...)...)
	require.Zero(t, p.wait(t), "%s", &p.out)
	b, err := os.ReadFile(filepath.Join(out, "summary.json"))
	require.NoError(t, err)
	var s summary
	require.NoError(t, json.Unmarshal(b, &s))
	return p.out.String(), s
}

func TestQuickstartReportsThreeArmsAndIsRepeatable(t *testing.T) {
	out := filepath.Join(t.TempDir(), "quickstart")
	printed, first := quickstart(t, out, "1")
	require.Contains(t, printed, "Temporal UI")
	for _, name := range []string{"report.html", "figure.svg"} {
		require.Contains(t, printed, filepath.Join(out, name))
		require.FileExists(t, filepath.Join(out, name))
	}
	require.Positive(t, first.Seconds)
	require.Len(t, first.Arms, 3)
	for i, name := range []string{"base", "multi", "single"} {
		a := first.Arms[i]
		require.Equal(t, name, a.Name)
		require.Equal(t, uint64(1), a.Seed)
		require.Len(t, a.Accuracy, 7)
		require.Len(t, a.CI, 7)
		require.Len(t, a.RepeatShare, 6)
		require.Len(t, a.Checkpoint, 64)
	}
	require.InDelta(t, 1, first.Optimum["4"], 1e-9, "four attempts try every digit")

	t.Run("again: it finds what is there", func(t *testing.T) {
		printed, again := quickstart(t, out, "1")
		require.Contains(t, printed, "Seed 1 had been run before; --fresh starts over")
		require.Equal(t, first.Arms, again.Arms)
	})
	t.Run("elsewhere: the same seed gives the same bytes", func(t *testing.T) {
		_, other := quickstart(t, filepath.Join(t.TempDir(), "quickstart"), "1")
		require.Equal(t, first.Arms, other.Arms)
	})
	t.Run("other settings on the same state are refused", func(t *testing.T) {
		in := installation{state: out, flags: []string{"--cache-dir", t.TempDir()}}
		p := in.start(t, append(append([]string{"quickstart", "--out", out}, smallQuickstart...), "--set", "reward.wrong=0")...)
		require.Equal(t, 2, p.wait(t))
		require.Contains(t, p.out.String(), "exists with other settings; --fresh starts over")
	})
}
