//go:build linux

// Command durability measures what durability costs, on one machine and in one run: checkpoints against the bare disk, and,
// where a Temporal service runs, a run's iterations against the same loop in one process.
//
//	go run ./bench/durability -dir /data/tmp                            # checkpoints
//	go run ./bench/durability -temporal 127.0.0.1:7233 -preset tiny     # and orchestration
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"multiattempt/internal/blob/local"
	"multiattempt/internal/checkpoint"
	"multiattempt/internal/telemetry"
	"multiattempt/workflows"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "durability:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	dir := flag.String("dir", os.TempDir(), "folder on the disk to measure")
	megabytes := flag.Int("mb", 256, "size of the checkpoint")
	address := flag.String("temporal", "", "Temporal frontend of a running installation; empty: checkpoints only")
	preset := flag.String("preset", "quickstart", "run to compare")
	iterations := flag.Int("n", 6, "iterations of each; the first two are not counted")
	flag.Parse()
	if err := checkpoints(ctx, *dir, *megabytes); err != nil || *address == "" {
		return err
	}
	return orchestration(ctx, *address, *preset, *iterations)
}

// rounds is how often the disk and the store are measured, by turns the one or the other first; the fastest of each counts.
// Whoever comes first gets the memory for the system's cache that was freed a moment ago, which on virtual machines is several
// times as fast as memory that was not used before.
const rounds = 6

// checkpoints compares saving and loading a checkpoint, hashing included, with writing and reading one file.
func checkpoints(ctx context.Context, parent string, megabytes int) (err error) {
	dir, err := os.MkdirTemp(parent, "durability-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	state := filepath.Join(dir, "state")
	for _, part := range []string{checkpoint.PolicyDir, checkpoint.StateDir} {
		if err := fill(filepath.Join(state, part, "weights"), megabytes/2); err != nil {
			return err
		}
	}
	best := map[string]float64{}
	measure := func(what string, f func() error) error {
		began := time.Now()
		err := f()
		best[what] = max(best[what], float64(megabytes)/time.Since(began).Seconds())
		return err
	}
	const write, save, read, load = "disk, sequential write with fsync", "checkpoint, save", "disk, sequential read", "checkpoint, verified read"
	for round := range rounds {
		bare, kept := filepath.Join(dir, "bare"), filepath.Join(dir, "store")
		store, err := local.Open(kept)
		if err != nil {
			return err
		}
		var ref checkpoint.Ref
		type part struct {
			what string
			do   func() error
		}
		writes := []part{
			{write, func() error { return fill(bare, megabytes) }},
			{save, func() (err error) {
				ref, err = checkpoint.Save(ctx, store, checkpoint.Meta{Run: "r", Step: 1 + round}, state)
				return err
			}},
		}
		if round%2 == 1 {
			slices.Reverse(writes)
		}
		for _, part := range append(writes, []part{
			{"", func() error { return forget(dir) }},
			{read, func() error { return drain(bare) }},
			{load, func() error { return checkpoint.Verify(ctx, store, ref) }},
			{"", func() error { return errors.Join(os.Remove(bare), os.RemoveAll(kept)) }},
		}...) {
			if err := measure(part.what, part.do); err != nil {
				return err
			}
		}
	}
	fmt.Printf("%d MB, the fastest of %d rounds\n", megabytes, rounds)
	for _, what := range []string{write, save, read, load} {
		fmt.Printf("%-40s %8.0f MiB/s\n", what, best[what])
	}
	fmt.Printf("share of the disk's speed: save %.2f, read %.2f\n", best[save]/best[write], best[load]/best[read])
	return nil
}

// fill writes so many megabytes of noise and flushes them.
func fill(path string, megabytes int) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	block := make([]byte, 1<<20)
	if _, err := rand.Read(block); err != nil {
		return err
	}
	for range megabytes {
		if _, err := f.Write(block); err != nil {
			return err
		}
	}
	return errors.Join(f.Sync(), f.Close())
}

func drain(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, f)
	return errors.Join(err, f.Close())
}

// forget asks the system to drop what it keeps of every file below dir in memory.
func forget(dir string) error {
	const dontNeed = 4 // POSIX_FADV_DONTNEED
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		_, _, errno := syscall.Syscall6(syscall.SYS_FADVISE64, f.Fd(), 0, 0, dontNeed, 0, 0)
		if errno != 0 {
			return errors.Join(errno, f.Close())
		}
		return f.Close()
	})
}

// orchestration compares the time of an iteration as a workflow with that of the same stages in one process.
func orchestration(ctx context.Context, address, preset string, n int) error {
	c, err := client.DialContext(ctx, client.Options{HostPort: address})
	if err != nil {
		return err
	}
	defer c.Close()
	id := fmt.Sprintf("bench-%d", time.Now().Unix())
	settings := fmt.Sprintf(`{"preset":%q,"iterations":%d,"critic_warmup":0,"checkpoint":{"every":%d},"evaluation":{"every":0,"final_attempts":[]}}`, preset, n, n)
	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: id, TaskQueue: telemetry.Queue}, workflows.TrainName, json.RawMessage(settings))
	if err != nil {
		return err
	}
	if err := run.Get(ctx, nil); err != nil {
		return err
	}
	var began []time.Time // of iterations and, last, of the checkpoint after them
	events := c.GetWorkflowHistory(ctx, id, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		e, err := events.Next()
		if err != nil {
			return err
		}
		if a := e.GetActivityTaskScheduledEventAttributes(); a != nil && (a.ActivityType.Name == "SampleBatch" || a.ActivityType.Name == "Checkpoint") {
			began = append(began, e.EventTime.AsTime())
		}
	}
	const warm = 2
	orchestrated := began[len(began)-1].Sub(began[warm]).Seconds() / float64(len(began)-1-warm)

	loop := exec.CommandContext(ctx, "go", "run", "./bench/loop", "train", "-preset", preset, "-model", "presets/models/smudged-base",
		"-set", "iterations="+strconv.Itoa(n), "-set", "critic_warmup=0", "-set", "evaluation.final_attempts=[]", "-every", "1000000")
	loop.Stderr = os.Stderr
	out, err := loop.Output()
	if err != nil {
		return err
	}
	var inProcess float64
	steps := regexp.MustCompile(`rollout ([\d.]+)s update ([\d.]+)s`).FindAllStringSubmatch(string(out), -1)
	for _, m := range steps[warm:] {
		for _, text := range m[1:] {
			seconds, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return err
			}
			inProcess += seconds
		}
	}
	inProcess /= float64(len(steps) - warm)
	fmt.Printf("%s, seconds an iteration: orchestrated %.3f, in one process %.3f, difference %.3f (%.1f %%)\n",
		preset, orchestrated, inProcess, orchestrated-inProcess, 100*(orchestrated/inProcess-1))
	return nil
}
