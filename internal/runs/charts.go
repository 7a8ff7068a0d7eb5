package runs

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"multiattempt/activities"
	"multiattempt/internal/rollout"
)

// Thresholds above which something usually is wrong.
const (
	MostMismatch = 0.01 // mean |log-probability of sampler − of trainer|, of records that name no limit
	MostKL       = 0.1  // against the reference, mean per token, nats
)

// mismatchLimit is the mean mismatch above which rounding is no explanation.
func mismatchLimit(x *activities.StepRecord) float64 {
	if x.Update.MismatchLimit > 0 {
		return x.Update.MismatchLimit
	}
	return MostMismatch
}

// Chart is one figure about a run.
type Chart struct {
	ID     string   `json:"id"`
	Title  string   `json:"title"`
	Unit   string   `json:"unit"`
	Help   string   `json:"help"`
	Log    bool     `json:"log,omitempty"`
	Warn   *float64 `json:"warn,omitempty"` // a line that should not be crossed
	Series []Line   `json:"series"`
}

// Line is one line of a figure; entries are null where there is nothing to show.
type Line struct {
	Label  string     `json:"label"`
	Values []*float64 `json:"values"`
	// Class colours the line as the rest of the page colours what it shows; empty: the next free colour.
	Class string `json:"class,omitempty"`
}

// curve is a line that is a function of one step's record.
type curve struct {
	label, class string
	value        func(*activities.StepRecord) float64
}

// Charts returns every figure for the records, whose times say when each was done.
func Charts(records []activities.StepRecord, times []time.Time, timings map[int]Timing) []Chart {
	build := func(id, title, unit, help string, curves ...curve) Chart {
		c := Chart{ID: id, Title: title, Unit: unit, Help: help}
		for _, v := range curves {
			line := Line{Label: v.label, Class: v.class, Values: make([]*float64, len(records))}
			for i := range records {
				line.Values[i] = Rounded(v.value(&records[i]))
			}
			c.Series = append(c.Series, line)
		}
		return c
	}
	type r = activities.StepRecord
	mismatch := build("mismatch", "Sampler/trainer mismatch", "nats", "Mean absolute difference of the two log-probabilities of a sampled token. Above the line the trainer learns from another policy than the one that spoke: rounding explains 0.01 in float32, 0.05 where bfloat16 takes part.",
		curve{"mean", "", func(x *r) float64 { return x.Update.MismatchMeanAbs }})
	kl := build("kl", "Divergence", "nats per token", "Reference: how far the policy is from where it started. Update: how far one iteration moved it.",
		curve{"from the reference", "", func(x *r) float64 { return x.Update.KL }},
		curve{"of the update", "", func(x *r) float64 { return x.Update.ApproxKL }})
	mismatch.Warn, kl.Warn = pointer(MostMismatch), pointer(MostKL)
	if n := len(records); n > 0 {
		mismatch.Warn = pointer(mismatchLimit(&records[n-1]))
	}
	all := []Chart{
		build("reward", "Reward", "mean per episode", "What the policy is trained to raise.", curve{"reward", "", func(x *r) float64 { return x.Reward.RewardMean }}),
		attemptsChart(records),
		outcomesChart(records),
		build("retries", "What retries are worth", "%", "Recovered: of the episodes whose first attempt failed and that had leave to retry, those solved later. Repeats: retries that give an earlier answer again.",
			curve{"recovered", "correct", func(x *r) float64 { return 100 * x.Reward.Recovered }}, curve{"repeats", "wrong", func(x *r) float64 { return 100 * x.Reward.Repeats }}),
		kl,
		build("entropy", "Entropy", "nats per token", "How undecided the policy is. A fall to nothing is a collapse.", curve{"entropy", "", func(x *r) float64 { return x.Update.Entropy }}),
		build("clip", "Clipped tokens", "%", "Share of tokens whose ratio the clip held.", curve{"clipped", "", func(x *r) float64 { return 100 * x.Update.ClipFraction }}),
		build("value", "Value function", "explained variance", "1: the critic foresees every return. 0: it is no better than their mean.", curve{"explained variance", "", func(x *r) float64 { return x.Update.ExplainedVariance }}),
		build("loss", "Losses", "", "Means over the optimiser steps of an iteration.", curve{"policy", "", func(x *r) float64 { return x.Update.PolicyLoss }}, curve{"value", "", func(x *r) float64 { return x.Update.ValueLoss }}),
		build("gradients", "Gradient norms", "before clipping", "", curve{"policy", "", func(x *r) float64 { return x.Update.PolicyGradNorm }}, curve{"critic", "", func(x *r) float64 { return x.Update.CriticGradNorm }}),
		build("rates", "Learning rates", "", "Of the iteration's last optimiser step.", curve{"policy", "", func(x *r) float64 { return x.Update.PolicyLR }}, curve{"critic", "", func(x *r) float64 { return x.Update.CriticLR }}),
		mismatch,
		build("length", "Length", "per episode", "Sampled tokens and attempts.", curve{"tokens", "", func(x *r) float64 { return perEpisode(x.Reward.SampledTokens, x) }},
			curve{"attempts × 10", "", func(x *r) float64 { return 10 * x.Reward.AttemptsMean }}),
		speedChart(records, times),
	}
	return append(all, timingCharts(records, timings)...)
}

