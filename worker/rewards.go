package worker

import (
	"multiattempt/internal/reward"
	"multiattempt/internal/rollout"
)

// The types of a reward written in Go, for programs of your own that run a worker with it.
type (
	// RewardSource computes what episodes earned; a run names it as reward.source go:NAME.
	RewardSource = reward.Source
	// RewardBatch are the episodes of one iteration.
	RewardBatch = reward.Batch
	// Earned is what an episode earned.
	Earned = reward.Earned
	// Episode is one whole dialogue.
	Episode = rollout.Episode
)

// Option changes what a worker offers.
type Option func(*offer)

// offer is what a worker offers beside what it always does.
type offer struct{ rewards map[string]RewardSource }

// WithReward makes a reward known as go:NAME. Every worker of a queue must be built with it.
func WithReward(name string, s RewardSource) Option {
	return func(o *offer) { o.rewards[name] = s }
}
