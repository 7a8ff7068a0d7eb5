package cli

import (
	"context"
	"errors"
	"os"
	"time"

	"multiattempt/internal/chat"
	"multiattempt/internal/dataset"
	"multiattempt/internal/engine"
	"multiattempt/internal/forecast"
	"multiattempt/internal/nn"
	"multiattempt/internal/policy"
	"multiattempt/internal/reward"
	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
	"multiattempt/internal/verify"
)

const (
	// measuredEpisodes is how many episodes a benchmark samples, and measuredTokens at most of each: seconds, not minutes.
	// standInEpisodes and standInTokens are those of a stand-in.
	measuredEpisodes, standInEpisodes = 128, 32
	measuredTokens, standInTokens     = 64, 16
	// measurable is the number of parameters up to which a run's own model is measured.
	measurable = 50_000_000
)

// standIn is measured in place of a model that is not on this machine or too large for a benchmark of seconds.
var standIn = nn.Config{
	Architecture: nn.Llama, HiddenSize: 128, IntermediateSize: 512, Layers: 2, Heads: 2, KVHeads: 2, HeadDim: 64,
	RMSNormEps: 1e-5, RopeTheta: 10_000, MaxPositions: 256,
}

const standInName = "a random stand-in of 2 layers, d 128, on smudged sums"

// bench is one benchmark: a rollout and an update, each twice, because the first one also compiles.
type bench struct {
	run     spec.Run
	backend *engine.Backend
	dir     string
	problem []dataset.Presentation
	tokens  int // of an episode, at most
}

// measure times sampling and learning on this machine: with the run's own model and problems where they are here and small
// enough, else with a stand-in.
func (a *app) measure(ctx context.Context, r spec.Run) (forecast.Speed, error) {
	b := bench{run: r, tokens: measuredTokens}
	var err error
	if b.backend, err = engine.Open(a.cfg.Backend.Choice); err != nil {
		return forecast.Speed{}, err
	}
	defer b.backend.Close()
	speed := forecast.Speed{Backend: b.backend.Name(), Device: b.backend.Capacity(ctx), Model: r.Model.Source}
	shape, remove, err := a.prepare(ctx, &b)
	if err != nil {
		return speed, err
	}
	defer remove()
	if shape == nil {
		speed.Model = standInName
	}
	summary, err := engine.Inspect(b.dir)
	if err != nil {
		return speed, err
	}
	speed.Parameters = summary.Parameters
	a.notef("Measuring: %d episodes sampled and learned from, twice\n", len(b.problem)*b.run.Data.GroupSize)
	return speed, b.time(ctx, &speed, summary.Config.MaxPositions)
}

// prepare chooses what is measured; shape is nil when it is the stand-in.
func (a *app) prepare(ctx context.Context, b *bench) (shape *forecast.Model, remove func(), err error) {
	source := b.run.Model.Source
	if shape, err = a.shapeOf(ctx, source); err != nil {
		return nil, nil, err
	}
	groups := max(1, measuredEpisodes/b.run.Data.GroupSize)
	set, err := dataset.Open(ctx, b.run.Data.Train, dataset.Options{
		Split: dataset.Train, DataDir: a.cfg.DataDir, Local: true, FieldQuestion: b.run.Data.FieldQuestion, FieldAnswer: b.run.Data.FieldAnswer,
	})
	if shape != nil && shape.Parameters <= measurable && err == nil {
		if b.dir, remove, err = a.localModel(ctx, source); err == nil && b.dir != "" {
			b.problem, err = set.Present(b.run.Seed, 0, min(groups, b.run.Data.ProblemsPerStep), b.run.Attempts)
			return shape, remove, err
		}
	}
	if b.dir, err = os.MkdirTemp("", "multiattempt-stand-in-"); err != nil {
		return nil, nil, err
	}
	remove = func() { _ = os.RemoveAll(b.dir) } // a leftover in the temporary folder hurts nobody
	config := standIn
	if config.VocabSize, err = chat.NewCharacterFolder(b.dir, dataset.SmudgedAlphabet); err == nil {
		err = engine.Random(config, 1).WriteFolder(b.dir)
	}
	if err != nil {
		return nil, remove, err
	}
	b.run.Prompt.System, b.run.Prompt.Feedback = "{N}", "{n}" // all that the stand-in reads
	b.run.Prompt.RepeatQuestion, b.run.Prompt.SingleAttempt = false, false
	b.run.Attempts.Stop, b.tokens = spec.StopTurn, standInTokens
	groups = max(1, standInEpisodes/b.run.Data.GroupSize)
	set, err = dataset.Open(ctx, dataset.Smudged, dataset.Options{Split: dataset.Train})
	if err == nil {
		b.problem, err = set.Present(1, 0, groups, b.run.Attempts)
	}
	return nil, remove, err
}

