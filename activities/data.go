package activities

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"multiattempt/internal/blob"
	"multiattempt/internal/checkpoint"
	"multiattempt/internal/dataset"
	"multiattempt/internal/reward"
	"multiattempt/internal/reward/endpoint"
	"multiattempt/internal/source"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
)

// Data are the activities that need neither sampler nor learner.
type Data struct {
	store         blob.Store
	engine        Engine // describes and creates models; computes nothing
	models        *Models
	presets       Presets
	sources       source.Finder
	dataDir       string
	recent        *Recent
	library       dataset.Library
	endpoints     endpoint.Connection
	rewardSources map[string]reward.Source // of reward.source go:NAME
}

// NewData returns the activities; sources finds models, dataDir is where data sets are looked for.
func NewData(store blob.Store, engine Engine, models *Models, presets Presets, sources source.Finder, dataDir string) *Data {
	return &Data{store: store, engine: engine, models: models, presets: presets, sources: sources, dataDir: dataDir}
}

// ResolveSpec turns a user's settings into a complete spec, makes sure that model, prompt and data can be used, and finds
// out where the run stands: a run with checkpoints goes on from the newest, or is refused when its settings are others.
func (d *Data) ResolveSpec(ctx context.Context, in ResolveSpecInput) (ResolveSpecOutput, error) {
	return alive(ctx, func(p *pulse) (ResolveSpecOutput, error) { return d.resolveSpec(ctx, in, p) })
}

func (d *Data) resolveSpec(ctx context.Context, in ResolveSpecInput, pulse *pulse) (ResolveSpecOutput, error) {
	if err := spec.CheckRunID(in.Run); err != nil {
		return ResolveSpecOutput{}, err
	}
	run, from, err := d.settings(ctx, in)
	if err != nil {
		return ResolveSpecOutput{}, err
	}
	if run.Name == "" {
		run.Name = in.Run
	}
	out := ResolveSpecOutput{Name: run.Name, Model: run.Model.Source, Plan: plan(run), Metric: run.Checkpoint.Best}
	if out.Digest, err = run.Digest(); err != nil {
		return out, err
	}
	if err := d.checkSource(run.Reward); err != nil {
		return out, err
	}
	var room roomCheck
	check := func(dir string) (err error) {
		room, err = d.checkModel(ctx, run, dir, true)
		return err
	}
	if out.Base, err = d.storeModel(ctx, run.Model.Source, check, pulse); err != nil {
		return out, err
	}
	pulse.report(Progress{What: "data"})
	identity, err := d.checkData(ctx, run)
	if err != nil {
		return out, err
	}
	if err := d.checkTraining(ctx, run, room, pulse); err != nil {
		return out, err
	}
	if err := d.checkEvaluation(ctx, run, room, pulse); err != nil {
		return out, err
	}
	begun, err := d.standing(ctx, in.Run, out.Digest)
	if err != nil {
		return out, err
	}
	out.Checkpoint, out.Restored = begun.checkpoint, begun.policy
	if begun.made {
		if err := d.checkContinued(ctx, in.Run, identity.Train); err != nil {
			return out, err
		}
		if out.Best, err = d.bestSoFar(ctx, in.Run); err != nil {
			return out, err
		}
	}
	out.Warnings = identity.Warnings()
	if err := d.describe(ctx, in.Run, run, identity, &out); err != nil {
		return out, err
	}
	if out.Checkpoint.IsZero() && from != nil {
		pulse.report(Progress{What: "copy the checkpoint"})
		out.Branch.Step = from.Step
		out.Branch.Candidate, out.Restored, err = d.branch(ctx, *from, in.Run, out.Digest)
	}
	return out, err
}

// describe stores what a run consists of beside its checkpoints: its data's identity, its base and its settings.
func (d *Data) describe(ctx context.Context, name string, run spec.Run, identity dataset.Identity, out *ResolveSpecOutput) (err error) {
	if out.Data, err = putJSON(ctx, d.store, runKey(name), dataName, identity); err != nil {
		return err
	}
	if _, err = putJSON(ctx, d.store, runKey(name), "base", out.Base); err != nil {
		return err
	}
	out.Spec, err = putJSON(ctx, d.store, runKey(name), "spec", run)
	return err
}

// plan takes from a spec what the workflow goes by.
func plan(run spec.Run) Plan {
	p := Plan{
		Iterations: run.Iterations, ContinueAfter: run.ContinueAfter,
		Episodes:        run.Data.ProblemsPerStep * run.Data.GroupSize,
		Shards:          shards(run.Data.ProblemsPerStep, max(1, run.Data.ShardSize/run.Data.GroupSize)),
		CheckpointEvery: run.Checkpoint.Every,
		Retain:          checkpoint.Retention{Keep: run.Checkpoint.Keep, KeepEvery: run.Checkpoint.KeepEvery},
		Rates:           update.Rates{Policy: run.Optimizer.PolicyLR, Critic: run.Optimizer.CriticLR},
	}
	if len(run.Evaluation.Sets) == 0 {
		return p
	}
	p.EvaluateAttempts, p.FinalAttempts, p.Parallel = run.Evaluation.Attempts, run.Evaluation.Final, run.Evaluation.Parallel
	if len(p.EvaluateAttempts) > 0 {
		p.EvaluateEvery = run.Evaluation.Every
	}
	return p
}

// shards is the number of shards of at most size items that hold n items.
func shards(n, size int) int { return (n + size - 1) / size }