func perEpisode(n int, x *activities.StepRecord) float64 {
	return float64(n) / math.Max(1, float64(x.Reward.Episodes))
}

// attemptsChart shows the share of episodes solved by each attempt.
func attemptsChart(records []activities.StepRecord) Chart {
	c := Chart{ID: "attempts", Title: "Accuracy at attempts", Unit: "% of episodes", Help: "Episodes solved by their first attempt, by their second, and so on. The gap between the lines is what retries add."}
	most := 0
	for i := range records {
		most = max(most, len(records[i].Reward.SolvedAt))
	}
	const shown = 8
	for a := range min(most, shown) {
		line := Line{Label: fmt.Sprintf("by attempt %d", a+1), Values: make([]*float64, len(records))}
		for i := range records {
			at := records[i].Reward.SolvedAt
			sum := 0.0
			for _, share := range at[:min(len(at), a+1)] {
				sum += share
			}
			if a < len(at) {
				line.Values[i] = Rounded(100 * sum)
			}
		}
		c.Series = append(c.Series, line)
	}
	return c
}

// outcomesChart shows what attempts end in.
func outcomesChart(records []activities.StepRecord) Chart {
	c := Chart{ID: "outcomes", Title: "Outcomes", Unit: "% of attempts", Help: "No answer: the turn ended without a box. Truncated: the token budget ended it. Bounded: the grader gave up at a work limit."}
	for _, o := range []rollout.Outcome{rollout.Correct, rollout.Wrong, rollout.NoAnswer, rollout.Truncated, rollout.Bounded} {
		line := Line{Label: spaced(o), Class: string(o), Values: make([]*float64, len(records))}
		for i := range records {
			line.Values[i] = Rounded(100 * records[i].Reward.Outcomes[o])
		}
		c.Series = append(c.Series, line)
	}
	return c
}

// speedChart shows sampled tokens per second of wall-clock time between two steps.
func speedChart(records []activities.StepRecord, times []time.Time) Chart {
	c := Chart{ID: "speed", Title: "Speed", Unit: "tokens/s", Help: "Sampled tokens of an iteration by the wall-clock time between it and the one before, pauses and evaluations included."}
	line := Line{Label: "sampled tokens/s", Values: make([]*float64, len(records))}
	for i := 1; i < len(records) && i < len(times); i++ {
		if took := times[i].Sub(times[i-1]).Seconds(); took > 0 && records[i].Step == records[i-1].Step+1 {
			line.Values[i] = Rounded(float64(records[i].Reward.SampledTokens) / took)
		}
	}
	c.Series = []Line{line}
	return c
}

// timingCharts show where the time of an iteration goes, for the steps that were measured.
func timingCharts(records []activities.StepRecord, timings map[int]Timing) []Chart {
	if len(timings) == 0 {
		return nil
	}
	line := func(label string, value func(Timing) float64) Line {
		s := Line{Label: label, Values: make([]*float64, len(records))}
		for i := range records {
			if t, ok := timings[records[i].Step]; ok {
				s.Values[i] = Rounded(value(t))
			}
		}
		return s
	}
	return []Chart{
		{ID: "stages", Title: "Time per stage", Unit: "s", Help: "Wall-clock time of an iteration's stages.", Series: []Line{
			line("rollout", func(t Timing) float64 { return t.Rollout }), line("reward", func(t Timing) float64 { return t.Reward }),
			line("score", func(t Timing) float64 { return t.Score }), line("optimise", func(t Timing) float64 { return t.Optimise }),
			line("publish", func(t Timing) float64 { return t.Publish }), line("checkpoint", func(t Timing) float64 { return t.Checkpoint }),
		}},
		{ID: "memory", Title: "Memory of the learner", Unit: "GB", Help: "Resident memory of the process that updates the policy, after the update.", Series: []Line{
			line("resident", func(t Timing) float64 { return t.Memory / 1e9 }),
		}},
	}
}

