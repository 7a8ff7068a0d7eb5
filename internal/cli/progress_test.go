package cli

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLinesAreFewAndTellTheTimeLeft(t *testing.T) {
	now := time.Unix(0, 0)
	var out bytes.Buffer
	d := newDisplay(&out, stage{title: "run", later: 0.5}, func() time.Time { return now })
	show := func(after time.Duration, phase string, done int, detail string) {
		now = now.Add(after)
		d.show(position{phase: phase, done: done, total: 10, detail: detail})
	}
	show(0, "training", 0, "")
	show(2*time.Second, "training", 1, "reward -0.5") // too soon for a line
	show(4*time.Second, "training", 2, "reward -0.4")
	show(time.Minute, "training", 2, "reward -0.4") // nothing new
	d.note("the store is away")
	evaluated := func(after time.Duration, done int) {
		now = now.Add(after)
		d.show(position{phase: "evaluating", done: done, total: 7, detail: "after step 10", aside: true})
	}
	evaluated(0, 0)
	evaluated(9*time.Second, 3)
	evaluated(12*time.Second, 7)
	d.close()
	// 3 s an iteration, 8 of them left, and half of 10 for the later stages. Then, 33 s an iteration, the later stages take
	// 165 s: 3 s a rollout, 4 of them left.
	require.Equal(t, `run  training  0/10
run  training  2/10  reward -0.4  39s left
the store is away
run  evaluating  0/7  after step 10
run  evaluating  3/7  after step 10  2m57s left
run  evaluating  7/7  after step 10  2m45s left
`, out.String())
}

func TestInWords(t *testing.T) {
	require.Equal(t, "7s", inWords(7*time.Second))
	require.Equal(t, "9m05s", inWords(9*time.Minute+5*time.Second))
	require.Equal(t, "2h07m", inWords(2*time.Hour+7*time.Minute))
}

func TestExperienceStandsInForAnEstimate(t *testing.T) {
	now := time.Unix(0, 0)
	p := pace{clock: func() time.Time { return now }, stage: stage{expected: time.Minute}}
	left, known := p.left(position{total: 7})
	require.True(t, known)
	require.Equal(t, time.Minute, left)
	now = now.Add(20 * time.Second)
	left, known = p.left(position{done: 6, total: 7})
	require.True(t, known)
	require.Equal(t, 40*time.Second, left)
	now = now.Add(time.Hour)
	_, known = p.left(position{done: 6, total: 7})
	require.False(t, known, "an estimate that has run out says nothing")
}

func TestRoughlyWritesAnyTime(t *testing.T) {
	for seconds, want := range map[float64]string{90: "1m30s", 5 * 86400: "5 days", 1e11: "3171 years"} {
		require.Equal(t, want, roughly(seconds))
	}
}
