package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"multiattempt/workflows"
)

func (a *app) newPause() *cobra.Command {
	return a.newSteering("pause", "Hold a run after the iteration that is under way", workflows.UpdatePause)
}

func (a *app) newResume() *cobra.Command {
	return a.newSteering("resume", "Let a paused run go on", workflows.UpdateResume)
}

func (a *app) newStop() *cobra.Command {
	return a.newSteering("stop", "End a run after the iteration that is under way, with a checkpoint", workflows.UpdateStop)
}

func (a *app) newCheckpointNow() *cobra.Command {
	return a.newSteering("checkpoint", "Keep a checkpoint after the iteration that is under way, and wait for it", workflows.UpdateCheckpointNow)
}

func (a *app) newEvaluateNow() *cobra.Command {
	return a.newSteering("evaluate-now", "Evaluate after the iteration that is under way, and wait for the scores", workflows.UpdateEvaluateNow)
}

// newSteering makes a command that sends an update without arguments and says where the run stands then.
func (a *app) newSteering(name, short, update string) *cobra.Command {
	return &cobra.Command{
		Use:     name + " RUN",
		Short:   short,
		Example: fmt.Sprintf("  multiattempt %s quickstart-seed1", name),
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer s.Close()
			return a.steer(cmd.Context(), s, args[0], update)
		},
	}
}

// steer sends an update to a run, waits for the answer and prints where the run stands then.
func (a *app) steer(ctx context.Context, s *services, run, update string, args ...any) error {
	info, err := s.describe(ctx, run)
	if err != nil {
		return err
	}
	if err := maySteer(run, info.Type.Name, update); err != nil {
		return err
	}
	answered := a.waitAloud(ctx, s, run)
	defer answered()
	handle, err := s.temporal.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: run, UpdateName: update, Args: args, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	var notFound *serviceerror.NotFound
	if errors.As(err, &notFound) {
		return usage("run %s has ended", run)
	}
	if err != nil {
		return err
	}
	var st workflows.Status
	if err := handle.Get(ctx, &st); err != nil {
		return refusal(err)
	}
	answered()
	a.printf("%s: %s, step %d%s\n", run, st.Phase, st.Step, intention(st))
	switch update {
	case workflows.UpdateCheckpointNow:
		a.printf("Checkpoint %s  sha256 %s\n", st.LatestCheckpoint.Key, st.LatestCheckpoint.SHA256)
	case workflows.UpdateEvaluateNow:
		if st.Evaluation != nil {
			return a.printScores(ctx, s, st.Evaluation.Result)
		}
	}
	return nil
}

// waitAloud says, should no worker be there to answer for a run, that this is what the command waits for; until answered is
// called, any number of times.
func (a *app) waitAloud(ctx context.Context, s *services, run string) (answered func()) {
	ctx, cancel := context.WithCancel(ctx)
	told := make(chan struct{})
	go func() {
		defer close(told)
		select {
		case <-ctx.Done():
			return
		case <-time.After(queryTimeout):
		}
		var st map[string]any
		if err := s.status(ctx, run, &st); errors.Is(err, errNoAnswer) {
			a.notef("Waiting: %v. Ctrl-C ends the wait.\n", err)
		}
	}()
	return func() {
		cancel()
		<-told
	}
}

func (a *app) newSet() *cobra.Command {
	return &cobra.Command{
		Use:   "set RUN NAME=VALUE…",
		Short: "Change a running run's learning rates or how often it keeps a checkpoint",
		Long: `policy_lr and critic_lr are the peak learning rates from the next iteration on; warm-up and decay still scale them.
checkpoint_every is the number of iterations between two checkpoints from now on. Everything else is fixed when a run starts:
multiattempt fork starts another run from a checkpoint with changed settings.`,
		Example: "  multiattempt set quickstart-seed1 policy_lr=2e-4\n  multiattempt set quickstart-seed1 checkpoint_every=5",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			rates, every, err := parseChanges(args[1:])
			if err != nil {
				return err
			}
			s, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer s.Close()
			if rates != (workflows.SetLearningRate{}) {
				if err := a.steer(cmd.Context(), s, args[0], workflows.UpdateSetLearningRate, rates); err != nil {
					return err
				}
			}
			if every.Every == 0 {
				return nil
			}
			return a.steer(cmd.Context(), s, args[0], workflows.UpdateSetCheckpointEvery, every)
		},
	}
}

