package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"multiattempt/internal/engine"
	"multiattempt/internal/nn"
	"multiattempt/internal/policy"
)

// small is the model of 4 layers of width 128.
var small = nn.Config{
	Architecture: nn.Llama, VocabSize: 512, HiddenSize: 128, IntermediateSize: 384, Layers: 4, Heads: 4, KVHeads: 4,
	HeadDim: 32, RMSNormEps: 1e-5, RopeTheta: 10000, TieEmbeddings: true, MaxPositions: 512,
}

// smollm2 is the shape of SmolLM2-135M: speed does not depend on what the weights hold.
var smollm2 = nn.Config{
	Architecture: nn.Llama, VocabSize: 49152, HiddenSize: 576, IntermediateSize: 1536, Layers: 30, Heads: 9, KVHeads: 3,
	HeadDim: 64, RMSNormEps: 1e-5, RopeTheta: 100000, TieEmbeddings: true, MaxPositions: 8192,
}

// write makes a model folder with random weights and the least tokenizer that a folder may have.
func write(config nn.Config, folder string) error {
	model := engine.Random(config, 1)
	model.Files["tokenizer.json"] = []byte(`{"model":{"vocab":{"a":0}}}`)
	return model.WriteFolder(folder)
}

// load is one shape of sampling work.
type load struct {
	batch, prompt, sampled int
}

// sampling compares tokens sampled a second, what attempts cost, the time to the first token, and log-probabilities.
func sampling(ctx context.Context, s settings) error {
	backend, err := engine.Open(s.backend)
	if err != nil {
		return err
	}
	defer backend.Close()
	fmt.Printf("sampling at temperature 1; %s; tokens sampled a second, best of %d or of %d seconds\n\n", backend.Describe(), s.repeat, leastMeasured)
	dir, err := os.MkdirTemp("", "bench-engine")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a scratch folder
	folder := filepath.Join(dir, "small")
	if err := write(small, folder); err != nil {
		return err
	}
	if s.smollm2 == "random" {
		s.smollm2 = filepath.Join(dir, "smollm2")
		if err := write(smollm2, s.smollm2); err != nil {
			return err
		}
	}
	short := func(n int) int { return max(int(float64(n)*s.scale), 4) }
	if s.wants(partSmall) {
		loads := []load{{16, 32, short(128)}, {128, 32, short(128)}}
		if err := compare(ctx, s, backend, "4 layers, d 128", folder, loads); err != nil {
			return err
		}
	}
	if s.smollm2 != "" && s.wants(partSmolLM2) {
		loads := []load{{1, 64, short(64)}, {8, 64, short(64)}, {32, 64, short(64)}}
		if err := compare(ctx, s, backend, "SmolLM2-135M", s.smollm2, loads); err != nil {
			return err
		}
	}
	if s.smollm2 != "" && s.wants(partStart) {
		return startUp(ctx, s)
	}
	return nil
}

// Parts of the benchmark: sampling with the small model, sampling with SmolLM2-135M, its time from start to first token.
const (
	partSmall   = "small"
	partSmolLM2 = "smollm2"
	partStart   = "start"
)

var parts = []string{partSmall, partSmolLM2, partStart}

func (s settings) wants(part string) bool { return s.only == "" || s.only == part }

// compare prints the table of one model.
func compare(ctx context.Context, s settings, backend *engine.Backend, name, folder string, loads []load) error {
	model, err := engine.LoadFolder(folder)
	if err != nil {
		return err
	}
	sampler, err := engine.NewSampler(backend, model, engine.SamplerOptions{})
	if err != nil {
		return err
	}
	defer sampler.Close()
	other, err := startPeer(ctx, s, folder)
	if err != nil {
		return err
	}
	defer other.stop()
	vocabulary := model.Config.VocabSize
	fmt.Printf("%-16s %6s %17s %13s %13s %6s %15s %8s\n", "model", "batch", "prompt + sampled", "multiattempt", "transformers", "ratio", "mean |Δ log p|", "largest")
	for _, l := range loads {
		ours, rows, err := best(s.repeat, measured(func() ([]*row, error) { return sample(ctx, sampler, l.rows(vocabulary)) }))
		if err != nil {
			return err
		}
		theirs, mean, largest := math.NaN(), math.NaN(), math.NaN()
		if other != nil {
			if theirs, err = other.sample(s.repeat, l, vocabulary); err != nil {
				return err
			}
			if mean, largest, err = other.mismatch(rows); err != nil {
				return err
			}
		}
		tokens := float64(l.batch * l.sampled)
		fmt.Printf("%-16s %6d %17s %13.0f %13.0f %6.2f %15.1e %8.1e\n",
			name, l.batch, fmt.Sprintf("%d + %d", l.prompt, l.sampled), tokens/ours, tokens/theirs, theirs/ours, mean, largest)
	}
	return attempts(ctx, s, sampler, name, vocabulary, loads[len(loads)-1].batch)
}

