package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"multiattempt/config"
	"multiattempt/worker"
)

// ports are where the embedded services listen on loopback; 0 takes any free port.
type ports struct{ temporal, ui, s3 int }

// parts are what of an installation runs in this process.
type parts struct{ temporal, store, worker bool }

// everything is a whole installation.
var everything = parts{temporal: true, store: true, worker: true}

// embedded are services and a worker that run in this process.
type embedded struct {
	*services                    // without Temporal, or nil, where a part of an installation knows no more
	stack     *Stack             //
	stop      context.CancelFunc // of the worker
	worker    chan error         // its end, once; nil without a worker
}

// embed starts the parts of the state directory's services, and a worker, in this process. log lines of both go to the
// app's log.
func (a *app) embed(ctx context.Context, p ports, run parts) (*embedded, error) {
	if startStack == nil {
		return nil, fmt.Errorf("%w: this build has no services inside; use the all-in-one binary (bin/multiattempt), or point --temporal and --s3 at running ones", errServices)
	}
	if err := os.MkdirAll(a.cfg.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("%w: %w", errServices, err)
	}
	stack, err := startStack(ctx, StackOptions{
		DataDir: a.cfg.StateDir, TemporalPort: p.temporal, UIPort: p.ui, S3Port: p.s3,
		Namespace: a.cfg.Temporal.Namespace, Bucket: a.cfg.Store.Bucket, NoTemporal: !run.temporal, NoStore: !run.store,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errServices, err)
	}
	e, err := a.join(ctx, stack, run)
	if err != nil {
		return nil, errors.Join(err, stack.Stop())
	}
	return e, nil
}

// join says where the started services are, connects to them and puts a worker beside them.
func (a *app) join(ctx context.Context, stack *Stack, run parts) (*embedded, error) {
	found := endpoints{
		Temporal: stack.TemporalAddress, Namespace: a.cfg.Temporal.Namespace, UI: stack.UIURL,
		S3: stack.S3Endpoint, Bucket: a.cfg.Store.Bucket, AccessKey: stack.AccessKey, SecretKey: stack.SecretKey,
	}
	if err := found.write(a.cfg.StateDir); err != nil {
		return nil, err
	}
	cfg := a.cfg
	if run.temporal {
		cfg.Temporal.Address = ""
	}
	if run.store {
		cfg.Store.Endpoint = ""
	}
	cfg = found.into(cfg)
	if !run.worker {
		s, err := a.reachable(ctx, cfg, found.UI)
		return &embedded{services: s, stack: stack}, err
	}
	s, err := dial(ctx, cfg, found.UI, a.log)
	if err != nil {
		return nil, err
	}
	// The worker outlives ctx: after a signal the command still stops its run in order.
	workerCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	e := &embedded{services: s, stack: stack, stop: stop, worker: make(chan error, 1)}
	go func() { e.worker <- worker.Run(workerCtx, cfg, a.log) }()
	return e, nil
}

// reachable are the services that a process without a worker shows pages of: both, the store alone, or nil.
func (a *app) reachable(ctx context.Context, cfg config.Config, ui string) (*services, error) {
	if cfg.Store.Endpoint == "" && cfg.Store.Dir == "" {
		return nil, nil
	}
	if cfg.Temporal.Address != "" {
		s, err := dial(ctx, cfg, ui, a.log)
		if err == nil || !errors.Is(err, errServices) {
			return s, err
		}
		a.notef("%v\n", err)
	}
	store, err := worker.OpenStore(ctx, cfg.Store)
	if err != nil {
		return nil, err
	}
	return &services{store: store, cfg: cfg}, nil
}

// Close stops the worker, the connections and the services, in this order.
func (e *embedded) Close() error {
	var err error
	if e.worker != nil {
		e.stop()
		if err = <-e.worker; errors.Is(err, context.Canceled) {
			err = nil // it was told to end before it had started
		}
	}
	if e.services != nil {
		e.services.Close()
	}
	return errors.Join(err, e.stack.Stop())
}

// shutDown ends what embed started, after work that ended with err, and says so when it was interrupted.
func (a *app) shutDown(e *embedded, err error) error {
	if errors.Is(err, errInterrupted) {
		a.sayStopping()
	}
	return errors.Join(err, e.Close())
}
