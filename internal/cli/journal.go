package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/internal/printable"
	"multiattempt/internal/rollout"
	"multiattempt/internal/seed"
	"multiattempt/workflows"
)

// journal tells each iteration of a run once, in a line, and now and then a dialogue of it. Figures beyond the status come
// from the store; where they cannot be had, the line is shorter.
type journal struct {
	store  blob.Store
	run    string
	prefix string // of a line
	every  int    // iterations between those of which a dialogue is shown; 0: none is
	told   int    // the newest iteration that was told
	paint  palette
	width  func() int // columns; 0: no limit
}

// storeWait bounds how long the figures of an iteration may hold up the display.
const storeWait = 5 * time.Second

func newJournal(a *app, store blob.Store, run string, every int) *journal {
	j := &journal{store: store, run: run, every: every, paint: newPalette(a.stderr), width: func() int { return 0 }}
	if f, ok := terminal(a.stderr); ok {
		j.width = func() int {
			width, _ := size(f)
			return width
		}
	}
	return j
}

// tell writes what is new since the last time.
func (j *journal) tell(ctx context.Context, st workflows.Status, d display) {
	for _, it := range st.Recent {
		if it.Step <= j.told {
			continue
		}
		j.told = it.Step
		record := j.record(ctx, it)
		d.step(j.line(it, st.Iterations, record, j.timing(ctx, it.Step)))
		if j.every > 0 && it.Step%j.every == 0 && record != nil {
			if text := j.dialogue(ctx, record); text != "" {
				d.quote(printable.Trusted(text))
			}
		}
	}
}

// record reads every number of an iteration; nil where that cannot be.
func (j *journal) record(ctx context.Context, it workflows.Iteration) *activities.StepRecord {
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	var r activities.StepRecord
	b, err := blob.Load(ctx, j.store, it.Record)
	if err != nil || json.Unmarshal(b, &r) != nil {
		return nil
	}
	return &r
}

func (j *journal) timing(ctx context.Context, step int) *activities.Timing {
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	t, ok := activities.LoadTiming(ctx, j.store, j.run, step)
	if !ok {
		return nil
	}
	return &t
}

// line is what an iteration came to: as many facts as fit, the most telling first.
func (j *journal) line(it workflows.Iteration, of int, r *activities.StepRecord, t *activities.Timing) string {
	digits := len(fmt.Sprint(of))
	facts := []string{
		fmt.Sprintf("step %*d/%d", digits, it.Step, of), fmt.Sprintf("reward %+.3f", it.RewardMean),
		fmt.Sprintf("solved %4.1f %%", 100*it.Solved), fmt.Sprintf("KL %.4f", it.KL),
	}
	if t != nil {
		updated := t.Score + t.Optimise + t.Publish
		whole := t.Rollout + t.Reward + t.Checkpoint + updated
		facts = append(facts, inSeconds(time.Duration(whole*float64(time.Second))))
		if r != nil && t.Rollout > 0 {
			facts = append(facts, humanize.Commaf(math.Round(float64(r.Reward.SampledTokens)/t.Rollout))+" tokens/s")
		}
		facts = append(facts, fmt.Sprintf("rollout %.1f update %.1f", t.Rollout, updated))
	}
	if r != nil {
		facts = append(facts, fmt.Sprintf("entropy %.3f", r.Update.Entropy), fmt.Sprintf("clipped %.1f %%", 100*r.Update.ClipFraction))
	}
	text, width := j.prefix+facts[0], j.width()
	for _, f := range facts[1:] {
		if width > 0 && len(text)+2+len(f) > width {
			break
		}
		text += "  " + f
	}
	return text
}

const (
	// Of a dialogue that is shown: lines of a turn, and characters of a line.
	turnLines, turnWidth = 8, 200
	turnBytes            = 4000
)

// dialogue is one of an iteration's dialogues, which one is a function of run and step; empty where none can be read.
func (j *journal) dialogue(ctx context.Context, r *activities.StepRecord) string {
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	var x activities.Experience
	b, err := blob.Load(ctx, j.store, r.Experience)
	if err != nil || json.Unmarshal(b, &x) != nil || len(x.Episodes) == 0 {
		return ""
	}
	draw := func(n int, what uint64) int {
		return int(seed.Uint64("cli/dialogue", seed.Text(j.run), uint64(r.Step), what) % uint64(n))
	}
	part := draw(len(x.Episodes), 0)
	episodes, err := activities.LoadEpisodes(ctx, j.store, x.Episodes[part:part+1])
	if err != nil || len(episodes) == 0 {
		return ""
	}
	e := episodes[draw(len(episodes), 1)]
	return j.paint.dialogue(r.Step, e)
}

// dialogue writes an episode for a terminal. What model and data say cannot move its cursor.
func (p palette) dialogue(step int, e rollout.Episode) string {
	var b strings.Builder
	tries := "1 attempt"
	if e.MaxTries != 1 {
		tries = fmt.Sprintf("%d attempts", e.MaxTries)
	}
	fmt.Fprintf(&b, "  %s\n", p.faint(fmt.Sprintf("%s, a dialogue of step %d, %s allowed", printable.Line(e.ProblemID, 60), step, tries)))
	turn(&b, "  question   ", e.Question)
	for i, a := range e.Attempts {
		name := strings.ReplaceAll(string(a.Outcome), "_", " ")
		fmt.Fprint(&b, "  ", p.outcome(a.Outcome, fmt.Sprintf("%d %-9s", i+1, name)))
		turn(&b, "", a.Text)
	}
	fmt.Fprintf(&b, "  %s", p.faint("gold       "+printable.Line(e.Gold, 60)))
	return b.String()
}

// turn writes a text behind a heading, further lines below its first.
func turn(b *strings.Builder, heading, text string) {
	head, left := printable.Cut(text, turnBytes)
	all := strings.Split(strings.TrimSpace(printable.Text(head)), "\n")
	for i, line := range all {
		if i == turnLines {
			left += len(strings.Join(all[i:], "\n"))
			break
		}
		if i > 0 {
			b.WriteString(strings.Repeat(" ", 13))
		} else {
			b.WriteString(heading)
		}
		b.WriteString(printable.Line(line, turnWidth) + "\n")
	}
	if left > 0 {
		fmt.Fprintf(b, "%s… %d bytes more\n", strings.Repeat(" ", 13), left)
	}
}