// attempts compares rows of five attempts with rows that hold as many forced and as many sampled tokens in one.
func attempts(ctx context.Context, s settings, sampler *engine.Sampler, name string, vocabulary, batch int) error {
	five := func() []*row { return dialogues(batch, 5, vocabulary, s.scale) }
	one := func() []*row {
		rows := dialogues(batch, 5, vocabulary, s.scale)
		for _, r := range rows {
			r.merge()
		}
		return rows
	}
	var seconds [2]float64
	for i, make := range []func() []*row{five, one} {
		var err error
		if seconds[i], _, err = best(s.repeat, measured(func() ([]*row, error) { return sample(ctx, sampler, make()) })); err != nil {
			return err
		}
	}
	fmt.Printf("%s, batch %d: five attempts cost %.2f times the same tokens in one (%.2f s, %.2f s)\n\n",
		name, batch, seconds[0]/seconds[1], seconds[0], seconds[1])
	return nil
}

// best calls f once to warm up, then n times, and more often until that has taken leastMeasured seconds. It returns the
// least seconds that f reports and its last result.
func best[T any](n int, f func() (float64, T, error)) (float64, T, error) {
	least, total := math.Inf(1), 0.0
	_, last, err := f()
	for i := 0; (i < n || total < leastMeasured) && err == nil; i++ {
		var took float64
		took, last, err = f()
		least, total = min(least, took), total+took
	}
	return least, last, err
}

// leastMeasured, in seconds, gives short loads as many chances of an undisturbed repetition as long ones have, on both sides.
const leastMeasured = 3

// measured adds its seconds to what f returns.
func measured[T any](f func() (T, error)) func() (float64, T, error) {
	return func() (float64, T, error) {
		start := time.Now()
		result, err := f()
		return time.Since(start).Seconds(), result, err
	}
}

// sample drives the rows to their ends and returns them.
func sample(ctx context.Context, sampler *engine.Sampler, rows []*row) ([]*row, error) {
	asked, longest := make([]policy.Row, len(rows)), 0
	for i, r := range rows {
		asked[i] = r
		longest = max(longest, r.length())
	}
	return rows, sampler.Sample(ctx, asked, policy.Params{Temperature: 1, TopP: 1, MaxLength: longest}, nil)
}

// row is a dialogue of fixed lengths: before each turn forced tokens, in it sampled ones.
type row struct {
	id      int
	forced  [][]int32
	sampled []int // tokens of each turn
	turn    int   // turns begun
	left    int   // tokens of the turn still to sample
	tokens  []int32
	logProb []float32 // 0 where forced
}

func (r *row) Next() policy.Action {
	if r.left > 0 {
		return policy.Action{}
	}
	if r.turn == len(r.forced) {
		return policy.Action{Done: true}
	}
	force := r.forced[r.turn]
	r.left = r.sampled[r.turn]
	r.turn++
	r.tokens = append(r.tokens, force...)
	r.logProb = append(r.logProb, make([]float32, len(force))...)
	return policy.Action{Force: force}
}

func (r *row) Uniform() float64 {
	return rand.New(rand.NewPCG(uint64(r.id), uint64(len(r.tokens)))).Float64()
}

func (r *row) Sampled(d policy.Draw) {
	r.tokens, r.logProb = append(r.tokens, d.Token), append(r.logProb, d.LogProb)
	r.left--
}

func (r *row) length() int {
	n := 0
	for i, f := range r.forced {
		n += len(f) + r.sampled[i]
	}
	return n
}

// merge makes one turn of all.
func (r *row) merge() {
	n := 0
	for i, f := range r.forced[1:] {
		r.forced[0] = append(r.forced[0], f...)
		n += r.sampled[i+1]
	}
	r.forced, r.sampled = r.forced[:1], []int{r.sampled[0] + n}
}

// rows are the load's: a random prompt each.
func (l load) rows(vocabulary int) []*row {
	rows := make([]*row, l.batch)
	for i := range rows {
		random := rand.New(rand.NewPCG(uint64(i), 7))
		rows[i] = &row{id: i, forced: [][]int32{words(random, l.prompt, vocabulary)}, sampled: []int{l.sampled}}
	}
	return rows
}

// dialogues have prompts of 48 tokens and attempts of 16 to 32, with feedback of 12 tokens before each but the first.
// The lengths of a row's attempts differ, so that feedback enters different rows at different times.
func dialogues(n, attempts, vocabulary int, scale float64) []*row {
	rows := make([]*row, n)
	for i := range rows {
		random := rand.New(rand.NewPCG(uint64(i), 8))
		rows[i] = &row{id: i}
		length := 48
		for range attempts {
			rows[i].forced = append(rows[i].forced, words(random, length, vocabulary))
			rows[i].sampled = append(rows[i].sampled, max(int(float64(16+random.IntN(17))*scale), 2))
			length = 12
		}
	}
	return rows
}

