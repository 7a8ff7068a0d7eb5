package update

import (
	"context"
	"fmt"

	"multiattempt/internal/experience"
	"multiattempt/internal/rollout"
	"multiattempt/internal/seed"
	"multiattempt/internal/spec"
)

// Input is what one iteration's update starts from.
type Input struct {
	Spec     spec.Run
	Step     int               // iterations done before
	Episodes []rollout.Episode // [P·G]
	Rewards  []float64         // one an episode
	Peak     *Rates            // peak learning rates in place of the spec's, when steering set them
}

// Progress is told what part of an update is done; done and total are in the stage's own unit.
type Progress func(stage string, done, total int)

// Run makes one iteration's update: score, build experience, then Epochs passes of optimiser steps over minibatches in a
// seeded order. It is a function of the learner's state and the input. When it fails the learner is spoilt: restore it.
func Run(ctx context.Context, l Learner, in Input, progress Progress) (Stats, error) {
	if progress == nil {
		progress = func(string, int, int) {}
	}
	n := len(in.Episodes)
	scores, err := l.Score(ctx, in.Episodes, func(done int) { progress("score", done, n) })
	if err != nil {
		return Stats{}, fmt.Errorf("score step %d: %w", in.Step, err)
	}
	batch, err := experience.Build(in.Episodes, in.Rewards, scores, in.Spec.Advantage, in.Spec.Update)
	if err != nil {
		return Stats{}, err
	}
	schedule := NewSchedule(in.Spec, in.Peak)
	minibatches := minibatchesOf(n, in.Spec.Update.Minibatch)
	steps := minibatches * in.Spec.Update.Epochs
	collected := newCollector(batch)
	for epoch := range in.Spec.Update.Epochs {
		order := seed.Rand("update/order", in.Spec.Seed, uint64(in.Step), uint64(epoch)).Perm(n)
		for m := range minibatches {
			at := epoch*minibatches + m
			rates := schedule.Rates(in.Step, at)
			stats, err := l.Step(ctx, pick(batch.Rows, order[m*in.Spec.Update.Minibatch:], in.Spec.Update.Minibatch), rates)
			if err != nil {
				return Stats{}, fmt.Errorf("step %d, minibatch %d of %d: %w", in.Step, at+1, steps, err)
			}
			collected.add(stats, rates)
			progress("update", at+1, steps)
		}
	}
	return collected.stats(), nil
}

// minibatchesOf is the number of minibatches of one epoch; the last one may be smaller.
func minibatchesOf(episodes, size int) int { return (episodes + size - 1) / size }

// pick returns the rows named by the first count of order.
func pick(rows []experience.Row, order []int, count int) []experience.Row {
	picked := make([]experience.Row, 0, count)
	for _, i := range order[:min(count, len(order))] {
		picked = append(picked, rows[i])
	}
	return picked
}
