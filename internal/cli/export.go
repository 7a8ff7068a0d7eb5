package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"multiattempt/config"
	"multiattempt/internal/blob"
	"multiattempt/internal/track"
	"multiattempt/worker"
)

func (a *app) newExportMetrics() *cobra.Command {
	var csv, parquet string
	var to config.Tracking
	var p ports
	cmd := &cobra.Command{
		Use:   "export-metrics RUN…",
		Short: "Hand runs to TensorBoard or MLflow, or write their metrics as CSV or Parquet",
		Long: `Exports every number of every iteration and evaluation of training runs, their settings and sample dialogues. It reads
the object store only, so runs that ended or work elsewhere are exported, too; where no services run, it starts the store for
the time of the command. Repeating it adds what is new and nothing twice. A worker does the same while it trains where tracking.tensorboard or tracking.mlflow.url is set.

CSV and Parquet have one row a step and one column a number; - writes to standard output. MLflow's experiment, user and
password or token come from tracking.mlflow.* or MLflow's own environment variables.`,
		Example: `  multiattempt export-metrics quickstart-seed1 --csv -
  multiattempt export-metrics run-a run-b --tensorboard ./tb && tensorboard --logdir ./tb
  multiattempt export-metrics run-a --mlflow http://127.0.0.1:5000`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, runs []string) error {
			if csv == "" && parquet == "" && to.TensorBoard == "" && to.MLflow.URL == "" {
				return usage("say where to: --csv, --parquet, --tensorboard or --mlflow")
			}
			if err := absolute(&csv, &parquet, &to.TensorBoard); err != nil {
				return err
			}
			ctx := cmd.Context()
			return a.withStore(ctx, p, func(store blob.Store) error {
				if err := a.exportTables(ctx, store, runs, csv, parquet); err != nil {
					return err
				}
				return a.exportTo(ctx, store, runs, to)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&csv, "csv", "", "file to write, or -")
	f.StringVar(&parquet, "parquet", "", "file to write, or -")
	f.StringVar(&to.TensorBoard, "tensorboard", "", "directory of event files, one folder a run")
	f.StringVar(&to.MLflow.URL, "mlflow", "", "tracking server, http://host:port")
	addPorts(cmd, &p)
	return cmd
}

// withStore calls do with the store that the settings name or, where they name nothing, with that of the services that run from
// the state directory, else with one that lives in this process as long as do takes.
func (a *app) withStore(ctx context.Context, p ports, do func(s blob.Store) error) error {
	if startStack == nil || a.cfg.Temporal.Address+a.cfg.Store.Endpoint+a.cfg.Store.Dir != "" {
		store, err := a.openStore(ctx)
		if err != nil {
			return err
		}
		return do(store)
	}
	s, err := a.connect(ctx)
	if err == nil {
		defer s.Close()
		return do(s.store)
	}
	if !errors.Is(err, errServices) {
		return err
	}
	e, err := a.embed(ctx, p, parts{store: true})
	if err != nil {
		return err
	}
	return a.shutDown(e, do(e.store))
}

// exportTo brings trackers up to date.
func (a *app) exportTo(ctx context.Context, store blob.Store, runs []string, to config.Tracking) error {
	named := a.cfg.Tracking
	named.TensorBoard, named.MLflow.URL = to.TensorBoard, to.MLflow.URL
	for _, tracker := range worker.Trackers(named) {
		for _, run := range runs {
			if err := tracker.Sync(ctx, store, run); err != nil {
				return err
			}
			a.notef("%s: %s is up to date\n", tracker.Name(), run)
		}
	}
	return nil
}

// openStore connects to the store alone: where the settings say, or where the state directory's services have it.
func (a *app) openStore(ctx context.Context) (blob.Store, error) {
	found, err := readEndpoints(a.cfg.StateDir)
	if err != nil {
		return nil, err
	}
	cfg := found.into(a.cfg)
	if cfg.Store.Endpoint == "" && cfg.Store.Dir == "" {
		return nil, errors.Join(errServices, usage("store.endpoint names no store, and no services run from %s; %s", cfg.StateDir, howToGetServices()))
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return worker.OpenStore(ctx, cfg.Store)
}

// exportTables writes the files that are asked for, each whole or not at all.
func (a *app) exportTables(ctx context.Context, store blob.Store, runs []string, csv, parquet string) error {
	if csv == "" && parquet == "" {
		return nil
	}
	table, err := track.ReadTable(ctx, store, runs)
	if err != nil {
		return err
	}
	for file, write := range map[string]func(io.Writer) error{csv: table.WriteCSV, parquet: table.WriteParquet} {
		if file == "" {
			continue
		}
		var b bytes.Buffer
		if err := write(&b); err != nil {
			return err
		}
		if file == "-" {
			if _, err := a.stdout.Write(b.Bytes()); err != nil {
				return err
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := renameio.WriteFile(file, b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}