func words(random *rand.Rand, n, vocabulary int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(random.IntN(vocabulary))
	}
	return ids
}

// sample is the peer's least time for a load, in seconds.
func (p *peer) sample(n int, l load, vocabulary int) (float64, error) {
	var prompts [][]int32
	for _, r := range l.rows(vocabulary) {
		prompts = append(prompts, r.forced[0])
	}
	least, _, err := best(n, func() (float64, [][]int32, error) {
		var reply struct {
			Seconds float64
			Tokens  [][]int32
		}
		if err := p.call(map[string]any{"what": "generate", "prompts": prompts, "new": l.sampled, "greedy": false}, &reply); err != nil {
			return 0, nil, err
		}
		if len(reply.Tokens) != l.batch || len(reply.Tokens[0]) != l.sampled {
			return 0, nil, fmt.Errorf("the peer sampled %d rows, not %d of %d tokens", len(reply.Tokens), l.batch, l.sampled)
		}
		return reply.Seconds, reply.Tokens, nil
	})
	return least, err
}

// mismatch compares the log-probabilities of sampled tokens with those that the peer works out from the whole rows.
func (p *peer) mismatch(rows []*row) (mean, largest float64, err error) {
	var tokens [][]int32
	for _, r := range rows {
		tokens = append(tokens, r.tokens)
	}
	var reply struct{ LogProbs [][]float64 }
	if err := p.call(map[string]any{"what": "score", "rows": tokens}, &reply); err != nil {
		return 0, 0, err
	}
	sum, n := 0.0, 0
	for i, r := range rows {
		for t, ours := range r.logProb {
			if ours != 0 {
				d := math.Abs(float64(ours) - reply.LogProbs[i][t-1])
				sum, n, largest = sum+d, n+1, max(largest, d)
			}
		}
	}
	return sum / float64(n), largest, nil
}

// startTimes are the parts of the time to a first token, in seconds.
type startTimes struct {
	Total   float64 // from the start of the process to its end
	Import  float64 // of the other side's libraries
	Compile float64
	Load    float64
	Sample  float64
}

// firstToken loads a model folder, samples one token behind 64 and prints the times.
func firstToken(ctx context.Context, choice, folder string) error {
	start := time.Now()
	backend, err := engine.Open(choice)
	if err != nil {
		return err
	}
	defer backend.Close()
	model, err := engine.LoadFolder(folder)
	if err != nil {
		return err
	}
	sampler, err := engine.NewSampler(backend, model, engine.SamplerOptions{})
	if err != nil {
		return err
	}
	defer sampler.Close()
	loaded := time.Now()
	if _, err := sample(ctx, sampler, load{1, 64, 1}.rows(model.Config.VocabSize)); err != nil {
		return err
	}
	compiled := backend.Compilations().Time
	return json.NewEncoder(os.Stdout).Encode(startTimes{
		Compile: compiled.Seconds(), Load: loaded.Sub(start).Seconds(), Sample: (time.Since(loaded) - compiled).Seconds(),
	})
}

// startUp prints the time from the start of a process to its first sampled token on both sides.
func startUp(ctx context.Context, s settings) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	device := "cpu"
	if s.backend == engine.XLACUDA {
		device = "cuda"
	}
	ours, err := timed(ctx, s.repeat, self, "-backend", s.backend, "-first-token", s.smollm2)
	if err != nil {
		return err
	}
	fmt.Printf("start to first token, SmolLM2-135M: multiattempt %.2f s without compilation (load %.2f, sample %.2f), compilation %.2f s\n",
		ours.Total-ours.Compile, ours.Load, ours.Sample, ours.Compile)
	if s.python == "" {
		return nil
	}
	theirs, err := timed(ctx, s.repeat, s.python, s.peer, s.smollm2, "--device", device, "--threads", strconv.Itoa(s.threads), "--first-token")
	if err != nil {
		return err
	}
	fmt.Printf("transformers %.2f s (import %.2f, load %.2f, sample %.2f); ratio %.2f, without its imports %.2f\n",
		theirs.Total, theirs.Import, theirs.Load, theirs.Sample,
		(ours.Total-ours.Compile)/theirs.Total, (ours.Total-ours.Compile)/(theirs.Total-theirs.Import))
	return nil
}

// timed starts a command n times and returns the times of the fastest, compilation not counted.
func timed(ctx context.Context, n int, command string, arguments ...string) (least startTimes, err error) {
	least.Total = math.Inf(1)
	for range n {
		c := exec.CommandContext(ctx, command, arguments...)
		c.Stderr = os.Stderr
		start := time.Now()
		out, err := c.Output()
		if err != nil {
			return least, fmt.Errorf("%s: %w", command, err)
		}
		var t startTimes
		if err := json.Unmarshal(out, &t); err != nil {
			return least, err
		}
		if t.Total = time.Since(start).Seconds(); t.Total-t.Compile < least.Total-least.Compile {
			least = t
		}
	}
	return least, nil
}
