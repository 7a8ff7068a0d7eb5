package activities

import (
	"context"
	"fmt"
	"time"

	"multiattempt/internal/blob"
	"multiattempt/internal/dataset"
	"multiattempt/internal/policy"
	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
)

// Rollouts are the activities of a worker that samples.
type Rollouts struct {
	store    blob.Store
	engine   Engine
	samplers *samplers
	pulses   pulses
	recent   *Recent
	spec     latest[spec.Run]
	problems latest[[]dataset.Problem]
	shown    latest[[]dataset.Presentation]
	sampled  func()
}

// NewRollouts returns the activities of a worker that samples with engine.
func NewRollouts(store blob.Store, engine Engine, models *Models) *Rollouts {
	return &Rollouts{store: store, engine: engine, samplers: newSamplers(engine, models), sampled: func() {}}
}

// WhenSampled makes r call f once for a shard that is sampled and not stored yet: the device is free for the next, and its
// policy is no longer held.
func WhenSampled(r *Rollouts, f func()) { r.sampled = f }

// Rollout samples one shard of episodes with the policy named by its input. Repeated, it gives the same reference. A worker
// whose sampler hangs takes no further shard.
func (r *Rollouts) Rollout(ctx context.Context, in RolloutInput) (RolloutOutput, error) {
	return alive(ctx, func(p *pulse) (RolloutOutput, error) {
		leave, err := r.pulses.enter(p)
		if err != nil {
			return RolloutOutput{}, err
		}
		defer leave()
		return r.rollout(ctx, in, p)
	})
}

func (r *Rollouts) rollout(ctx context.Context, in RolloutInput, pulse *pulse) (RolloutOutput, error) {
	run, err := r.spec.load(ctx, r.store, in.Spec)
	if err != nil {
		return RolloutOutput{}, err
	}
	shown, err := r.shard(ctx, in)
	if err != nil {
		return RolloutOutput{}, err
	}
	pulse.report(Progress{What: "load the policy"})
	sampler, done, err := r.samplers.use(ctx, in.Policy, run.SamplerCompute(), func(dir string) error {
		if in.Evaluate {
			return r.engine.FitsEvaluation(ctx, dir, run)
		}
		return r.engine.FitsTraining(ctx, dir, run)
	})
	if err != nil {
		return RolloutOutput{}, err
	}
	defer done()
	settings := rolloutSettings(run, in, sampler.info)
	timed := timedSampler{Sampler: sampler, began: time.Now()}
	count := func(done int) {
		pulse.report(Progress{What: "episodes", Done: done, Of: len(shown) * settings.GroupSize, Tokens: int(timed.tokens.Load())})
	}
	count(0)
	ended := pulse.steps(r.engine.Patience)
	episodes, err := rollout.Run(ctx, &timed, sampler.template, timed.grade, shown, settings, count)
	ended()
	done() // first: the next shard may be of another policy, for which there is room beside no other
	r.sampled()
	if err != nil {
		return RolloutOutput{}, fmt.Errorf("shard %d of %d: %w", in.Shard+1, in.Shards, err)
	}
	dir, name := stepKey(in.Run, in.Step+1), fmt.Sprintf("episodes-%04d", in.Shard)
	if in.Evaluate {
		dir, name = evaluationKey(in.Run, in.Step), fmt.Sprintf("episodes-%s-%d-%04d", setName(in.Set), in.Attempts, in.Shard)
	}
	if in.Parallel {
		name = fmt.Sprintf("episodes-%s-parallel-%04d", setName(in.Set), in.Shard)
	}
	ref, err := putEpisodes(ctx, r.store, dir, name, episodes)
	if err == nil {
		r.recent.keep(in.Run, in.Step, ref.SHA256, episodes)
	}
	out := RolloutOutput{Episodes: ref, Count: len(episodes), Tokens: sampled(episodes)}
	out.Seconds, out.Sampling, out.Grading = timed.seconds()
	return out, err
}

// shard returns the presentations of the input's shard.
func (r *Rollouts) shard(ctx context.Context, in RolloutInput) ([]dataset.Presentation, error) {
	var shown []dataset.Presentation
	if in.Evaluate {
		problems, err := r.problems.load(ctx, r.store, in.Problems)
		if err != nil {
			return nil, err
		}
		shown = dataset.Examine(problems, in.Attempts)
	} else {
		var err error
		if shown, err = r.shown.load(ctx, r.store, in.Problems); err != nil {
			return nil, err
		}
	}
	from, to, err := shardRange(len(shown), in.Shards, in.Shard)
	if err != nil {
		return nil, err
	}
	return shown[from:to], nil
}

// rolloutSettings are the spec's for training, or for its evaluation: the number of attempts always told to the model.
func rolloutSettings(run spec.Run, in RolloutInput, model ModelInfo) rollout.Settings {
	length := maxLength(run.Model, model)
	s := rollout.Settings{
		Prompt: run.Prompt, Attempts: run.Attempts, Grading: run.Grading, GroupSize: run.Data.GroupSize,
		Sampling: policy.Params{
			Temperature: run.Sampling.Temperature, TopP: run.Sampling.TopP, TopK: run.Sampling.TopK, MinP: run.Sampling.MinP, MaxLength: length,
		},
		Seed: run.Seed, Step: in.Step, Policy: in.Policy.Digest.String(),
	}
	if in.Evaluate {
		s.GroupSize = run.Evaluation.Samples
		s.Prompt.SingleAttempt = false
		s.Attempts.MaxNewTokens = run.Evaluation.MaxNewTokens
		s.Sampling = policy.Params{Temperature: run.Evaluation.Temperature, TopP: run.Evaluation.TopP, NoRepeat: run.Evaluation.NoRepeat, MaxLength: length}
	}
	if in.Parallel {
		s.GroupSize, s.Sampling.Temperature = run.Evaluation.Parallel, run.Evaluation.ParallelTemperature
	}
	return s
}

// sampled counts the tokens that were drawn.
func sampled(episodes []rollout.Episode) int {
	n := 0
	for _, e := range episodes {
		for _, a := range e.Attempts {
			n += a.End - a.Start
		}
	}
	return n
}

// shardRange returns the items [from, to) of shard i when n items are dealt to so many shards in order, as evenly as
// whole items allow.
func shardRange(n, shards, i int) (from, to int, err error) {
	if i < 0 || i >= shards {
		return 0, 0, fmt.Errorf("%w: %d of %d", errShard, i, shards)
	}
	return n * i / shards, n * (i + 1) / shards, nil
}
