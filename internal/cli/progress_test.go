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
	show(0, "evaluating", 2, "reward -0.4")
	show(time.Second, "evaluating", 10, "done")
	d.close()
	// 3 s an iteration, 8 of them left, and half of 10 for the later stages; then 33 s each.
	require.Equal(t, `run  training  0/10
run  training  2/10  reward -0.4  39s left
run  evaluating  2/10  reward -0.4  7m09s left
run  evaluating  10/10  done
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
