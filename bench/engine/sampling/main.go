// Command sampling measures the engine's sampler beside transformers' generate: same weights, same prompts, as many
// tokens, same machine, one run. It prints a table with ratios; peer.py, which it starts, is the other side.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"multiattempt/internal/engine"
)

// settings say what is measured and against what.
type settings struct {
	backend string
	smollm2 string // model folder; empty: leave it out
	python  string // empty: only this project's side
	peer    string // path of peer.py
	threads int    // of the peer
	repeat  int
	scale   float64 // shortens the rows, for a smoke test
	only    string  // the one part to measure; empty: all
}

func main() {
	var s settings
	first := flag.String("first-token", "", "measure the time to the first token of this model folder and print it as JSON; used by the benchmark itself")
	flag.StringVar(&s.backend, "backend", engine.Auto, "auto, xla, xla:cuda or go; the peer runs on the same kind of device")
	flag.StringVar(&s.smollm2, "smollm2", "", "folder of SmolLM2-135M, as 'make smollm2' makes it; \"random\": one of its shape; empty leaves it out")
	flag.StringVar(&s.python, "python", "python3", "an interpreter with torch and transformers; empty measures this project alone")
	flag.StringVar(&s.peer, "peer", "bench/engine/sampling/peer.py", "the other side")
	flag.IntVar(&s.threads, "threads", runtime.NumCPU(), "threads of the other side")
	flag.IntVar(&s.repeat, "n", 3, "repetitions, of which the best counts")
	flag.Float64Var(&s.scale, "scale", 1, "shortens what is generated; for smoke tests")
	flag.StringVar(&s.only, "only", "", "measure one part: "+strings.Join(parts, ", "))
	flag.Parse()
	if err := run(context.Background(), s, *first); err != nil {
		fmt.Fprintln(os.Stderr, "sampling:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings, first string) error {
	if s.only != "" && !slices.Contains(parts, s.only) {
		return fmt.Errorf("-only %s is unknown; there are %s", s.only, strings.Join(parts, ", "))
	}
	if first != "" {
		return firstToken(ctx, s.backend, first)
	}
	return sampling(ctx, s)
}
