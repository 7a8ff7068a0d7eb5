package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"multiattempt/internal/engine"
	"multiattempt/internal/experience"
	"multiattempt/internal/nn"
	"multiattempt/internal/policy"
	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
)

// shapes are networks by name; positions are set by the rows.
var shapes = map[string]nn.Config{
	"tiny": {
		Architecture: nn.Llama, VocabSize: 512, HiddenSize: 128, IntermediateSize: 512, Layers: 4, Heads: 4, KVHeads: 4, HeadDim: 32,
		RMSNormEps: 1e-5, RopeTheta: 10000, TieEmbeddings: true,
	},
	"smollm2-135m": {
		Architecture: nn.Llama, VocabSize: 49152, HiddenSize: 576, IntermediateSize: 1536, Layers: 30, Heads: 9, KVHeads: 3, HeadDim: 64,
		RMSNormEps: 1e-5, RopeTheta: 100000, TieEmbeddings: true,
	},
	"qwen2.5-1.5b": {
		Architecture: nn.Qwen2, VocabSize: 151936, HiddenSize: 1536, IntermediateSize: 8960, Layers: 28, Heads: 12, KVHeads: 2, HeadDim: 128,
		RMSNormEps: 1e-6, RopeTheta: 1e6, TieEmbeddings: true, AttentionBias: true,
	},
}

func shapeNames() []string { return slices.Sorted(maps.Keys(shapes)) }

func shape(name string, length int) (nn.Config, error) {
	c, ok := shapes[name]
	if !ok {
		return c, fmt.Errorf("unknown shape %q; there are %s", name, strings.Join(shapeNames(), ", "))
	}
	c.MaxPositions = max(length, 32)
	return c, nil
}

func computeOf(name string) spec.Compute { return spec.Compute(name) }

// work is one measurement of this engine, and what the peer needs to repeat it.
type work struct {
	settings
	config  nn.Config
	dir     string
	folder  string
	backend *engine.Backend
	memory  *memory
}

// writeModel writes the network with random weights and the least tokenizer that a folder may have.
func (w work) writeModel() error {
	m := engine.Random(w.config, 1)
	m.Files["tokenizer.json"] = []byte(`{"model":{"vocab":{"a":0}}}`)
	return m.WriteFolder(w.folder)
}

// lora is the adapters' description, of both networks.
func (w work) lora() spec.LoRA {
	return spec.LoRA{Rank: w.rank, Alpha: 2 * float64(w.rank), Targets: spec.LinearModules()}
}

// measure rolls out where asked, and times scores and steps. It leaves weights, state and rows for the peer.
func (w work) measure(ctx context.Context) (result, error) {
	var r result
	episodes := w.draw()
	if w.rollout {
		if err := w.sample(ctx, episodes); err != nil {
			return r, fmt.Errorf("roll out: %w", err)
		}
	}
	u := spec.Default().Update
	u.Minibatch, u.Microbatch = w.episodes, w.microbatch
	learner, err := engine.NewTrainer(ctx, engine.TrainerOptions{
		Backend: w.backend, Model: w.folder, Update: u, Optimizer: spec.Default().Optimizer, Seed: 1,
		LoRA: spec.LoRAs{Policy: w.lora(), Critic: w.lora()}, Compute: computeOf(w.compute),
	})
	if err != nil {
		return r, err
	}
	defer learner.Close() //nolint:errcheck // the process ends
	fmt.Printf("%-16s estimate of the run's memory %v\n", "", w.estimate())
	if err := learner.WriteState(ctx, filepath.Join(w.dir, "state")); err != nil {
		return r, err
	}
	var scores []experience.Scores
	var firstScore, firstStep float64
	if r.Score, firstScore, err = best(w.repeat, func() (err error) {
		scores, err = learner.Score(ctx, episodes, nil)
		return err
	}); err != nil {
		return r, err
	}
	rows := w.rows(episodes, scores)
	if err := w.writeRows(rows); err != nil {
		return r, err
	}
	var stats update.StepStats
	if r.Step, firstStep, err = best(w.repeat, func() error {
		s, err := learner.Step(ctx, rows, rates)
		if stats.Tokens == 0 {
			stats = s
		}
		return err
	}); err != nil {
		return r, err
	}
	r.First, r.Memory = firstScore+firstStep, w.memory.most()
	r.PolicyLoss, r.ValueLoss, r.PolicyNorm, r.CriticNorm = stats.PolicyLoss, stats.ValueLoss, stats.PolicyGradNorm, stats.CriticGradNorm
	for _, e := range episodes {
		r.Tokens += len(e.Tokens)
		r.Length = max(r.Length, len(e.Tokens))
	}
	r.Positions = w.episodes * (r.Length - 1)
	return r, w.printDigest(ctx, learner)
}

// estimate is what a run of these sizes would be said to take.
func (w work) estimate() engine.TrainingMemory {
	r := spec.Default()
	r.Update.Minibatch, r.Update.Microbatch, r.Data.ShardSize = w.episodes, w.microbatch, w.episodes
	r.Model.Compute, r.LoRA = computeOf(w.compute), spec.LoRAs{Policy: w.lora(), Critic: w.lora()}
	return engine.PlanTraining(r, w.config)
}

// printDigest prints the digest of the learner's trained weights and moments: equal runs print equal digests.
func (w work) printDigest(ctx context.Context, learner update.Learner) error {
	dir := filepath.Join(w.dir, "after")
	if err := learner.WriteState(ctx, dir); err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(dir, "trainer.safetensors"))
	if err != nil {
		return err
	}
	fmt.Printf("digest of the trained state %x\n", sha256.Sum256(b))
	return nil
}

