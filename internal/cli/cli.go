// Package cli is the command line of both binaries: start runs, watch and steer them, compare what they learned.
//
// Every command is one constructor in a file of its name. Commands return errors; Main alone prints one and turns it into
// an exit code.
package cli

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"multiattempt/config"
	"multiattempt/internal/printable"
	"multiattempt/internal/telemetry"
)

// app is one invocation of the command line.
type app struct {
	stdout, stderr io.Writer
	cfg            config.Config
	log            *slog.Logger
	connected      func(context.Context) (*services, error) // in place of connecting, in tests; nil: connect
	began          bool                                     // arguments and settings are fine: errors from here on are not about usage
}

// Main runs the command that args name and returns the process's exit code. SIGINT or SIGTERM ends it in order; a second
// one at once.
func Main(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	a := &app{stdout: stdout, stderr: newScreen(stderr)}
	root := a.newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err != nil && !a.began {
		err = usage("%w", err)
	}
	if err != nil {
		a.notef("multiattempt: %v\n", advise(err))
	}
	return exitCode(err)
}

const rootHelp = `multiattempt trains language models to learn from failures in multi-attempt dialogues, as durable Temporal workflows
with checkpoints in an S3 store.

Exit codes: 0 done · 1 the work failed · 2 wrong arguments, settings or data · 3 a service cannot be reached or started ·
4 interrupted, state kept · 130 or 143 ended at once by a second Ctrl-C or SIGTERM. A worker, up and web that a signal ends in
order give 0.`

func (a *app) newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "multiattempt",
		Short:         "Train language models to learn from failed attempts",
		Long:          rootHelp,
		Example:       "  multiattempt quickstart",
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Name() == cobra.ShellCompRequestCmd || cmd.Name() == cobra.ShellCompNoDescRequestCmd {
				return nil // what is completed needs no settings, or reads those of the line that is being written
			}
			cfg, err := config.Load(cmd.Flags())
			if err != nil {
				return err
			}
			log, err := telemetry.NewLogger(a.stderr, cfg.Log.Level, cfg.Log.Format)
			if err != nil {
				return err
			}
			a.cfg, a.log, a.began = cfg, log, true
			return nil
		},
	}
	config.AddFlags(root.PersistentFlags())
	for _, group := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"start", "Start:", []*cobra.Command{a.newQuickstart(), a.newUp(), a.newWorker(), a.newTrain(), a.newFork(), a.newFinetune(), a.newEval()}},
		{"models", "Models:", []*cobra.Command{a.newChat(), a.newGenerate(), a.newLogprobs(), a.newExport(), a.newModel()}},
		{"watch", "Watch and steer:", []*cobra.Command{a.newRuns(), a.newTop(), a.newWeb(), a.newShow(), a.newPause(), a.newResume(), a.newSet(), a.newCheckpointNow(), a.newEvaluateNow(), a.newStop(), a.newCancel(), a.newLog(), a.newCheckpoints(), a.newCompare(), a.newReport(), a.newExportMetrics()}},
		{"tools", "Tools:", []*cobra.Command{newGradeCommand(), a.newFsck(), a.newDoctor(), a.newHealth(), a.newCodec(), a.newVersion()}},
	} {
		root.AddGroup(&cobra.Group{ID: group.id, Title: group.title})
		for _, c := range group.commands {
			c.GroupID = group.id
			root.AddCommand(c)
		}
	}
	a.complete(root)
	return root
}

// printf writes a line's worth of result. Whoever wrote the arguments, they cannot move the terminal's cursor.
func (a *app) printf(format string, args ...any) { printable.Fprintf(a.stdout, format, args...) }

// notef writes what a person wants to know meanwhile, apart from the result.
func (a *app) notef(format string, args ...any) { printable.Fprintf(a.stderr, format, args...) }
