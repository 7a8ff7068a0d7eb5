package cli

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/spf13/cobra"

	"multiattempt/worker"
)

func (a *app) newUp() *cobra.Command {
	var p ports
	var only []string
	var webPort int
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run Temporal, its UI, the S3 store, pages and a worker in this process",
		Long: `Runs everything a training needs on this machine until Ctrl-C, on loopback only. State is kept in --state-dir, and runs
go on where they were when it is started again. Other commands given the same --state-dir find it by themselves.

--only temporal,store leaves the worker to processes of their own (multiattempt worker), which may then be stopped, moved
and multiplied while the services run. Pages are served in any case, of what this process knows: with --only store, runs as
the store has them; with --only temporal, and no store in the settings, none, which it says.`,
		Example: "  multiattempt up\n  multiattempt up --state-dir /var/lib/multiattempt --ui-port 8080\n  multiattempt up --only temporal,store",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			run, err := partsOf(only)
			if err != nil {
				return err
			}
			e, err := a.embed(cmd.Context(), p, run)
			if err != nil {
				return err
			}
			ctx, stop := context.WithCancel(cmd.Context())
			defer stop()
			shown, err := a.pagesOf(ctx, e, cmd, webPort, run)
			if err != nil {
				return errors.Join(err, e.Close())
			}
			if run.temporal {
				a.printf("Temporal     %s\nTemporal UI  %s\n", e.stack.TemporalAddress, e.stack.UIURL)
			}
			if run.store {
				a.printf("S3 store     %s, bucket %s\n", e.stack.S3Endpoint, a.cfg.Store.Bucket)
			}
			a.printf("State        %s\nReady. Ctrl-C stops; nothing is lost.\n", a.cfg.StateDir)
			err = a.untilStopped(cmd, e)
			stop()
			if shown != nil {
				err = errors.Join(err, <-shown.ended)
			}
			return err
		},
	}
	addPorts(cmd, &p)
	cmd.Flags().IntVar(&webPort, "web-port", 8234, "port of the pages, on loopback; 0 takes any free one (--web names another address)")
	cmd.Flags().StringSliceVar(&only, "only", []string{"temporal", "store", "worker"}, "what to run here; the rest is where the settings say")
	return cmd
}

// pagesOf serves the pages of an installation, or of a part of it. A part that was not told where leaves a taken port to
// whoever has it: another part on this machine, most likely.
func (a *app) pagesOf(ctx context.Context, e *embedded, cmd *cobra.Command, port int, run parts) (*pages, error) {
	if e.services == nil {
		a.printf("Pages        none: this process knows of no object store; store.endpoint (--s3) names one, and `multiattempt web` shows pages elsewhere\n")
		return nil, nil
	}
	address, chosen := a.cfg.Web.Listen, cmd.Flags().Changed("web")
	if cmd.Flags().Changed("web-port") {
		address, chosen = fmt.Sprintf("127.0.0.1:%d", port), true
	}
	shown, err := a.servePages(ctx, e.services, address)
	if err == nil {
		err = a.announce(shown.url)
	}
	if errors.Is(err, syscall.EADDRINUSE) && run != everything && !chosen {
		a.printf("Pages        none: %s is taken; --web-port names another port\n", address)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	without := ""
	if e.services.temporal == nil {
		without = "  (as the store has them: this process knows of no Temporal)"
	}
	a.printf("Pages        %s%s\n", shown.url, without)
	return shown, nil
}

// partsOf reads the names that --only lists.
func partsOf(names []string) (p parts, err error) {
	for _, name := range names {
		switch name {
		case "temporal":
			p.temporal = true
		case "store":
			p.store = true
		case "worker":
			p.worker = true
		default:
			return p, usage("--only %s: want some of temporal, store, worker", name)
		}
	}
	if p == (parts{}) {
		return p, usage("--only names nothing: want some of temporal, store, worker")
	}
	return p, nil
}

// addPorts registers the flags of the embedded services' ports, with the numbers that Temporal and S3 servers usually take.
func addPorts(cmd *cobra.Command, p *ports) {
	cmd.Flags().IntVar(&p.temporal, "temporal-port", 7233, "port of Temporal's frontend; 0 takes any free one")
	cmd.Flags().IntVar(&p.ui, "ui-port", 8233, "port of the Temporal UI; 0 takes any free one")
	cmd.Flags().IntVar(&p.s3, "s3-port", 9000, "port of the S3 store; 0 takes any free one")
}

// untilStopped waits for a signal, or for the worker to end by itself, and stops everything.
func (a *app) untilStopped(cmd *cobra.Command, e *embedded) error {
	select {
	case <-cmd.Context().Done():
		a.sayStopping()
		return e.Close()
	case err := <-e.worker:
		if err == nil {
			err = errors.New("it ended without being asked to")
		}
		e.worker <- nil // Close waits for it
		return errors.Join(fmt.Errorf("worker: %w", err), e.Close())
	}
}

// sayStopping tells whoever sent a signal what it does, and what another one does.
func (a *app) sayStopping() {
	a.notef("Stopping: running activities may finish within %s; a second Ctrl-C stops at once.\n", a.cfg.Worker.StopTimeout)
}

func (a *app) newWorker() *cobra.Command {
	return &cobra.Command{
		Use:   "worker",
		Short: "Execute workflows and activities for a Temporal service that runs elsewhere",
		Long: `Polls the task queues of workflows, sampling and training until Ctrl-C or SIGTERM, which lets running activities finish
within worker.stop_timeout. Any number of workers may run.

With --deployment and --build-id it is a version of a Temporal Worker Deployment: runs end on the version that they began with,
and new ones begin on the current version, which the temporal command sets.`,
		Example: "  multiattempt worker --temporal temporal.example:7233 --s3 s3.example:9000\n  multiattempt worker --deployment multiattempt --build-id v1.2.3",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			s.Close() // proven reachable; the worker makes its own connections
			a.notef("Worker on task queue %s of %s. Ctrl-C stops it in order.\n", s.cfg.Temporal.Queue, s.cfg.Temporal.Address)
			defer context.AfterFunc(cmd.Context(), a.sayStopping)()
			return worker.Run(cmd.Context(), s.cfg, a.log)
		},
	}
}
