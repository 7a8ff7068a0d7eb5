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
	"multiattempt/internal/telemetry"
	"multiattempt/presets"
	"multiattempt/workflows"
)

const (
	// heartbeatThrottle is the most that the SDK delays a heartbeat: well below the time-outs of activities.
	heartbeatThrottle = 5 * time.Second
	// deadlockAfter is how long a workflow may compute without yielding: generous, because training in the same process
	// takes every processor it can get.
	deadlockAfter = 20 * time.Second
	// ownConcurrency bounds the activities that wait, each in its slot, for this learner's device.
	ownConcurrency = 16
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
func serve(ctx context.Context, cfg config.Config, log *slog.Logger, temporal client.Client, store blob.Store, place *place, offers offer) error {
	backend, err := engine.Open(cfg.Backend.Choice)
	if err != nil {
		return err
	}
	defer backend.Close()
	queues := queuesOf(cfg.Temporal.Queue, place.name)
	set, err := compose(cfg, log, store, backend, place.dir, queues.own)
	if err != nil {
		return err
	}
	for name, source := range offers.rewards {
		activities.OfferReward(set.Data, name, source)
	}
	if note := backend.Note(); note != "" {
		log.Warn("pure-Go backend", "note", note)
	}
	if err := place.announce(cfg.Temporal, queues); err != nil {
		return err
	}
	log.Info("worker starts", telemetry.AttrWorker, place.name, telemetry.AttrQueue, cfg.Temporal.Queue, telemetry.AttrBackend, backend.Describe())
	return errors.Join(work(ctx, cfg.Worker, temporal, queues, set), set.Close())
}

// compose makes the activities of one process.
func compose(cfg config.Config, log *slog.Logger, store blob.Store, backend *engine.Backend, dir, own string) (activities.Set, error) {
	models, err := activities.NewModels(store, filepath.Join(dir, "models"))
	if err != nil {
		return activities.Set{}, err
	}
	e := device{backend, log}
	learner, err := activities.NewLearner(store, e, models, own, filepath.Join(dir, "learner"))
	if err != nil {
		return activities.Set{}, err
	}
	named := activities.Presets{Train: presets.Train(), Finetune: presets.Finetune(), Model: presets.Model}
	return activities.Set{
		Data:     activities.NewData(store, e, models, named, Sources(cfg), cfg.DataDir),
		Rollouts: activities.NewRollouts(store, e, models),
		Learner:  learner,
	}, nil
}

// queues are the task queues of one process.
type queues struct{ control, rollout, learner, own string }

func queuesOf(base, worker string) queues {
	q := queues{control: base, rollout: telemetry.RolloutQueue(base), learner: telemetry.LearnerQueue(base)}
	q.own = telemetry.OwnLearnerQueue(q.learner, worker)
	return q
}

// work polls every queue until ctx ends or one of the pollers cannot go on.
func work(ctx context.Context, limits config.Worker, temporal client.Client, q queues, set activities.Set) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	options := sdkworker.Options{
		WorkerStopTimeout:            limits.StopTimeout,
		MaxHeartbeatThrottleInterval: heartbeatThrottle,
		DeadlockDetectionTimeout:     deadlockAfter,
		OnFatalError:                 func(err error) { fail(fmt.Errorf("worker: %w", err)) },
	}
	control := sdkworker.New(temporal, q.control, options)
	workflows.Register(control)
	activities.Set{Data: set.Data}.Register(control)

	options.DisableWorkflowWorker = true
	options.MaxConcurrentActivityExecutionSize = limits.RolloutConcurrency
	rollout := sdkworker.New(temporal, q.rollout, options)
	activities.Set{Rollouts: set.Rollouts}.Register(rollout)

	options.MaxConcurrentActivityExecutionSize = 1
	learner := sdkworker.New(temporal, q.learner, options)
	activities.Set{Learner: set.Learner}.Register(learner)

	options.MaxConcurrentActivityExecutionSize = ownConcurrency
	own := sdkworker.New(temporal, q.own, options)
	activities.Set{Learner: set.Learner}.Register(own)

	var started []sdkworker.Worker
	var err error
	for _, w := range []sdkworker.Worker{control, rollout, learner, own} {
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

// stop ends all pollers at the same time, so that they share one stop time-out.
func stop(workers []sdkworker.Worker) {
	var done sync.WaitGroup
	for _, w := range workers {
		done.Go(w.Stop)
	}
	done.Wait()
}
