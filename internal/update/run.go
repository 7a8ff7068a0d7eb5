package update

import (
	"context"
	"fmt"

	"multiattempt/internal/experience"
	"multiattempt/internal/reward"
	"multiattempt/internal/rollout"
	"multiattempt/internal/seed"
	"multiattempt/internal/spec"
)

// Input is what one iteration's update starts from.
type Input struct {
	Spec     spec.Run
	Step     int               // iterations done before
	Episodes []rollout.Episode // [P·G]
	Rewards  []reward.Earned   // one an episode
	Peak     *Rates            // peak learning rates in place of the spec's, when steering set them
	State    State             // what the iteration before left, beside the learner's own state
}

// Progress is told what part of an update is done; done and total are in the stage's own unit.
type Progress func(stage string, done, total int)

// Run makes one iteration's update: score, build experience, then Epochs passes of optimiser steps over minibatches in a
// seeded order. It is a function of the learner's state and the input. When it fails the learner is spoilt: restore it.
func Run(ctx context.Context, l Learner, in Input, progress Progress) (Stats, error) {
	if progress == nil {
		progress = func(string, int, int) {}
	}
	r := run{Input: in, learner: l, progress: progress}
	if len(in.Rewards) != len(in.Episodes) || len(in.Episodes) == 0 {
		return Stats{}, fmt.Errorf("%w: %d episodes, %d rewards", experience.ErrShape, len(in.Episodes), len(in.Rewards))
	}
	if in.Spec.Advantage.DropEqualGroups {
		r.Episodes, r.Rewards, r.selection = experience.DropEqual(in.Episodes, in.Rewards, in.Spec.Advantage.Credit)
	}
	r.Spec.Update.KLCoefficient = in.State.coefficient(in.Spec.Update)
	batch, err := r.build(ctx)
	if err != nil {
		return Stats{}, err
	}
	collected := newCollector(batch)
	if err := r.optimise(ctx, batch.Rows, collected); err != nil {
		return Stats{}, err
	}
	stats := collected.stats()
	stats.Groups, stats.GroupsDropped, stats.EpisodesDropped = r.selection.Groups, r.selection.GroupsDropped, r.selection.EpisodesDropped
	stats.MismatchLimit = MismatchLimit(r.Spec)
	stats.KLCoefficient = r.Spec.Update.KLCoefficient
	stats.NextKLCoefficient = nextCoefficient(r.Spec.Update, stats.KL, len(r.Episodes))
	return stats, nil
}

// run is one iteration's update under way.
type run struct {
	Input
	learner   Learner
	progress  Progress
	selection experience.Selection
}

// build scores the episodes and turns them into a batch; one without rows when no episode is left.
func (r *run) build(ctx context.Context) (experience.Batch, error) {
	n := len(r.Episodes)
	if n == 0 {
		return experience.Batch{}, nil
	}
	scores, err := r.learner.Score(ctx, r.Episodes, func(done int) { r.progress("score", done, n) })
	if err != nil {
		return experience.Batch{}, fmt.Errorf("score step %d: %w", r.Step, err)
	}
	return experience.Build(r.Episodes, r.Rewards, scores, r.Spec.Advantage, r.Spec.Update)
}

// optimise makes the optimiser steps, all of them unless the policy moves away further than StopKL allows.
func (r *run) optimise(ctx context.Context, rows []experience.Row, collected *collector) error {
	u := r.Spec.Update
	schedule := NewSchedule(r.Spec, r.Peak)
	minibatches := minibatchesOf(len(rows), u.Minibatch)
	steps := minibatches * u.Epochs
	for epoch := range u.Epochs {
		order := seed.Rand("update/order", r.Spec.Seed, uint64(r.Step), uint64(epoch)).Perm(len(rows))
		for m := range minibatches {
			at := epoch*minibatches + m
			rates := schedule.Rates(r.Step, at)
			stats, err := r.learner.Step(ctx, pick(rows, share(order, minibatches, m)), rates)
			if err != nil {
				return fmt.Errorf("step %d, minibatch %d of %d: %w", r.Step, at+1, steps, err)
			}
			collected.add(stats, rates)
			r.progress("update", at+1, steps)
			if u.StopKL > 0 && stats.ApproxKL > u.StopKL {
				collected.s.OptimizerStepsSkipped = steps - at - 1
				return nil
			}
		}
	}
	return nil
}

// minibatchesOf is the number of minibatches of one epoch.
func minibatchesOf(episodes, size int) int { return (episodes + size - 1) / size }

// share is minibatch m of so many, dealt as evenly as whole episodes allow: no small rest whose tokens would weigh more.
func share(order []int, minibatches, m int) []int {
	bound := func(i int) int { return (len(order)*i + minibatches - 1) / minibatches }
	return order[bound(m):bound(m+1)]
}

// pick returns the rows named by order.
func pick(rows []experience.Row, order []int) []experience.Row {
	picked := make([]experience.Row, 0, len(order))
	for _, i := range order {
		picked = append(picked, rows[i])
	}
	return picked
}
