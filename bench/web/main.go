// Command web writes a synthetic run into the store of running services, and measures the pages about it.
//
//	go run ./bench/web make -state-dir DIR [-steps 1280] [-problems 1024]
//	go run ./bench/web measure -url http://127.0.0.1:8234 -pid PID
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"multiattempt/config"
	"multiattempt/internal/runs/runstest"
	"multiattempt/worker"
)

const name = "synthetic-1280"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "web:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("want make or measure")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	stateDir := flags.String("state-dir", "data", "of `multiattempt up`")
	steps := flags.Int("steps", 1280, "iterations")
	problems := flags.Int("problems", 1024, "episodes of an iteration")
	url := flags.String("url", "http://127.0.0.1:8234", "of the pages")
	pid := flags.Int("pid", 0, "of the process that serves them")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if args[0] == "make" {
		return fill(context.Background(), *stateDir, *steps, *problems)
	}
	return measure(*url, *pid)
}

// fill stores the run.
func fill(ctx context.Context, stateDir string, steps, problems int) error {
	text, err := os.ReadFile(filepath.Join(stateDir, "endpoints.json"))
	if err != nil {
		return err
	}
	var e struct {
		S3        string `json:"s3"`
		Bucket    string `json:"bucket"`
		AccessKey string `json:"access_key"`
		SecretKey string `json:"secret_key"`
	}
	if err := json.Unmarshal(text, &e); err != nil {
		return err
	}
	store, err := worker.OpenStore(ctx, config.Store{Endpoint: e.S3, Bucket: e.Bucket, AccessKey: e.AccessKey, SecretKey: config.Secret(e.SecretKey)})
	if err != nil {
		return err
	}
	return runstest.Make(ctx, store, runstest.Options{Run: name, Steps: steps, Problems: problems, Group: 1, Seed: 1, Workers: 4})
}

// measure asks for the pages that the figures are about.
func measure(url string, pid int) error {
	page := "/runs/" + name
	for _, m := range []struct{ what, path string }{
		{"run page, nothing in memory", page},
		{"its figures", page + "/series.json"},
		{"search for a text while the index is being made", page + "/dialogues?q=The+boxes+hold+6+×+11"},
	} {
		if err := show(url, pid, m.what, m.path); err != nil {
			return err
		}
	}
	began := time.Now()
	if err := indexed(url + page + "/dialogues"); err != nil {
		return err
	}
	fmt.Printf("%-55s %8.2f s\n", "index complete after", time.Since(began).Seconds())
	for _, m := range []struct{ what, path string }{
		{"run page", page}, {"its figures", page + "/series.json"},
		{"search for a text that is common", page + "/dialogues?q=buys+5+boxes"},
		{"search for a text that is nowhere", page + "/dialogues?q=nowhere+to+be+found"},
		{"filter by outcome and reward", page + "/dialogues?outcome=bounded&low=-0.5"},
		{"a problem through all steps", "/problem?id=arithmetic-007&run=" + name},
		{"one dialogue", page + "/dialogues/640/512"},
	} {
		if err := show(url, pid, m.what, m.path); err != nil {
			return err
		}
	}
	return nil
}

func get(url string) ([]byte, error) {
	res, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, res.Status)
	}
	return b, nil
}

var counts = regexp.MustCompile(`counts" role="status">([^<]*)<`)

func show(url string, pid int, what, path string) error {
	began := time.Now()
	b, err := get(url + path)
	if err != nil {
		return err
	}
	took := time.Since(began)
	found := ""
	if m := counts.FindSubmatch(b); m != nil {
		found = string(m[1])
	}
	fmt.Printf("%-55s %8.3f s  %7d bytes  %5.0f MB resident, at most %5.0f  %s\n", what, took.Seconds(), len(b), resident(pid, "VmRSS"), resident(pid, "VmHWM"), found)
	return nil
}

// indexed waits until the page no longer says that the index is being made.
func indexed(url string) error {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for range tick.C {
		b, err := get(url)
		if err != nil {
			return err
		}
		if !bytes.Contains(b, []byte("the index is being made")) {
			return nil
		}
	}
	return nil
}

var memory = regexp.MustCompile(`(VmRSS|VmHWM):\s+(\d+) kB`)

// resident is a process's memory in MB, now (VmRSS) or at its most (VmHWM); 0 when it is not known.
func resident(pid int, which string) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for _, m := range memory.FindAllSubmatch(b, -1) {
		if string(m[1]) == which {
			var kb float64
			_, _ = fmt.Sscan(string(m[2]), &kb) // digits
			return kb / 1000
		}
	}
	return 0
}
