//go:build linux

package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"multiattempt/internal/spec"
	"multiattempt/internal/telemetry"
	"multiattempt/workflows"
)

// warm is the number of iterations that are not counted: programs are compiled in them.
const warm = 2

// comparison is of a run as a workflow with the same loop in one process.
type comparison struct {
	address, loop, model, preset, backend string
	sets                                  []string
	iterations, rounds                    int
}

// shares are the parts of an iteration's seconds.
type shares struct {
	whole, rollout, update float64
	// small is what only other activities were under way: problems, rewards, records; nothing is what none was: Temporal's.
	small, nothing float64
}

// run measures both by turns and prints the medians of all iterations.
func (o comparison) run(ctx context.Context) error {
	c, err := client.DialContext(ctx, client.Options{HostPort: o.address, Logger: silent{}})
	if err != nil {
		return err
	}
	defer c.Close()
	o.sets = append(o.sets, fmt.Sprintf("iterations=%d", o.iterations), "critic_warmup=0", "evaluation.final_attempts=[]")
	var run, loop []shares
	for round := range o.rounds {
		l, err := o.inProcess(ctx)
		if err != nil {
			return err
		}
		r, err := o.orchestrated(ctx, c, round)
		if err != nil {
			return err
		}
		loop, run = append(loop, l...), append(run, r...)
	}
	whole := func(s shares) float64 { return s.whole }
	a, b := median(run, whole), median(loop, whole)
	fmt.Printf("%s %v, %d iterations of each, seconds an iteration, medians:\n", o.preset, o.sets, len(run))
	fmt.Printf("  orchestrated %.3f, in one process %.3f: difference %+.3f (%+.1f %%)\n", a, b, a-b, 100*(a/b-1))
	for _, part := range []struct {
		what string
		of   func(shares) float64
	}{
		{"rollout", func(s shares) float64 { return s.rollout }},
		{"update", func(s shares) float64 { return s.update }},
		{"problems, rewards, records", func(s shares) float64 { return s.small }},
		{"no activity under way", func(s shares) float64 { return s.nothing }},
	} {
		a, b := median(run, part.of), median(loop, part.of)
		fmt.Printf("  %-28s orchestrated %.3f (%.1f %%), in one process %.3f\n", part.what, a, 100*a/median(run, whole), b)
	}
	return nil
}

// orchestrated runs the workflow and returns every iteration's shares.
func (o comparison) orchestrated(ctx context.Context, c client.Client, round int) ([]shares, error) {
	id := fmt.Sprintf("bench-%d-%d", time.Now().Unix(), round)
	doc, err := spec.Override(fmt.Appendf(nil, `{"preset":%q}`, o.preset), spec.Run{}, append(slices.Clone(o.sets), fmt.Sprintf("checkpoint.every=%d", o.iterations), "evaluation.every=0"))
	if err != nil {
		return nil, err
	}
	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: id, TaskQueue: telemetry.Queue}, workflows.TrainName, workflows.TrainInput{Spec: doc})
	if err != nil {
		return nil, err
	}
	if err := run.Get(ctx, nil); err != nil {
		return nil, err
	}
	var marks []time.Time // ends of updates, and so of iterations
	busy := map[string][]span{}
	names, since := map[int64]string{}, map[int64]time.Time{}
	events := c.GetWorkflowHistory(ctx, id, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		e, err := events.Next()
		if err != nil {
			return nil, err
		}
		at := e.EventTime.AsTime()
		if a := e.GetActivityTaskScheduledEventAttributes(); a != nil {
			names[e.EventId] = a.ActivityType.Name
		} else if a := e.GetActivityTaskStartedEventAttributes(); a != nil {
			since[a.ScheduledEventId] = at
		} else if a := e.GetActivityTaskCompletedEventAttributes(); a != nil {
			name := names[a.ScheduledEventId]
			if name == "Update" {
				marks = append(marks, at)
			}
			busy[name] = append(busy[name], span{since[a.ScheduledEventId], at})
		}
	}
	var all []shares
	for i := warm - 1; i+1 < len(marks); i++ {
		within := span{marks[i], marks[i+1]}
		large := append(slices.Clone(busy["Rollout"]), busy["Update"]...)
		s := shares{
			whole:   within.seconds(),
			rollout: within.seconds() - within.without(busy["Rollout"]), update: within.seconds() - within.without(busy["Update"]),
			nothing: within.without(slices.Concat(slices.Collect(maps.Values(busy))...)),
		}
		s.small = within.without(large) - s.nothing
		all = append(all, s)
	}
	return all, nil
}

// span is a stretch of time.
type span struct{ from, to time.Time }

func (s span) seconds() float64 { return s.to.Sub(s.from).Seconds() }

// without returns the seconds of s in which none of the others, in the order of their beginnings, lies.
func (s span) without(others []span) float64 {
	slices.SortFunc(others, func(a, b span) int { return a.from.Compare(b.from) })
	left, at := 0.0, s.from
	for _, o := range others {
		if o.to.After(at) && o.from.Before(s.to) {
			left += max(0, o.from.Sub(at).Seconds())
			at = o.to
		}
	}
	return left + max(0, s.to.Sub(at).Seconds())
}

var stageSeconds = regexp.MustCompile(`rollout ([\d.]+)s update ([\d.]+)s`)

// inProcess runs the loop and returns every iteration's shares; its rewards are part of the update.
func (o comparison) inProcess(ctx context.Context) ([]shares, error) {
	args := []string{"train", "-preset", o.preset, "-model", o.model, "-backend", o.backend, "-every", "1000000"}
	for _, s := range o.sets {
		args = append(args, "-set", s)
	}
	cmd := exec.CommandContext(ctx, o.loop, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var all []shares
	for _, m := range stageSeconds.FindAllStringSubmatch(string(out), -1)[warm:] {
		rollout, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return nil, err
		}
		update, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			return nil, err
		}
		all = append(all, shares{whole: rollout + update, rollout: rollout, update: update})
	}
	return all, nil
}

// median is of one part of every iteration.
func median(of []shares, part func(shares) float64) float64 {
	var all []float64
	for _, s := range of {
		all = append(all, part(s))
	}
	slices.Sort(all)
	return (all[len(all)/2] + all[(len(all)-1)/2]) / 2
}

// silent drops what Temporal's client logs.
type silent struct{}

func (silent) Debug(string, ...any) {}
func (silent) Info(string, ...any)  {}
func (silent) Warn(string, ...any)  {}
func (silent) Error(string, ...any) {}