// draw makes episodes of random tokens, of which all behind the prompt train.
func (w work) draw() []rollout.Episode {
	random := rand.New(rand.NewPCG(1, 2))
	episodes := make([]rollout.Episode, w.episodes)
	for i := range episodes {
		n := w.length
		if !w.equal {
			n -= random.IntN(w.length / 2)
		}
		e := rollout.Episode{Tokens: make([]int32, n), Mask: make([]bool, n), LogProbs: make([]float32, n)}
		for t := range e.Tokens {
			e.Tokens[t], e.Mask[t] = int32(random.IntN(w.config.VocabSize)), t >= w.prompt
		}
		episodes[i] = e
	}
	return episodes
}

// rows are the episodes as experience: random advantages, and what the learner said of them.
func (w work) rows(episodes []rollout.Episode, scores []experience.Scores) []experience.Row {
	random := rand.New(rand.NewPCG(3, 4))
	rows := make([]experience.Row, len(episodes))
	for i, e := range episodes {
		r := experience.Row{
			Tokens: e.Tokens, Mask: e.Mask, Old: scores[i].Old, Ref: scores[i].Ref, Values: scores[i].Values,
			Advantages: make([]float32, len(e.Tokens)), Returns: make([]float32, len(e.Tokens)),
		}
		for t, in := range e.Mask {
			if in {
				r.Advantages[t] = float32(random.NormFloat64())
				r.Returns[t] = r.Values[t] + r.Advantages[t]
			}
		}
		rows[i] = r
	}
	return rows
}

func (w work) writeRows(rows []experience.Row) error {
	text, err := json.Marshal(rows)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(w.dir, "rows.json"), text, 0o644)
}

// sample lets the sampler write the episodes behind their prompts, and prints its speed.
func (w work) sample(ctx context.Context, episodes []rollout.Episode) error {
	model, err := engine.LoadFolder(w.folder)
	if err != nil {
		return err
	}
	s, err := engine.NewSampler(w.backend, model, engine.SamplerOptions{Compute: computeOf(w.compute)})
	if err := errors.Join(err, model.Close()); err != nil {
		return err
	}
	defer s.Close()
	for _, what := range []string{"with compilations", "again"} {
		lines, drawn := make([]policy.Row, len(episodes)), 0
		for i := range episodes {
			lines[i] = &line{episode: &episodes[i], prompt: w.prompt, random: rand.New(rand.NewPCG(5, uint64(i)))}
			drawn += len(episodes[i].Tokens) - w.prompt
		}
		start := time.Now()
		if err := s.Sample(ctx, lines, policy.Params{Temperature: 1, TopP: 1, MaxLength: w.length}, nil); err != nil {
			return err
		}
		took := time.Since(start).Seconds()
		fmt.Printf("%-16s rollout %7.0f drawn tokens/s (%.1f s %s); %.1f GB of the device\n",
			"this engine", float64(drawn)/took, took, what, float64(w.memory.most())/1e9)
	}
	return nil
}

// line is an episode that is sampled to its own length.
type line struct {
	episode *rollout.Episode
	prompt  int
	have    int
	random  *rand.Rand
}

func (l *line) Next() policy.Action {
	switch l.have {
	case 0:
		l.have = l.prompt
		return policy.Action{Force: slices.Clone(l.episode.Tokens[:l.prompt])}
	case len(l.episode.Tokens):
		return policy.Action{Done: true}
	}
	return policy.Action{}
}

func (l *line) Uniform() float64 { return l.random.Float64() }

func (l *line) Sampled(d policy.Draw) {
	l.episode.Tokens[l.have], l.episode.LogProbs[l.have] = d.Token, d.LogProb
	l.have++
}

// peer runs the update in PyTorch.
func (w work) peer(ctx context.Context, mode string) (result, error) {
	var r result
	device := "cpu"
	if w.settings.backend == engine.XLACUDA {
		device = "cuda"
	}
	u, o := spec.Default().Update, spec.Default().Optimizer
	arguments := []string{
		w.settings.peer, "--model", w.folder, "--state", filepath.Join(w.dir, "state"), "--rows", filepath.Join(w.dir, "rows.json"),
		"--mode", mode, "--device", device, "--compute", w.compute, "--threads", strconv.Itoa(w.threads), "--rank", strconv.Itoa(w.rank),
		"--microbatch", strconv.Itoa(w.microbatch), "--repeat", strconv.Itoa(w.repeat),
		"--policy-lr", fmt.Sprint(rates.Policy), "--critic-lr", fmt.Sprint(rates.Critic),
		"--clip", fmt.Sprint(u.Clip), "--value-clip", fmt.Sprint(u.ValueClip), "--value-weight", fmt.Sprint(u.ValueWeight),
		"--kl", fmt.Sprint(u.KLCoefficient), "--clip-norm", fmt.Sprint(o.ClipNorm),
		"--beta1", fmt.Sprint(o.Beta1), "--beta2", fmt.Sprint(o.Beta2), "--epsilon", fmt.Sprint(o.Epsilon),
	}
	command := exec.CommandContext(ctx, w.python, arguments...)
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return r, err
	}
	last := out[strings.LastIndexByte(strings.TrimSpace(string(out)), '\n')+1:]
	return r, json.Unmarshal(last, &r)
}
