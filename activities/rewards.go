package activities

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"multiattempt/internal/reward"
	"multiattempt/internal/reward/endpoint"
	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
)

// OfferReward makes a reward that this program was built with known as go:NAME. It is called before the first activity. (Not
// a method: those of Data are activities.)
func OfferReward(d *Data, name string, s reward.Source) {
	if d.rewardSources == nil {
		d.rewardSources = map[string]reward.Source{}
	}
	d.rewardSources[name] = s
}

// ReachEndpoints says how this process reaches HTTP endpoints of rewards. It is called before the first activity.
func ReachEndpoints(d *Data, c endpoint.Connection) { d.endpoints = c }

// checkSource refuses a reward that this program was not built with, or whose endpoint's secret is not here.
func (d *Data) checkSource(r spec.Reward) error {
	if _, err := d.endpoints.Secret(r); err != nil {
		return &spec.InvalidError{What: "run", Fields: []spec.FieldError{{Path: "reward.secret", Allowed: err.Error()}}}
	}
	name, compiled := strings.CutPrefix(r.Source, spec.RewardGo)
	if !compiled || d.rewardSources[name] != nil {
		return nil
	}
	allowed := "this program was built without rewards of its own"
	if len(d.rewardSources) > 0 {
		allowed = "one of " + spec.RewardGo + strings.Join(slices.Sorted(maps.Keys(d.rewardSources)), ", "+spec.RewardGo)
	}
	return &spec.InvalidError{What: "run", Fields: []spec.FieldError{{Path: "reward.source", Value: r.Source, Allowed: allowed}}}
}

// rewards asks the run's source what episodes earned.
func (d *Data) rewards(ctx context.Context, run spec.Run, in RewardInput, episodes []rollout.Episode, pulse *pulse) ([]reward.Earned, error) {
	batch := reward.Batch{Run: in.Run, Step: in.Step, Episodes: episodes}
	if run.Reward.Endpoint() {
		source, err := endpoint.New(run.Reward, d.endpoints)
		if err != nil { // another worker of the queue may have it
			return nil, fmt.Errorf("%w: %w", reward.ErrSource, err)
		}
		defer source.Close()
		source.Progress = pulse.counter("rewards", len(episodes))
		return reward.Ask(ctx, source, batch, run.Reward, run.Advantage.Credit)
	}
	name, compiled := strings.CutPrefix(run.Reward.Source, spec.RewardGo)
	if !compiled {
		return reward.All(episodes, run.Reward), nil
	}
	source := d.rewardSources[name]
	if source == nil { // another worker of the queue may have it
		return nil, fmt.Errorf("%w: this worker was built without %s", reward.ErrSource, run.Reward.Source)
	}
	batch.Episodes = rollout.Clone(episodes) // the update learns from the others, whatever is done to these
	return reward.Ask(ctx, source, batch, run.Reward, run.Advantage.Credit)
}
