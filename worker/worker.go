// Package worker is the composition root: it connects clients, store, engine and task queues into a process that runs
// workflows and activities.
package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"go.temporal.io/sdk/client"
	sdkworker "go.temporal.io/sdk/worker"

	"multiattempt/activities"
	"multiattempt/config"
	"multiattempt/internal/blob"
	"multiattempt/internal/engine"
	"multiattempt/internal/reward/endpoint"
	"multiattempt/internal/telemetry"
	"multiattempt/presets"
	"multiattempt/workflows"
)

const (
	// heartbeatThrottle is the most that the SDK delays a heartbeat: well below the time-outs of activities.
	heartbeatThrottle = 2 * time.Second
	// deadlockAfter is how long a workflow may compute without yielding: generous, because training in the same process
	// takes every processor it can get.
	deadlockAfter = 20 * time.Second
	// ownConcurrency bounds the activities that wait, each in its slot, for this learner's device.
	ownConcurrency = 16
	// recentBytes holds an iteration of a laptop's size; what does not fit is read from the store.
	recentBytes = 64 << 20
)

// Run connects to the services that cfg names and works until ctx ends or the connection is lost for good. Then it takes
// no more work, gives running activities cfg.Worker.StopTimeout to finish, and frees the device.
func Run(ctx context.Context, cfg config.Config, log *slog.Logger, options ...Option) (err error) {
	offers := offer{rewards: map[string]RewardSource{}}
	for _, o := range options {
		o(&offers)
	}
	place, err := claim(cfg.CacheDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, place.release()) }()
	seen, err := observe(ctx, cfg, place.name, log)
	if err != nil {
		return err
	}
	defer seen.close()
	temporal, err := DialTemporal(ctx, cfg.Temporal, log, seen.client, place.known)
	if err != nil {
		return err
	}
	defer temporal.Close()
	store, err := OpenStore(ctx, cfg.Store)
	if err != nil {
		return err
	}
	if err := ensureSearchAttributes(ctx, temporal, cfg.Temporal.Namespace); err != nil {
		return err
	}
	return serve(ctx, cfg, log, temporal, seen.watch(store, cfg.Tracking), place, offers)
}

// serve works on the queues until ctx ends.
func serve(ctx context.Context, cfg config.Config, log *slog.Logger, temporal client.Client, store blob.Store, place *place, offers offer) (err error) {
	var backend *engine.Backend // nil: this process computes nothing
	if cfg.Worker.Has(config.RoleRollout) || cfg.Worker.Has(config.RoleLearner) {
		if backend, err = engine.Open(cfg.Backend.Choice); err != nil {
			return err
		}
		defer func() {
			if !errors.Is(err, activities.ErrBusy) {
				backend.Close()
			}
		}()
		if note := backend.Note(); note != "" {
			log.Warn("pure-Go backend", "note", note)
		}
	}
	queues := queuesOf(cfg.Temporal.Queue, place.name, cfg.Worker)
	set, err := compose(cfg, log, store, backend, place.dir, queues.own)
	if err != nil {
		return err
	}
	if set.Data != nil {
		for name, source := range offers.rewards {
			activities.OfferReward(set.Data, name, source)
		}
	}
	if err := place.announce(cfg.Temporal, queues); err != nil {
		return err
	}
	log.Info("worker starts", telemetry.AttrWorker, place.name, telemetry.AttrQueue, cfg.Temporal.Queue, "roles", cfg.Worker.Roles)
	sayVersion(cfg.Worker, cfg.Temporal.Namespace, log)
	err = work(ctx, cfg.Worker, temporal, queues, set)
	return errors.Join(err, set.Close())
}