// parseChanges reads the assignments of the set command.
func parseChanges(assignments []string) (rates workflows.SetLearningRate, every workflows.SetCheckpointEvery, err error) {
	for _, assignment := range assignments {
		name, text, _ := strings.Cut(assignment, "=")
		switch name {
		case "policy_lr", "critic_lr":
			rate, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return rates, every, usage("%s: want a number, as in %s=1e-4", assignment, name)
			}
			if name == "policy_lr" {
				rates.PolicyLR = &rate
			} else {
				rates.CriticLR = &rate
			}
		case "checkpoint_every":
			if every.Every, err = strconv.Atoi(text); err != nil || every.Every < 1 {
				return rates, every, usage("%s: want a whole number above 0, as in checkpoint_every=5", assignment)
			}
		default:
			return rates, every, usage("%s: want policy_lr, critic_lr or checkpoint_every, as in policy_lr=1e-4", assignment)
		}
	}
	return rates, every, nil
}

func (a *app) newCancel() *cobra.Command {
	return &cobra.Command{
		Use:   "cancel RUN",
		Short: "End a run at once; of the iteration under way nothing is kept, of those before a checkpoint",
		Long: `Asks the run to end, and waits until it has. A training run leaves a checkpoint of its last whole iteration, from which
multiattempt train --continue goes on. stop does the same but finishes the iteration first.`,
		Example: "  multiattempt cancel quickstart-seed1",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			s, err := a.connect(ctx)
			if err != nil {
				return err
			}
			defer s.Close()
			if _, err := s.describe(ctx, args[0]); err != nil {
				return err
			}
			err = s.temporal.CancelWorkflow(ctx, args[0], "")
			var notFound *serviceerror.NotFound
			if errors.As(err, &notFound) {
				return usage("run %s has ended", args[0])
			}
			if err != nil {
				return err
			}
			answered := a.waitAloud(ctx, s, args[0])
			err = s.temporal.GetWorkflow(ctx, args[0], "").Get(ctx, nil)
			answered()
			if err != nil && !temporal.IsCanceledError(err) {
				return outcome(err)
			}
			a.printf("%s: cancelled\n", args[0])
			return nil
		},
	}
}

// maySteer refuses what a run of that kind does not know.
func maySteer(run, kind, update string) error {
	switch {
	case kind == workflows.EvaluateName:
		return usage("%s is an evaluation: it runs to its end and cannot be paused or stopped", run)
	case kind == workflows.ExperimentName:
		return usage("%s is an experiment: steer its runs, which `multiattempt show %s` lists", run, run)
	case kind == workflows.FinetuneName && update != workflows.UpdateStop:
		return usage("%s is a fine-tuning, which can be stopped and go on, not paused: `multiattempt stop %s`, later the same `multiattempt finetune` with --continue", run, run)
	default:
		return nil
	}
}

// refusal turns an update that the run's validator refused into the user's mistake.
func refusal(err error) error {
	if cause, ok := errors.AsType[*temporal.ApplicationError](err); ok {
		return usage("%s", cause.Message())
	}
	return err
}

// intention says what a run will do after the iteration under way.
func intention(st workflows.Status) string {
	switch {
	case st.Stopping && st.Phase != workflows.PhaseStopped:
		return "; stops after the iteration under way"
	case st.Paused && st.Phase != workflows.PhasePaused:
		return "; pauses after the iteration under way"
	default:
		return ""
	}
}
