// Command training measures one PPO update of the engine (scores of policy, reference and critic, then one optimiser step of
// policy and critic) beside the same update written in PyTorch: same weights, same rows, same machine, one run.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"multiattempt/internal/engine"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
)

// settings say what is measured and against what.
type settings struct {
	backend, compute        string
	shape                   string
	rank                    int // of adapters; 0: all weights
	episodes, microbatch    int
	prompt, length          int // tokens of a prompt; of the longest row
	equal                   bool
	rollout                 bool
	repeat                  int
	python, peer, peerModes string
	threads                 int
}

func main() {
	var s settings
	flag.StringVar(&s.backend, "backend", engine.Auto, "auto, xla, xla:cuda or go; the peer runs on the same kind of device")
	flag.StringVar(&s.compute, "compute", string(spec.ComputeFloat32), "float32 or bfloat16, of rollout and update")
	flag.StringVar(&s.shape, "shape", "tiny", "network with random weights: "+strings.Join(shapeNames(), ", "))
	flag.IntVar(&s.rank, "rank", 0, "rank of LoRA adapters on every linear map; 0 trains all weights")
	flag.IntVar(&s.episodes, "episodes", 64, "episodes of the update, which makes one optimiser step")
	flag.IntVar(&s.microbatch, "microbatch", 64, "episodes of a forward and backward pass")
	flag.IntVar(&s.prompt, "prompt", 16, "tokens of a prompt")
	flag.IntVar(&s.length, "length", 64, "tokens of the longest row")
	flag.BoolVar(&s.equal, "equal", true, "all rows have the full length; otherwise lengths are uniform over the second half of it")
	flag.BoolVar(&s.rollout, "rollout", false, "let the sampler write the rows, and time it")
	flag.IntVar(&s.repeat, "n", 3, "repetitions, of which the best counts")
	flag.StringVar(&s.python, "python", "", "an interpreter with torch and transformers; empty measures this project alone")
	flag.StringVar(&s.peer, "peer", "bench/engine/training/peer.py", "the same update in PyTorch")
	flag.StringVar(&s.peerModes, "modes", "eager,compile", "ways to run the peer")
	flag.IntVar(&s.threads, "threads", runtime.NumCPU(), "threads of the peer")
	flag.Parse()
	if err := run(context.Background(), s); err != nil {
		fmt.Fprintln(os.Stderr, "training:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) error {
	config, err := shape(s.shape, s.length)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-training")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a scratch folder
	b, err := engine.Open(s.backend)
	if err != nil {
		return err
	}
	defer b.Close()
	fmt.Println(b.Describe())
	before, err := b.MeasureProducts(computeOf(s.compute))
	if err != nil {
		return err
	}
	watch := watchMemory(ctx, b)
	w := work{settings: s, config: config, dir: dir, folder: filepath.Join(dir, "model"), backend: b, memory: watch}
	if err := w.writeModel(); err != nil {
		return err
	}
	ours, err := w.measure(ctx)
	watch.stop()
	if err != nil {
		return err
	}
	ours.print(s, "this engine", nil)
	after, err := b.MeasureProducts(computeOf(s.compute))
	if err != nil {
		return err
	}
	rate := config.UpdateFLOPs(s.rank > 0, ours.Positions, ours.Length) / ours.update()
	fmt.Printf("%-16s %.3g of %.3g GFLOP/s, %.0f %% of the most that matrix products reach here (%.3g before, %.3g after)\n",
		"", rate/1e9, max(before, after)/1e9, 100*rate/max(before, after), before/1e9, after/1e9)
	if s.python == "" {
		return nil
	}
	for mode := range strings.SplitSeq(s.peerModes, ",") {
		theirs, err := w.peer(ctx, mode)
		if err != nil {
			fmt.Printf("%-12s not measured: %v\n", "PyTorch "+mode, err)
			continue
		}
		theirs.print(s, "PyTorch "+mode, &ours)
	}
	return nil
}

// result is one side's times and what it computed.
type result struct {
	Score      float64 `json:"score_seconds"` // best of the repetitions
	Step       float64 `json:"step_seconds"`
	First      float64 `json:"first_seconds"`  // first update, compilations included
	Tokens     int     `json:"tokens"`         // of all rows, padding not counted
	Positions  int     `json:"positions"`      // padding counted
	Length     int     `json:"length"`         // of the longest row
	Memory     int64   `json:"memory_bytes"`   // largest use of the device, 0: unknown
	PolicyLoss float64 `json:"policy_loss"`    // of the first step
	ValueLoss  float64 `json:"value_loss"`     //
	PolicyNorm float64 `json:"policy_norm"`    // gradient norms of the first step
	CriticNorm float64 `json:"critic_norm"`    //
	LogProb    float64 `json:"log_prob_error"` // largest difference of old log-probabilities from this engine's
}

// update is the time of one update in seconds.
func (r result) update() float64 { return r.Score + r.Step }

func (r result) print(s settings, name string, ours *result) {
	rate := float64(r.Tokens) / r.update()
	fmt.Printf("%-16s update %8.0f tokens/s (score %.3f s, step %.3f s), first %.1f s", name, rate, r.Score, r.Step, r.First)
	if ours != nil {
		fmt.Printf("; this engine is %.2f× as fast (score %.2f×, step %.2f×)", r.update()/ours.update(), r.Score/ours.Score, r.Step/ours.Step)
	}
	if r.Memory > 0 {
		fmt.Printf("; at most %.1f GB of the device", float64(r.Memory)/1e9)
	}
	fmt.Printf("\n%-16s losses %.6g and %.6g, gradient norms %.6g and %.6g", "", r.PolicyLoss, r.ValueLoss, r.PolicyNorm, r.CriticNorm)
	if ours != nil {
		fmt.Printf(", log-probabilities differ by at most %.2g", r.LogProb)
	}
	fmt.Println()
}

// best is the least time of n calls after a first one, whose time is returned apart.
func best(n int, f func() error) (least, first float64, err error) {
	var times []float64
	for range n + 1 {
		start := time.Now()
		if err := f(); err != nil {
			return 0, 0, err
		}
		times = append(times, time.Since(start).Seconds())
	}
	return slices.Min(times[1:]), times[0], nil
}

var rates = update.Rates{Policy: 1e-6, Critic: 1e-6}
