package cli

import (
	"time"

	"github.com/spf13/cobra"

	"multiattempt/worker"
)

func (a *app) newHealth() *cobra.Command {
	return &cobra.Command{
		Use:   "health",
		Short: "Prove that the workers of this machine poll their task queues",
		Long: `Asks Temporal when the workers that run from --cache-dir last polled each of their task queues. It fails when one is
silent for two minutes and no heartbeat says that it is busy, or when no worker runs: a health check of containers.`,
		Example: "  multiattempt health",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer s.Close()
			workers, err := worker.CheckHealth(cmd.Context(), s.cfg.CacheDir, s.temporal)
			for _, w := range workers {
				for _, q := range w.Queues {
					if q.Busy {
						a.printf("ok  %s  %s: every slot works\n", w.Worker, q.Queue)
						continue
					}
					a.printf("ok  %s  %s: polled %s ago\n", w.Worker, q.Queue, q.Polled.Round(time.Second))
				}
			}
			return err
		},
	}
}
