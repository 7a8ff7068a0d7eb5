package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"multiattempt/worker"
)

func (a *app) newUp() *cobra.Command {
	var p ports
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run Temporal, its UI, the S3 store and a worker in this process",
		Long: `Runs everything a training needs on this machine until Ctrl-C, on loopback only. State is kept in --state-dir, and runs
go on where they were when it is started again. Other commands given the same --state-dir find it by themselves.`,
		Example: "  multiattempt up\n  multiattempt up --state-dir /var/lib/multiattempt --ui-port 8080",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			e, err := a.embed(cmd.Context(), p)
			if err != nil {
				return err
			}
			a.printf("Temporal     %s\nTemporal UI  %s\nS3 store     %s, bucket %s\nState        %s\nReady. Ctrl-C stops; nothing is lost.\n",
				e.stack.TemporalAddress, e.stack.UIURL, e.stack.S3Endpoint, e.cfg.Store.Bucket, a.cfg.StateDir)
			return a.untilStopped(cmd, e)
		},
	}
	addPorts(cmd, &p)
	return cmd
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
		a.notef("Stopping: running activities may finish within %s; a second Ctrl-C stops at once.\n", a.cfg.Worker.StopTimeout)
		return e.Close()
	case err := <-e.worker:
		if err == nil {
			err = errors.New("it ended without being asked to")
		}
		e.worker <- nil // Close waits for it
		return errors.Join(fmt.Errorf("worker: %w", err), e.Close())
	}
}

func (a *app) newWorker() *cobra.Command {
	return &cobra.Command{
		Use:   "worker",
		Short: "Execute workflows and activities for a Temporal service that runs elsewhere",
		Long: `Polls the task queues of workflows, sampling and training until Ctrl-C or SIGTERM, which lets running activities finish
within worker.stop_timeout. Any number of workers may run.`,
		Example: "  multiattempt worker --temporal temporal.example:7233 --s3 s3.example:9000",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			s.Close() // proven reachable; the worker makes its own connections
			a.notef("Worker on task queue %s of %s. Ctrl-C stops it in order.\n", s.cfg.Temporal.Queue, s.cfg.Temporal.Address)
			return worker.Run(cmd.Context(), s.cfg, a.log)
		},
	}
}
