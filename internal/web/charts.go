package web

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"multiattempt/activities"
	"multiattempt/internal/rollout"
	"multiattempt/internal/runs"
)

// Thresholds above which a page warns.
const (
	mostMismatch = 0.01 // mean |log-probability of sampler − of trainer|
	mostKL       = 0.1  // against the reference, mean per token, nats
)

// chart is one figure of a run's page.
type chart struct {
	ID     string   `json:"id"`
	Title  string   `json:"title"`
	Unit   string   `json:"unit"`
	Help   string   `json:"help"`
	Log    bool     `json:"log,omitempty"`
	Warn   *float64 `json:"warn,omitempty"` // a line that should not be crossed
	Series []series `json:"series"`
}

// series is one line; entries are null where there is nothing to show.
type series struct {
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

// charts returns every figure for the records, whose times say when each was done.
func charts(records []activities.StepRecord, times []time.Time, timings map[int]runs.Timing) []chart {
	build := func(id, title, unit, help string, curves ...curve) chart {
		c := chart{ID: id, Title: title, Unit: unit, Help: help}
		for _, v := range curves {
			line := series{Label: v.label, Class: v.class, Values: make([]*float64, len(records))}
			for i := range records {
				line.Values[i] = rounded(v.value(&records[i]))
			}
			c.Series = append(c.Series, line)
		}
		return c
	}
	type r = activities.StepRecord
	mismatch := build("mismatch", "Sampler/trainer mismatch", "nats", "Mean absolute difference of the two log-probabilities of a sampled token. Above 0.01 the trainer learns from another policy than the one that spoke.",
		curve{"mean", "", func(x *r) float64 { return x.Update.MismatchMeanAbs }})
	kl := build("kl", "Divergence", "nats per token", "Reference: how far the policy is from where it started. Update: how far one iteration moved it.",
		curve{"from the reference", "", func(x *r) float64 { return x.Update.KL }},
		curve{"of the update", "", func(x *r) float64 { return x.Update.ApproxKL }})
	mismatch.Warn, kl.Warn = pointer(mostMismatch), pointer(mostKL)
	all := []chart{
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
func attemptsChart(records []activities.StepRecord) chart {
	c := chart{ID: "attempts", Title: "Accuracy at attempts", Unit: "% of episodes", Help: "Episodes solved by their first attempt, by their second, and so on. The gap between the lines is what retries add."}
	most := 0
	for i := range records {
		most = max(most, len(records[i].Reward.SolvedAt))
	}
	const shown = 8
	for a := range min(most, shown) {
		line := series{Label: fmt.Sprintf("by attempt %d", a+1), Values: make([]*float64, len(records))}
		for i := range records {
			at := records[i].Reward.SolvedAt
			sum := 0.0
			for _, share := range at[:min(len(at), a+1)] {
				sum += share
			}
			if a < len(at) {
				line.Values[i] = rounded(100 * sum)
			}
		}
		c.Series = append(c.Series, line)
	}
	return c
}

// outcomesChart shows what attempts end in.
func outcomesChart(records []activities.StepRecord) chart {
	c := chart{ID: "outcomes", Title: "Outcomes", Unit: "% of attempts", Help: "No answer: the turn ended without a box. Truncated: the token budget ended it. Bounded: the grader gave up at a work limit."}
	for _, o := range []rollout.Outcome{rollout.Correct, rollout.Wrong, rollout.NoAnswer, rollout.Truncated, rollout.Bounded} {
		line := series{Label: spaced(o), Class: string(o), Values: make([]*float64, len(records))}
		for i := range records {
			line.Values[i] = rounded(100 * records[i].Reward.Outcomes[o])
		}
		c.Series = append(c.Series, line)
	}
	return c
}

// speedChart shows sampled tokens per second of wall-clock time between two steps.
func speedChart(records []activities.StepRecord, times []time.Time) chart {
	c := chart{ID: "speed", Title: "Speed", Unit: "tokens/s", Help: "Sampled tokens of an iteration by the wall-clock time between it and the one before, pauses and evaluations included."}
	line := series{Label: "sampled tokens/s", Values: make([]*float64, len(records))}
	for i := 1; i < len(records) && i < len(times); i++ {
		if took := times[i].Sub(times[i-1]).Seconds(); took > 0 && records[i].Step == records[i-1].Step+1 {
			line.Values[i] = rounded(float64(records[i].Reward.SampledTokens) / took)
		}
	}
	c.Series = []series{line}
	return c
}

// timingCharts show where the time of an iteration goes, for the steps that were measured.
func timingCharts(records []activities.StepRecord, timings map[int]runs.Timing) []chart {
	if len(timings) == 0 {
		return nil
	}
	line := func(label string, value func(runs.Timing) float64) series {
		s := series{Label: label, Values: make([]*float64, len(records))}
		for i := range records {
			if t, ok := timings[records[i].Step]; ok {
				s.Values[i] = rounded(value(t))
			}
		}
		return s
	}
	return []chart{
		{ID: "stages", Title: "Time per stage", Unit: "s", Help: "Wall-clock time of an iteration's stages.", Series: []series{
			line("rollout", func(t runs.Timing) float64 { return t.Rollout }), line("reward", func(t runs.Timing) float64 { return t.Reward }),
			line("score", func(t runs.Timing) float64 { return t.Score }), line("optimise", func(t runs.Timing) float64 { return t.Optimise }),
			line("publish", func(t runs.Timing) float64 { return t.Publish }),
		}},
		{ID: "memory", Title: "Memory of the learner", Unit: "GB", Help: "Resident memory of the process that updates the policy, after the update.", Series: []series{
			line("resident", func(t runs.Timing) float64 { return t.Memory / 1e9 }),
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

// rounded keeps five digits, enough for a figure; nothing is drawn for what is no number.
func rounded(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	short, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 5, 64), 64)
	if err != nil {
		return nil
	}
	return &short
}

// mostPoints is the number of steps that a figure shows; of more, every second, third … is left out.
const mostPoints = 4000

// series answers with the figures of a run, of the steps after ?after=.
func (s *Server) series(w http.ResponseWriter, r *http.Request) error {
	run, err := s.runs.Run(r.Context(), r.PathValue("run"))
	if err != nil {
		return err
	}
	after, _ := strconv.Atoi(r.URL.Query().Get("after"))
	records, times := run.Records(), run.Times()
	from, _ := slices.BinarySearchFunc(records, after+1, func(x activities.StepRecord, step int) int { return x.Step - step })
	if every := (len(records)-from)/mostPoints + 1; every > 1 {
		records, times = thin(records[from:], every), thin(times[from:], every)
		from = 0
	}
	timings, _ := run.Timings(r.Context()) // without them, their figures are left out
	all := charts(records, times, timings)
	steps := make([]int, 0, len(records)-from)
	for _, x := range records[from:] {
		steps = append(steps, x.Step)
	}
	for i := range all {
		for j := range all[i].Series {
			all[i].Series[j].Values = all[i].Series[j].Values[from:]
		}
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(map[string]any{"steps": steps, "charts": all})
}

// thin keeps every n-th element, and the last one.
func thin[T any](all []T, n int) []T {
	var kept []T
	for i := range all {
		if (len(all)-1-i)%n == 0 {
			kept = append(kept, all[i])
		}
	}
	return kept
}
