package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"

	"multiattempt/internal/checkpoint"
	"multiattempt/internal/spec"
	"multiattempt/presets"
	"multiattempt/workflows"
)

func (a *app) newTrain() *cobra.Command {
	var id string
	var again, overwrite, follow, dry, asJSON bool
	var p ports
	var v variants
	var dialogues int
	cmd := &cobra.Command{
		Use:   "train",
		Short: "Start a training run, or go on with it",
		Long: `Checks the settings, starts the workflow, and returns; --follow stays and shows its progress. Where no services run yet
and this binary has them inside, it starts them from --state-dir for the time of the run.

A run's id is PRESET-seedSEED unless --run names another. A run that was interrupted goes on when the same command is given
again. One that has ended is not started again unless --continue says so; it then goes on from its newest checkpoint. Only
--overwrite starts a run over: it deletes everything that the run has in the store.

--seeds and --arms make an experiment of it: a run of every arm with every seed, under one parent workflow, compared at the
end. Its id is the preset's name unless --run names another; its runs are EXPERIMENT-ARM-seedSEED.

--dry-run starts nothing: it prints the resolved settings and what the run will cost.`,
		Example: `  multiattempt train --preset quickstart --seed 2 --follow
  multiattempt train --preset gsm8k-smollm2 --data-dir ~/data
  multiattempt train -f run.yaml --set attempts.max=3 --run three-attempts
  multiattempt train --preset quickstart --seeds 1,2,3 --arms multi,single --follow
  multiattempt train --preset paper --dry-run`,
		Args: cobra.NoArgs,
	}
	s := addSettings(cmd)
	cmd.Flags().StringVar(&id, "run", "", "the run's id (default PRESET-seedSEED)")
	cmd.Flags().BoolVar(&again, "continue", false, "let a run that has ended go on from its newest checkpoint")
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "delete what the run has in the store and start over")
	cmd.MarkFlagsMutuallyExclusive("continue", "overwrite")
	cmd.Flags().BoolVar(&follow, "follow", false, "show progress until the run ends")
	addDialogues(cmd, &dialogues)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "start nothing; print settings, steps, tokens, memory, storage and expected time")
	cmd.Flags().BoolVar(&asJSON, "json", false, "with --dry-run, print one JSON value")
	addVariants(cmd, &v)
	addPorts(cmd, &p)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		doc, err := s.document(spec.Run{})
		if err != nil {
			return err
		}
		if asJSON && !dry {
			return usage("--json is for --dry-run; `multiattempt show RUN --json` shows a run")
		}
		if dry {
			return a.dryRun(cmd.Context(), doc, &v, cmd.Flags().Changed("parallel"), id, asJSON)
		}
		if v.used(doc) {
			if overwrite {
				return usage("--overwrite is for one run: `multiattempt train --run RUN --overwrite` with the settings of the experiment's run")
			}
			return a.runExperiment(cmd, doc, &v, id, again, follow, dialogues, p)
		}
		t, err := a.planTraining(doc, id)
		if err != nil {
			return err
		}
		t.again, t.overwrite, t.dialogues = again || overwrite, overwrite, dialogues
		return a.withServices(cmd.Context(), p, func(svc *services, local bool) error {
			return a.train(cmd.Context(), svc, t, follow || local)
		})
	}
	return cmd
}

// training is a run to start, its settings checked.
type training struct {
	id     string
	doc    []byte // settings as the workflow gets them
	run    spec.Run
	folder string // of the model on this machine, to be uploaded; empty: none
	again  bool
	// overwrite deletes what the run has in the store first.
	overwrite bool
	dialogues int // as for stage
}

// planTraining resolves and checks everything that can be checked before anything starts.
func (a *app) planTraining(doc []byte, id string) (training, error) {
	t, err := a.checkTraining(doc)
	if err != nil {
		return training{}, err
	}
	t.id = id
	if id == "" {
		t.id = defaultRunID(t.run.Preset, "train", t.run.Seed)
	}
	return t, spec.CheckRunID(t.id)
}

// checkTraining resolves a document and finds its files on this machine.
func (a *app) checkTraining(doc []byte) (training, error) {
	run, err := spec.Resolve(doc, presets.Train())
	if err != nil {
		return training{}, err
	}
	anchored, err := a.anchor(run)
	if err != nil {
		return training{}, err
	}
	if doc, err = spec.Override(doc, spec.Run{}, anchored); err != nil {
		return training{}, err
	}
	folder, err := a.modelFolder(run.Model.Source)
	return training{doc: doc, run: run, folder: folder}, err
}