// compose makes the activities of the process's roles.
func compose(cfg config.Config, log *slog.Logger, store blob.Store, backend *engine.Backend, dir, own string) (activities.Set, error) {
	store, e := instrument(store, newDevice(backend, log, cfg.Worker))
	models, err := activities.NewModels(store, filepath.Join(dir, "models"))
	if err != nil {
		return activities.Set{}, err
	}
	var set activities.Set
	if cfg.Worker.Has(config.RoleControl) {
		named := activities.Presets{Train: presets.Train(), Finetune: presets.Finetune(), Model: presets.Model}
		set.Data = activities.NewData(store, e, models, named, Sources(cfg), cfg.DataDir)
		endpoints := endpoint.Connection{SecretsDir: cfg.Rewards.SecretsDir}
		if cfg.Rewards.CAFile != "" {
			if endpoints.Authorities, err = authorities("rewards.ca_file", cfg.Rewards.CAFile); err != nil {
				return activities.Set{}, err
			}
		}
		activities.ReachEndpoints(set.Data, endpoints)
	}
	if cfg.Worker.Has(config.RoleRollout) {
		set.Rollouts = activities.NewRollouts(store, e, models)
	}
	if cfg.Worker.Has(config.RoleLearner) {
		if set.Learner, err = activities.NewLearner(store, e, models, own, filepath.Join(dir, "learner")); err != nil {
			return activities.Set{}, err
		}
	}
	set.Share(activities.NewRecent(recentBytes))
	return set, nil
}

// queues are the task queues of one process; those of roles that it does not have are empty.
type queues struct{ control, rollout, learner, own string }

func queuesOf(base, worker string, w config.Worker) (q queues) {
	if w.Has(config.RoleControl) {
		q.control = base
	}
	if w.Has(config.RoleRollout) {
		q.rollout = telemetry.RolloutQueue(base)
	}
	if w.Has(config.RoleLearner) {
		q.learner = telemetry.LearnerQueue(base)
		q.own = telemetry.OwnLearnerQueue(q.learner, worker)
	}
	return q
}

// polled lists the queues on which activities are taken.
func (q queues) polled() (all []string) {
	for _, name := range []string{q.control, q.rollout, q.learner, q.own} {
		if name != "" {
			all = append(all, name)
		}
	}
	return all
}

// work polls the queues of what set offers until ctx ends or one of the pollers cannot go on.
func work(ctx context.Context, limits config.Worker, temporal client.Client, q queues, set activities.Set) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var started []sdkworker.Worker
	var err error
	for _, w := range pollers(limits, temporal, q, set, fail) {
		if err = w.Start(); err != nil {
			err = fmt.Errorf("start worker: %w", err)
			break
		}
		started = append(started, w)
	}
	if err == nil {
		<-ctx.Done()
		if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
			err = cause
		}
	}
	stop(started)
	return err
}

// pollers returns one worker of the SDK a queue.
func pollers(limits config.Worker, temporal client.Client, q queues, set activities.Set, fail context.CancelCauseFunc) (all []sdkworker.Worker) {
	version := versioned(limits)
	poll := func(queue string, places sdkworker.SlotSupplier, offer activities.Set) sdkworker.Worker {
		w := sdkworker.New(temporal, queue, sdkworker.Options{
			DeploymentOptions:            version,
			WorkerStopTimeout:            limits.StopTimeout,
			MaxHeartbeatThrottleInterval: heartbeatThrottle,
			DeadlockDetectionTimeout:     deadlockAfter,
			Tuner:                        tuner(places),
			DisableWorkflowWorker:        offer.Data == nil,
			Interceptors:                 interceptors(),
			OnFatalError:                 func(err error) { fail(fmt.Errorf("worker: %w", err)) },
		})
		offer.Register(w)
		all = append(all, w)
		return w
	}
	if set.Data != nil {
		workflows.Register(poll(q.control, nil, activities.Set{Data: set.Data}))
	}
	if set.Rollouts != nil {
		places := newSlots(limits.RolloutConcurrency)
		activities.WhenSampled(set.Rollouts, places.sampled)
		poll(q.rollout, places, activities.Set{Rollouts: set.Rollouts})
	}
	if set.Learner != nil {
		poll(q.learner, fixed(1), activities.Set{Learner: set.Learner})
		// A queue of this process alone needs no version, and a deployment's version may have only so many queues.
		version = sdkworker.DeploymentOptions{}
		poll(q.own, fixed(ownConcurrency), activities.Set{Learner: set.Learner})
	}
	return all
}

// stop ends all pollers at the same time, so that they share one stop time-out.
func stop(workers []sdkworker.Worker) {
	var done sync.WaitGroup
	for _, w := range workers {
		done.Go(w.Stop)
	}
	done.Wait()
}