// time makes the two measurements.
func (b *bench) time(ctx context.Context, speed *forecast.Speed, positions int) error {
	cut := b.run.Attempts.MaxNewTokens > b.tokens
	b.run.Attempts.MaxNewTokens = min(b.run.Attempts.MaxNewTokens, b.tokens)
	episodes, seconds, err := b.sample(ctx, positions)
	if err != nil {
		return err
	}
	tokens := 0
	for i := range episodes {
		for _, a := range episodes[i].Attempts {
			tokens += a.End - a.Start
		}
	}
	speed.Episodes, speed.SamplingRate = len(episodes), float64(tokens)/seconds
	if !cut {
		speed.EpisodeTokens = float64(tokens) / float64(len(episodes))
	}
	if seconds, err = b.learn(ctx, episodes); err == nil {
		speed.UpdateRate = float64(tokens) / seconds
	}
	return err
}

// sample rolls the episodes out twice and returns those and the seconds of the second time.
func (b *bench) sample(ctx context.Context, positions int) (episodes []rollout.Episode, seconds float64, err error) {
	model, err := engine.LoadFolder(b.dir)
	if err != nil {
		return nil, 0, err
	}
	s, err := engine.NewSampler(b.backend, model, engine.SamplerOptions{Compute: b.run.SamplerCompute()})
	if err = errors.Join(err, model.Close()); err != nil {
		return nil, 0, err
	}
	defer s.Close()
	template, err := chat.Load(b.dir)
	if err != nil {
		return nil, 0, err
	}
	if b.run.Model.MaxLength > 0 {
		positions = min(positions, b.run.Model.MaxLength)
	}
	settings := rollout.Settings{
		Prompt: b.run.Prompt, Attempts: b.run.Attempts, Grading: b.run.Grading, GroupSize: b.run.Data.GroupSize, Seed: b.run.Seed,
		Sampling: policy.Params{Temperature: b.run.Sampling.Temperature, TopP: b.run.Sampling.TopP, TopK: b.run.Sampling.TopK, MaxLength: positions},
	}
	for range 2 {
		began := time.Now()
		if episodes, err = rollout.Run(ctx, s, template, verify.Grade, b.problem, settings, nil); err != nil {
			return nil, 0, err
		}
		seconds = time.Since(began).Seconds()
	}
	return episodes, seconds, nil
}

// learn updates twice with all episodes as one minibatch and returns the seconds of the second time.
func (b *bench) learn(ctx context.Context, episodes []rollout.Episode) (seconds float64, err error) {
	run := b.run
	run.CriticWarmup, run.Iterations = 0, 2
	run.Update.Minibatch, run.Update.Epochs = len(episodes), 1
	run.Update.Microbatch = min(run.Update.Microbatch, len(episodes))
	run.Advantage.DropEqualGroups = false
	l, err := engine.NewTrainer(ctx, engine.TrainerOptions{
		Backend: b.backend, Model: b.dir, Update: run.Update, Optimizer: run.Optimizer, LoRA: run.LoRA, Compute: run.Model.Compute, Seed: run.Seed,
	})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	rewards := reward.All(episodes, run.Reward)
	for step := range 2 {
		began := time.Now()
		if _, err = update.Run(ctx, l, update.Input{Spec: run, Step: step, Episodes: episodes, Rewards: rewards}, nil); err != nil {
			return 0, err
		}
		seconds = time.Since(began).Seconds()
	}
	return seconds, nil
}