// order is the workflow that runs the training, once its model is in the store.
func (t training) order() (order, error) {
	run, err := spec.Resolve(t.doc, presets.Train())
	if err != nil {
		return order{}, err
	}
	digest, err := run.Digest()
	if err != nil {
		return order{}, err
	}
	return order{
		id: t.id, kind: workflows.TrainName, input: input(t.doc), digest: digest, again: t.again, conflict: "choose another id with --run",
		ended:   ", or give --continue where its checkpoints have the settings asked for", // the attempt that failed may have had others
		summary: fmt.Sprintf("%d iterations on %s, %d–%d attempts", run.Iterations, run.Data.Train, run.Attempts.Min, run.Attempts.Max),
	}, nil
}

// train starts or finds the run and, when asked, follows it to its end.
func (a *app) train(ctx context.Context, s *services, t training, follow bool) error {
	var err error
	if t.doc, err = a.upload(ctx, s, t.doc, spec.Run{}, t.folder); err != nil {
		return err
	}
	o, err := t.order()
	if err != nil {
		return err
	}
	if t.overwrite {
		if err := a.erase(ctx, s, t.id); err != nil {
			return err
		}
	}
	return a.launch(ctx, s, o, follow, t.dialogues)
}

// launch starts or finds a training run and, when asked, follows it to its end.
func (a *app) launch(ctx context.Context, s *services, o order, follow bool, dialogues int) error {
	st, err := s.start(ctx, o)
	if err != nil {
		return err
	}
	switch {
	case st.closed:
		return usage("run %s has ended; --continue lets it go on from its newest checkpoint, --overwrite starts it over, `multiattempt show %s` shows it", o.id, o.id)
	case st.found:
		a.notef("Run %s is under way already\n", o.id)
	default:
		a.notef("Started run %s\n", o.id)
	}
	if url := s.runURL(o.id); url != "" {
		a.notef("%s\n", url)
	}
	if !follow {
		a.printf("%s\n", o.id)
		return nil
	}
	var out workflows.TrainOutput
	if err := a.follow(ctx, s, stage{title: o.id, dialogues: dialogues}, st.run, workflows.TrainName, &out); err != nil {
		return goesOn(err, o.id)
	}
	return a.printOutcome(ctx, s, out)
}

// erase deletes what a run has in the store, so that it may start over. A run that is under way is refused.
func (a *app) erase(ctx context.Context, s *services, id string) error {
	d, err := s.temporal.DescribeWorkflowExecution(ctx, id, "")
	var notFound *serviceerror.NotFound
	switch {
	case errors.As(err, &notFound):
	case err != nil:
		return err
	case d.WorkflowExecutionInfo.Status == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING:
		return usage("run %s is under way: `multiattempt stop %s` or `multiattempt cancel %s` ends it first", id, id, id)
	}
	objects, err := checkpoint.Erase(ctx, s.store, id)
	if err != nil {
		return err
	}
	a.notef("Deleted what run %s had: %d objects\n", id, objects)
	return nil
}

// goesOn adds to an interruption how to return to the run.
func goesOn(err error, id string) error {
	if !errors.Is(err, errInterrupted) {
		return err
	}
	return fmt.Errorf("%w; nothing is lost: run %s goes on while services and a worker run, and the same command returns to it", err, id)
}

// printOutcome writes what a training came to.
func (a *app) printOutcome(ctx context.Context, s *services, out workflows.TrainOutput) error {
	a.printf("Run %s %s after step %d, mean reward %+.3f\n", out.Run, out.Phase, out.Step, out.RewardMean)
	if !out.LatestCheckpoint.IsZero() {
		a.printf("Checkpoint %s  sha256 %s\n", out.LatestCheckpoint.Key, out.LatestCheckpoint.SHA256)
	}
	if out.Evaluation == nil {
		return nil
	}
	return a.printScores(ctx, s, out.Evaluation.Result)
}

// withServices calls do with the services that the settings name or that run from the state directory; where there are
// none, with services and a worker that live in this process as long as do takes.
func (a *app) withServices(ctx context.Context, p ports, do func(s *services, local bool) error) error {
	s, err := a.connect(ctx)
	if err == nil {
		defer s.Close()
		return do(s, false)
	}
	if startStack == nil || a.cfg.Temporal.Address != "" || a.cfg.Store.Endpoint+a.cfg.Store.Dir != "" || !errors.Is(err, errServices) {
		return err
	}
	a.notef("No services run from %s: starting them in this process\n", a.cfg.StateDir)
	e, err := a.embed(ctx, p, everything)
	if err != nil {
		return err
	}
	a.notef("Temporal UI %s\n", e.stack.UIURL)
	return a.shutDown(e, do(e.services, true))
}
