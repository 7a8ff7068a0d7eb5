// Command engine-train measures the learner: one PPO step, scoring, and one supervised step, on random weights and rows.
//
// It prints the best and the median of several repetitions in milliseconds, tokens (padding not counted) per second, and
// the processor time of one repetition, which other programs on the machine disturb less.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"multiattempt/internal/engine"
	"multiattempt/internal/experience"
	"multiattempt/internal/nn"
	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
)

type settings struct {
	backend                                           string
	vocabulary, hidden, intermediate, layers, heads   int
	episodes, minibatch, microbatch, length, shortest int
	repetitions                                       int
}

func main() {
	var s settings
	flag.StringVar(&s.backend, "backend", engine.Auto, "auto, xla or go")
	flag.IntVar(&s.vocabulary, "vocabulary", 40, "V")
	flag.IntVar(&s.hidden, "hidden", 64, "D")
	flag.IntVar(&s.intermediate, "intermediate", 192, "width of the feed-forward layer")
	flag.IntVar(&s.layers, "layers", 2, "decoder layers")
	flag.IntVar(&s.heads, "heads", 4, "attention heads")
	flag.IntVar(&s.episodes, "episodes", 1024, "episodes of an iteration, for scoring")
	flag.IntVar(&s.minibatch, "minibatch", 512, "episodes of an optimiser step")
	flag.IntVar(&s.microbatch, "microbatch", 64, "episodes of a forward and backward pass")
	flag.IntVar(&s.length, "length", 80, "tokens of the longest episode")
	flag.IntVar(&s.shortest, "shortest", 80, "tokens of the shortest episode")
	flag.IntVar(&s.repetitions, "n", 5, "repetitions")
	flag.Parse()
	if err := run(context.Background(), s); err != nil {
		fmt.Fprintln(os.Stderr, "engine-train:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) error {
	dir, err := os.MkdirTemp("", "engine-train")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a scratch folder
	backend, err := engine.Open(s.backend)
	if err != nil {
		return err
	}
	defer backend.Close()
	fmt.Println(backend.Describe())
	folder := filepath.Join(dir, "model")
	if err := writeModel(s, folder); err != nil {
		return err
	}
	u := spec.Default().Update
	u.Minibatch, u.Microbatch = s.minibatch, s.microbatch
	optimizer := spec.Default().Optimizer
	learner, err := engine.NewTrainer(ctx, engine.TrainerOptions{Backend: backend, Model: folder, Update: u, Optimizer: optimizer, Seed: 1})
	if err != nil {
		return err
	}
	defer learner.Close() //nolint:errcheck // the process ends
	imitator, err := engine.NewImitator(ctx, engine.ImitatorOptions{Backend: backend, Model: folder, Optimizer: optimizer, Microbatch: s.microbatch})
	if err != nil {
		return err
	}
	defer imitator.Close() //nolint:errcheck // the process ends

	rows, episodes, examples, tokens := draw(s)
	perStep := float64(tokens) * float64(s.minibatch) / float64(s.episodes)
	return firstError(
		measure("score", s.repetitions, float64(tokens), func() error {
			_, err := learner.Score(ctx, episodes, nil)
			return err
		}),
		measure("ppo step", s.repetitions, perStep, func() error {
			_, err := learner.Step(ctx, rows[:s.minibatch], update.Rates{Policy: 1e-4, Critic: 1e-4})
			return err
		}),
		measure("imitation step", s.repetitions, perStep, func() error {
			_, err := imitator.Step(ctx, examples[:s.minibatch], 1e-4)
			return err
		}),
	)
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// measure prints the time of f: the first call, which compiles, then best and median of n more.
func measure(name string, n int, tokens float64, f func() error) error {
	start := time.Now()
	if err := f(); err != nil {
		return err
	}
	first, busy := time.Since(start), processorTime()
	times := make([]time.Duration, n)
	for i := range times {
		start = time.Now()
		if err := f(); err != nil {
			return err
		}
		times[i] = time.Since(start)
	}
	busy = (processorTime() - busy) / time.Duration(n)
	slices.Sort(times)
	best, median := times[0], times[n/2]
	fmt.Printf("%-15s first %6.1f s, best %7.1f ms, median %7.1f ms, %8.0f tokens/s, processors %7.1f ms\n",
		name, first.Seconds(), 1e3*best.Seconds(), 1e3*median.Seconds(), tokens/best.Seconds(), 1e3*busy.Seconds())
	return nil
}

// processorTime is the time that this process has spent on all processors.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// writeModel writes a random model with the least tokenizer that a folder may have.
func writeModel(s settings, dir string) error {
	m := engine.Random(nn.Config{
		Architecture: nn.Llama, VocabSize: s.vocabulary, HiddenSize: s.hidden, IntermediateSize: s.intermediate, Layers: s.layers,
		Heads: s.heads, KVHeads: s.heads, HeadDim: s.hidden / s.heads, RMSNormEps: 1e-5, RopeTheta: 10000,
		TieEmbeddings: true, MaxPositions: s.length,
	}, 1)
	m.Files["tokenizer.json"] = []byte(`{"model":{"vocab":{"a":0}}}`)
	return m.WriteFolder(dir)
}

// draw makes episodes of random lengths and tokens, of which the second half trains, in three dresses.
func draw(s settings) (rows []experience.Row, episodes []rollout.Episode, examples []update.Example, tokens int) {
	random := rand.New(rand.NewPCG(1, 2))
	for range s.episodes {
		n := s.shortest + random.IntN(s.length-s.shortest+1)
		tokens += n
		ids, mask, zeros, ones := make([]int32, n), make([]bool, n), make([]float32, n), make([]float32, n)
		for t := range ids {
			ids[t] = int32(random.IntN(s.vocabulary))
			mask[t] = t >= n/2
			ones[t] = float32(random.NormFloat64())
			zeros[t] = -3
		}
		rows = append(rows, experience.Row{Tokens: ids, Mask: mask, Old: zeros, Ref: zeros, Advantages: ones, Returns: ones, Values: zeros})
		episodes = append(episodes, rollout.Episode{Tokens: ids, Mask: mask, LogProbs: zeros})
		examples = append(examples, update.Example{Tokens: ids, Mask: mask})
	}
	return rows, episodes, examples, tokens
}
