//go:build linux

package main

import (
	"context"
	"fmt"
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

// run measures both by turns and prints the medians of all iterations.
func (o comparison) run(ctx context.Context) error {
	c, err := client.DialContext(ctx, client.Options{HostPort: o.address, Logger: silent{}})
	if err != nil {
		return err
	}
	defer c.Close()
	o.sets = append(o.sets, fmt.Sprintf("iterations=%d", o.iterations), "critic_warmup=0", "evaluation.final_attempts=[]")
	var whole, idle, inProcess []float64
	for round := range o.rounds {
		seconds, err := o.inProcess(ctx)
		if err != nil {
			return err
		}
		inProcess = append(inProcess, seconds...)
		w, i, err := o.orchestrated(ctx, c, round)
		if err != nil {
			return err
		}
		whole, idle = append(whole, w...), append(idle, i...)
	}
	a, b := median(whole), median(inProcess)
	fmt.Printf("%s %v, %d iterations of each, seconds an iteration, medians:\n", o.preset, o.sets, len(whole))
	fmt.Printf("  orchestrated %.3f, in one process %.3f: difference %+.3f (%+.1f %%)\n", a, b, a-b, 100*(a/b-1))
	fmt.Printf("  of the orchestrated, outside rollout and update activities: %.3f (%.1f %%), at most %.3f\n", median(idle), 100*median(idle)/a, slices.Max(idle))
	return nil
}

// orchestrated runs the workflow and returns every iteration's seconds, and those of them in which neither a rollout nor an
// update was under way.
func (o comparison) orchestrated(ctx context.Context, c client.Client, round int) (whole, idle []float64, err error) {
	id := fmt.Sprintf("bench-%d-%d", time.Now().Unix(), round)
	doc, err := spec.Override(fmt.Appendf(nil, `{"preset":%q}`, o.preset), spec.Run{}, append(slices.Clone(o.sets), fmt.Sprintf("checkpoint.every=%d", o.iterations), "evaluation.every=0"))
	if err != nil {
		return nil, nil, err
	}
	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: id, TaskQueue: telemetry.Queue}, workflows.TrainName, workflows.TrainInput{Spec: doc})
	if err != nil {
		return nil, nil, err
	}
	if err := run.Get(ctx, nil); err != nil {
		return nil, nil, err
	}
	var marks []time.Time // beginnings of iterations and, last, of the checkpoint after them
	var busy []span
	names, since := map[int64]string{}, map[int64]time.Time{}
	events := c.GetWorkflowHistory(ctx, id, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		e, err := events.Next()
		if err != nil {
			return nil, nil, err
		}
		at := e.EventTime.AsTime()
		if a := e.GetActivityTaskScheduledEventAttributes(); a != nil {
			names[e.EventId] = a.ActivityType.Name
			if len(marks) <= o.iterations && (a.ActivityType.Name == "SampleBatch" || a.ActivityType.Name == "Checkpoint") {
				marks = append(marks, at)
			}
		} else if a := e.GetActivityTaskStartedEventAttributes(); a != nil {
			since[a.ScheduledEventId] = at
		} else if a := e.GetActivityTaskCompletedEventAttributes(); a != nil {
			if name := names[a.ScheduledEventId]; name == "Rollout" || name == "Update" {
				busy = append(busy, span{since[a.ScheduledEventId], at})
			}
		}
	}
	for i := warm; i+1 < len(marks); i++ {
		within := span{marks[i], marks[i+1]}
		whole = append(whole, within.seconds())
		idle = append(idle, within.without(busy))
	}
	return whole, idle, nil
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

// inProcess runs the loop and returns every iteration's seconds.
func (o comparison) inProcess(ctx context.Context) ([]float64, error) {
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
	var seconds []float64
	for _, m := range stageSeconds.FindAllStringSubmatch(string(out), -1)[warm:] {
		sum := 0.0
		for _, text := range m[1:] {
			s, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return nil, err
			}
			sum += s
		}
		seconds = append(seconds, sum)
	}
	return seconds, nil
}

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	return (sorted[len(sorted)/2] + sorted[(len(sorted)-1)/2]) / 2
}

// silent drops what Temporal's client logs.
type silent struct{}

func (silent) Debug(string, ...any) {}
func (silent) Info(string, ...any)  {}
func (silent) Warn(string, ...any)  {}
func (silent) Error(string, ...any) {}