func spaced(o rollout.Outcome) string {
	if o == rollout.NoAnswer {
		return "no answer"
	}
	return string(o)
}

func pointer(x float64) *float64 { return &x }

// Rounded keeps five digits, enough for a figure; nothing is drawn for what is no number.
func Rounded(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	short, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 5, 64), 64)
	if err != nil {
		return nil
	}
	return &short
}

// SummaryRow is one line of the figures as a table: for readers who see no figures.
type SummaryRow struct {
	Name, Unit                    string
	First, Last, Low, High, Mean8 float64
}

// Warning is something about the run that a person should look at, and since which step.
type Warning struct{ Title, Text, Where string }

// Summary is the figures as a table, a line of the table for each of theirs.
func Summary(charts []Chart) []SummaryRow {
	var rows []SummaryRow
	for _, c := range charts {
		for _, line := range c.Series {
			if row, ok := summarise(c, line); ok {
				rows = append(rows, row)
			}
		}
	}
	return rows
}

// summarise turns a line of a figure into a line of a table.
func summarise(c Chart, line Line) (SummaryRow, bool) {
	row := SummaryRow{Name: c.Title, Unit: c.Unit, Low: math.Inf(1), High: math.Inf(-1)}
	if len(c.Series) > 1 {
		row.Name += ": " + line.Label
	}
	var values []float64
	for _, x := range line.Values {
		if x != nil {
			values = append(values, *x)
			row.Low, row.High = math.Min(row.Low, *x), math.Max(row.High, *x)
		}
	}
	if len(values) == 0 {
		return row, false
	}
	row.First, row.Last = values[0], values[len(values)-1]
	newest := values[max(0, len(values)-8):]
	for _, x := range newest {
		row.Mean8 += x / float64(len(newest))
	}
	return row, true
}

// Warnings looks through the newest steps for what usually means trouble.
func Warnings(records []activities.StepRecord) []Warning {
	const looked = 10
	recent := records[max(0, len(records)-looked):]
	var found []Warning
	check := func(title, text string, bad func(*activities.StepRecord) bool) {
		n, at := 0, 0
		for i := range recent {
			if bad(&recent[i]) {
				n++
				at = recent[i].Step
			}
		}
		if n > 0 {
			found = append(found, Warning{Title: title, Text: text, Where: fmt.Sprintf("%d of the newest %d steps, last at step %d", n, len(recent), at)})
		}
	}
	type r = activities.StepRecord
	check("The policy is far from the reference", fmt.Sprintf("The divergence is above %g nats per token. A higher update.kl_coefficient or a lower learning rate keeps it closer.", MostKL),
		func(x *r) bool { return x.Update.KL > MostKL })
	check("Sampler and trainer disagree", "Their log-probabilities differ by more than the rounding of their numbers explains, on average, so the trainer learns from another policy than the one that spoke. update.old_log_probs: sampling corrects for it.",
		func(x *r) bool { return x.Update.MismatchMeanAbs > mismatchLimit(x) })
	check("The grader gave up", "Some verdicts hit a work limit and count as wrong. The dialogues say which: filter by “bounded”.",
		func(x *r) bool { return x.Reward.Bounded > 0 })
	check("Groups were dropped", "Groups whose episodes all earn the same teach nothing and were left out.",
		func(x *r) bool { return x.Update.GroupsDropped > 0 })
	check("The policy has collapsed", "Its entropy is below 0.01 nats per token: it hardly explores any more.",
		func(x *r) bool { return x.Update.Entropy > 0 && x.Update.Entropy < 0.01 })
	check("Nothing was solved", "No episode of the step was right, so there is nothing to learn from but the penalties.",
		func(x *r) bool { return x.Reward.Solved == 0 })
	return found
}