// checkData opens every set that the run will need, and says what they hold.
func (d *Data) checkData(ctx context.Context, run spec.Run) (dataset.Identity, error) {
	train, err := d.train(ctx, run)
	if err != nil {
		return dataset.Identity{}, err
	}
	if _, err := train.Present(run.Seed, 0, run.Data.ProblemsPerStep, run.Attempts); err != nil {
		return dataset.Identity{}, err
	}
	evaluation := make([]*dataset.Set, len(run.Evaluation.Sets))
	for i, name := range run.Evaluation.Sets {
		if evaluation[i], err = d.test(ctx, run, name); err != nil {
			return dataset.Identity{}, err
		}
		final := EvaluationTask{Attempts: run.Evaluation.Final, Parallel: run.Evaluation.Parallel}
		for _, task := range []EvaluationTask{final, {Attempts: run.Evaluation.Attempts}} {
			if err := mayFanOut(run, inShards(run, task, name, len(evaluation[i].Problems())), task); err != nil {
				return dataset.Identity{}, err
			}
		}
	}
	return dataset.Identify(train, evaluation), nil
}

func (d *Data) train(ctx context.Context, run spec.Run) (*dataset.Set, error) {
	set, err := d.open(ctx, run.Data.Train, options(run, dataset.Train, d.dataDir, run.Data.Limit))
	if err != nil {
		return nil, err
	}
	return set.Arrange(run.Data)
}

func (d *Data) test(ctx context.Context, run spec.Run, name string) (*dataset.Set, error) {
	return d.open(ctx, name, options(run, dataset.Test, d.dataDir, run.Evaluation.Limit))
}

func options(run spec.Run, split dataset.Split, dir string, limit int) dataset.Options {
	return dataset.Options{
		Split: split, DataDir: dir, Limit: limit,
		FieldQuestion: run.Data.FieldQuestion, FieldAnswer: run.Data.FieldAnswer, FieldHint: run.Data.FieldHint,
	}
}

func (d *Data) open(ctx context.Context, name string, o dataset.Options) (*dataset.Set, error) {
	s, err := d.library.Open(ctx, name, o)
	return s, missingIsBad(err)
}

// missingIsBad makes a data file that does not exist the user's mistake, which repeating does not mend.
func missingIsBad(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", dataset.ErrData, err)
	}
	return err
}

// SampleBatch draws an iteration's problems, each with its number of attempts: a function of seed and step.
func (d *Data) SampleBatch(ctx context.Context, in SampleBatchInput) (SampleBatchOutput, error) {
	_, stop := beat(ctx)
	defer stop()
	return alive(ctx, func(*pulse) (SampleBatchOutput, error) { return d.sampleBatch(ctx, in) })
}

func (d *Data) sampleBatch(ctx context.Context, in SampleBatchInput) (SampleBatchOutput, error) {
	run, err := loadRun(ctx, d.store, in.Spec)
	if err != nil {
		return SampleBatchOutput{}, err
	}
	set, err := d.train(ctx, run)
	if err != nil {
		return SampleBatchOutput{}, err
	}
	if err := d.checkTrain(ctx, in.Data, set); err != nil {
		return SampleBatchOutput{}, err
	}
	shown, err := set.Present(run.Seed, in.Step, run.Data.ProblemsPerStep, run.Attempts)
	if err != nil {
		return SampleBatchOutput{}, err
	}
	ref, err := putJSON(ctx, d.store, stepKey(in.Run, in.Step+1), "problems", shown)
	return SampleBatchOutput{Problems: ref}, err
}

// Experience is what an update learns from: an iteration's episodes and their rewards.
type Experience struct {
	Step     int        `json:"step"`     // iterations done before
	Episodes []blob.Ref `json:"episodes"` // shards
	Rewards  []float64  `json:"rewards"`  // one an episode, in the order of shards
	// AttemptRewards are one an attempt, for credit by attempt only.
	AttemptRewards [][]float64    `json:"attempt_rewards,omitempty"`
	Summary        reward.Summary `json:"summary"`
}

// earned puts an experience's rewards together again.
func (x Experience) earned() []reward.Earned {
	all := make([]reward.Earned, len(x.Rewards))
	for i, r := range x.Rewards {
		all[i].Episode = r
		if x.AttemptRewards != nil {
			all[i].Attempts = x.AttemptRewards[i]
		}
	}
	return all
}

// Reward turns an iteration's episodes into rewards.
func (d *Data) Reward(ctx context.Context, in RewardInput) (RewardOutput, error) {
	return alive(ctx, func(p *pulse) (RewardOutput, error) { return d.reward(ctx, in, p) })
}

func (d *Data) reward(ctx context.Context, in RewardInput, pulse *pulse) (RewardOutput, error) {
	run, err := loadRun(ctx, d.store, in.Spec)
	if err != nil {
		return RewardOutput{}, err
	}
	episodes, err := d.recent.load(ctx, d.store, in.Run, in.Step, in.Episodes)
	if err != nil {
		return RewardOutput{}, err
	}
	rewards, err := d.rewards(ctx, run, in, episodes, pulse)
	if err != nil {
		return RewardOutput{}, err
	}
	x := Experience{Step: in.Step, Episodes: in.Episodes, Rewards: reward.Whole(rewards), Summary: reward.Summarise(episodes, rewards)}
	if run.Advantage.Credit == spec.CreditAttempt {
		for _, r := range rewards {
			x.AttemptRewards = append(x.AttemptRewards, r.Attempts)
		}
	}
	ref, err := putJSON(ctx, d.store, stepKey(in.Run, in.Step+1), "experience", x)
	return RewardOutput{Experience: ref, RewardMean: x.Summary.RewardMean, Solved: x.Summary.Solved}, err
}
