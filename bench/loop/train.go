package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"multiattempt/internal/chat"
	"multiattempt/internal/dataset"
	"multiattempt/internal/engine"
	"multiattempt/internal/policy"
	"multiattempt/internal/reward"
	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
	"multiattempt/internal/verify"
	"multiattempt/presets"
)

// loop is a training run without orchestration.
type loop struct {
	backend *engine.Backend
	spec    spec.Run
	talk    *chat.Template
	learner update.Learner
	dir     string // the policy's folder
}

func train(ctx context.Context, b *engine.Backend, o options) error {
	doc, err := spec.Override([]byte(fmt.Sprintf(`{"preset":%q}`, o.preset)), spec.Run{}, o.sets)
	if err != nil {
		return err
	}
	r, err := spec.Resolve(doc, presets.Train())
	if err != nil {
		return err
	}
	l := &loop{backend: b, spec: r}
	if l.dir, err = os.MkdirTemp("", "loop"); err != nil {
		return err
	}
	defer os.RemoveAll(l.dir) //nolint:errcheck // a temporary folder
	if l.talk, err = chat.Load(o.model); err != nil {
		return err
	}
	l.learner, err = engine.NewTrainer(ctx, engine.TrainerOptions{
		Backend: b, Model: o.model, Update: r.Update, Optimizer: r.Optimizer, Compute: r.Model.Compute, Seed: r.Seed,
	})
	if err != nil {
		return err
	}
	defer l.learner.Close() //nolint:errcheck // the process ends
	if err := l.iterate(ctx, o.every); err != nil {
		return err
	}
	if o.out == "" {
		return nil
	}
	return l.learner.WritePolicy(ctx, o.out)
}

// iterate runs all iterations and prints one line each, with the seconds of each stage.
func (l *loop) iterate(ctx context.Context, every int) error {
	set, err := dataset.Open(ctx, l.spec.Data.Train, dataset.Options{Split: dataset.Train})
	if err != nil {
		return err
	}
	if set, err = set.Arrange(l.spec.Data); err != nil {
		return err
	}
	began, state := time.Now(), update.State{}
	for step := range l.spec.Iterations {
		shown, err := set.Present(l.spec.Seed, step, l.spec.Data.ProblemsPerStep, l.spec.Attempts)
		if err != nil {
			return err
		}
		t0 := time.Now()
		episodes, err := l.rollout(ctx, shown, step, l.spec.Sampling.Temperature, l.spec.Attempts, l.spec.Data.ShardSize)
		if err != nil {
			return err
		}
		t1 := time.Now()
		rewards := reward.All(episodes, l.spec.Reward)
		stats, err := update.Run(ctx, l.learner, update.Input{Spec: l.spec, Step: step, Episodes: episodes, Rewards: rewards, State: state}, nil)
		if err != nil {
			return err
		}
		state = update.After(stats)
		s := reward.Summarise(episodes, rewards)
		fmt.Printf("%4d %5.0fs rollout %.2fs update %.2fs tokens %d reward %+.3f solved %.3f repeats %.2f kl %.4f entropy %.3f ev %+.2f clip %.3f gn %.3f lr %.1e mismatch %.1e padding %.3f\n",
			step+1, time.Since(began).Seconds(), t1.Sub(t0).Seconds(), time.Since(t1).Seconds(), s.SampledTokens, s.RewardMean, s.Solved,
			s.Repeats, stats.KL, stats.Entropy, stats.ExplainedVariance, stats.ClipFraction, stats.PolicyGradNorm, stats.PolicyLR, stats.MismatchMeanAbs, stats.Padding)
		if (step+1)%every == 0 || step+1 == l.spec.Iterations {
			if err := l.evaluate(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// rollout samples all shards with the policy as it is now, two at a time, in the order of shards.
func (l *loop) rollout(ctx context.Context, shown []dataset.Presentation, step int, temperature float64, attempts spec.Attempts, shard int) ([]rollout.Episode, error) {
	if err := l.learner.WritePolicy(ctx, l.dir); err != nil {
		return nil, err
	}
	model, err := engine.LoadFolder(l.dir)
	if err != nil {
		return nil, err
	}
	sampler, err := engine.NewSampler(l.backend, model, engine.SamplerOptions{Compute: l.spec.SamplerCompute()})
	if err = errors.Join(err, model.Close()); err != nil {
		return nil, err
	}
	defer sampler.Close()
	settings := rollout.Settings{
		Prompt: l.spec.Prompt, Attempts: attempts, Grading: l.spec.Grading, GroupSize: l.spec.Data.GroupSize,
		Seed: l.spec.Seed, Step: step,
		Sampling: policy.Params{Temperature: temperature, TopP: l.spec.Sampling.TopP, TopK: l.spec.Sampling.TopK, MinP: l.spec.Sampling.MinP, MaxLength: model.Config.MaxPositions},
	}
	shards := (len(shown) + shard - 1) / shard
	parts, errs := make([][]rollout.Episode, shards), make([]error, shards)
	slots := make(chan struct{}, 2)
	var wait sync.WaitGroup
	for i := range shards {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			parts[i], errs[i] = rollout.Run(ctx, sampler, l.talk, verify.Grade, shown[i*shard:min(len(shown), (i+1)*shard)], settings, nil)
		})
	}
	wait.Wait()
	var all []rollout.Episode
	for i := range parts {
		if errs[i] != nil {
			return nil, errs[i]
		}
		all = append(all, parts[i]...)
	}
	return all, nil
}

// evaluate prints greedy accuracy and repeats at every k of the final evaluation.
func (l *loop) evaluate(ctx context.Context) error {
	set, err := dataset.Open(ctx, dataset.Smudged, dataset.Options{Split: dataset.Test, Limit: l.spec.Evaluation.Limit})
	if err != nil {
		return err
	}
	began := time.Now()
	line := map[string][]float64{}
	for _, k := range l.spec.Evaluation.Final {
		attempts := l.spec.Attempts
		attempts.MaxNewTokens = l.spec.Evaluation.MaxNewTokens
		episodes, err := l.rollout(ctx, dataset.Examine(set.Problems(), k), 0, 0, attempts, l.spec.Evaluation.ShardSize)
		if err != nil {
			return err
		}
		s := reward.Summarise(episodes, make([]reward.Earned, len(episodes)))
		line["accuracy"] = append(line["accuracy"], math.Round(1000*s.Solved)/10)
		line["repeats"] = append(line["repeats"], math.Round(1000*s.Repeats)/10)
	}
	b, err := json.Marshal(line)
	fmt.Printf("eval %.1fs %s\n", time.Since(began).Seconds(), b)
	return err
}

// temporary returns a new folder below the system's temporary one.
func temporary(name string) (string, error) {
	dir, err := os.MkdirTemp("", "loop")
	return filepath.Join(dir, name), err
}
