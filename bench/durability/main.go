//go:build linux

// Command durability measures what durability costs, on one machine and in one run: checkpoints against the bare disk, and,
// where a Temporal service runs, a run's iterations against the same loop in one process.
//
//	go run ./bench/durability -dir /data/tmp                                            # checkpoints
//	go run ./bench/durability -state out/state                                         # against its S3 service
//	go run ./bench/durability -temporal 127.0.0.1:7233 -loop bin/loop -preset tiny     # orchestration
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
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"multiattempt/internal/blob"
	"multiattempt/internal/blob/local"
	"multiattempt/internal/blob/s3"
	"multiattempt/internal/checkpoint"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "durability:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	dir := flag.String("dir", os.TempDir(), "folder on the disk to measure")
	state := flag.String("state", "", "state directory of a running installation whose S3 service keeps the checkpoint; empty: a folder store in dir")
	megabytes := flag.Int("mb", 512, "size of the checkpoint")
	var o comparison
	flag.StringVar(&o.address, "temporal", "", "Temporal frontend of a running installation: compare iterations, not disks")
	flag.StringVar(&o.loop, "loop", "", "program of bench/loop")
	flag.StringVar(&o.model, "model", "presets/models/smudged-base", "model folder of the loop, the preset's")
	flag.StringVar(&o.preset, "preset", "quickstart", "run to compare")
	flag.StringVar(&o.backend, "backend", "auto", "backend of the loop, the worker's")
	flag.Func("set", "path=value of a setting of both, repeatable", func(s string) error { o.sets = append(o.sets, s); return nil })
	flag.IntVar(&o.iterations, "n", 6, "iterations of each; the first two are not counted")
	flag.IntVar(&o.rounds, "rounds", 2, "how often both are run, by turns")
	flag.Parse()
	if o.address == "" {
		return checkpoints(ctx, *dir, *state, *megabytes)
	}
	return o.run(ctx)
}

// rounds is how often the disk and the store are measured, by turns the one or the other first; the fastest of each counts.
// Whoever comes first gets the memory for the system's cache that was freed a moment ago, which on virtual machines is several
// times as fast as memory that was not used before.
const rounds = 6

// kept is where a checkpoint is kept, and how to empty it.
type kept struct {
	blob.Store
	files string // below which its bytes lie
	empty func() error
}

// openStore opens a folder store below dir or, where an installation is named, its S3 service.
func openStore(ctx context.Context, dir, installation string) (kept, error) {
	if installation == "" {
		files := filepath.Join(dir, "store")
		s, err := local.Open(files)
		return kept{s, files, func() error { return os.RemoveAll(files) }}, err
	}
	var there struct {
		S3        string `json:"s3"`
		Bucket    string `json:"bucket"`
		AccessKey string `json:"access_key"`
		SecretKey string `json:"secret_key"`
	}
	text, err := os.ReadFile(filepath.Join(installation, "endpoints.json"))
	if err == nil {
		err = json.Unmarshal(text, &there)
	}
	if err != nil {
		return kept{}, err
	}
	s, err := s3.Open(ctx, s3.Options{Endpoint: there.S3, Bucket: there.Bucket, AccessKey: there.AccessKey, SecretKey: there.SecretKey})
	return kept{s, filepath.Join(installation, "objects"), func() error {
		return s.List(ctx, checkpoint.Prefix("r"), func(o blob.Info) error { return s.Delete(ctx, o.Key) })
	}}, err
}

// checkpoints compares saving and loading a checkpoint, hashing included, with writing and reading one file.
func checkpoints(ctx context.Context, parent, installation string, megabytes int) (err error) {
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
		bare := filepath.Join(dir, "bare")
		store, err := openStore(ctx, dir, installation)
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
			{"", func() error { return errors.Join(forget(dir), forget(store.files)) }},
			{read, func() error { return drain(bare) }},
			{load, func() error { return checkpoint.Verify(ctx, store, ref) }},
			{"", func() error { return errors.Join(os.Remove(bare), store.empty()) }},
		}...) {
			if err := measure(part.what, part.do); err != nil {
				return err
			}
		}
	}
	fmt.Printf("%d MiB, the fastest of %d rounds\n", megabytes, rounds)
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
