package stack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"
)

const (
	loopback = "127.0.0.1"
	// startTimeout bounds the time each service takes to answer; half a second is usual.
	startTimeout = 60 * time.Second
	// retention of closed workflows. Checkpoints and results stay in the object store for ever.
	retention = 30 * 24 * time.Hour
)

// running guards the one stack of a process: versitygw keeps its state in package variables and the working directory.
var running atomic.Bool

// Options say where the services keep their state and where they listen.
type Options struct {
	DataDir      string // absolute; locked for this process while the stack runs
	TemporalPort int    // gRPC frontend; 0: any free port
	UIPort       int    // Temporal UI; 0: any free port
	S3Port       int    // object store; 0: any free port
	Namespace    string // created if absent, with our search attributes
	Bucket       string // created if absent
	NoTemporal   bool   // start neither Temporal nor its UI
	NoStore      bool   // start no object store
}

// Stack is a running set of services.
type Stack struct {
	TemporalAddress string // host:port
	UIURL           string // http://host:port
	S3Endpoint      string // host:port, plain HTTP
	AccessKey       string
	SecretKey       string
	Stop            func() error // after workers stopped and clients closed
}

// Start runs the services and returns when all of them answer. ctx bounds the start only. The working directory of the
// process moves into the data directory and must not be changed afterwards.
//
// Errors: ErrInUse, ErrPortTaken, ErrNoSpace, ErrNoXattr, ErrForeignData, each in a sentence that says what to do.
func Start(ctx context.Context, o Options) (_ *Stack, err error) {
	if !filepath.IsAbs(o.DataDir) {
		return nil, fmt.Errorf("data directory %q is not absolute", o.DataDir)
	}
	if !running.CompareAndSwap(false, true) {
		return nil, fmt.Errorf("%w: this process runs a stack already", ErrInUse)
	}
	var started closers
	started.add(func() error { running.Store(false); return nil })
	defer func() {
		if err != nil {
			err = errors.Join(err, started.close())
		}
	}()
	if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := checkSpace(o.DataDir); err != nil {
		return nil, err
	}
	lock, err := acquire(o.DataDir)
	if err != nil {
		return nil, err
	}
	started.add(lock.Unlock)
	ports, err := choosePorts(o)
	if err != nil {
		return nil, err
	}
	keys, err := loadCredentials(filepath.Join(o.DataDir, "credentials.json"))
	if err != nil {
		return nil, err
	}

	s := &Stack{}
	if !o.NoStore {
		objects, err := startObjects(ctx, filepath.Join(o.DataDir, "objects"), ports.s3, keys)
		if err != nil {
			return nil, err
		}
		started.add(objects.stop)
		if err := createBucket(ctx, objects.endpoint, o.Bucket, keys); err != nil {
			return nil, err
		}
		s.S3Endpoint, s.AccessKey, s.SecretKey = objects.endpoint, keys.AccessKey, keys.SecretKey
	}
	if !o.NoTemporal {
		server, err := startTemporal(ctx, filepath.Join(o.DataDir, "temporal"), ports, o.Namespace, slog.Default())
		if err != nil {
			return nil, err
		}
		started.add(server.stop)
		ui, err := startUI(ctx, ports.ui, server.address, o.Namespace)
		if err != nil {
			return nil, err
		}
		started.add(ui.stop)
		s.TemporalAddress, s.UIURL = server.address, ui.url
	}
	s.Stop = started.close
	return s, nil
}

// closers undo what was started, the latest first.
type closers []func() error

func (c *closers) add(f func() error) { *c = append(*c, f) }

func (c *closers) close() error {
	var all error
	for _, f := range slices.Backward(*c) {
		all = errors.Join(all, f())
	}
	*c = nil
	return all
}

// eventually calls try until it succeeds, at short intervals, for as long as ctx and startTimeout allow and the service
// has not ended. What ended delivers stays there for the next receiver.
func eventually(ctx context.Context, what string, ended chan error, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not come up: %w (%w)", what, ctx.Err(), err)
		case err := <-ended:
			ended <- err
			return fmt.Errorf("%s ended: %w", what, err)
		case <-tick.C:
		}
	}
}
