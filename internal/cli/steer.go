package cli

import (
	"errors"
	"fmt"

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

// newSteering makes a command that sends an update without arguments and says where the run stands then.
func (a *app) newSteering(name, short, update string) *cobra.Command {
	return &cobra.Command{
		Use:     name + " RUN",
		Short:   short,
		Example: fmt.Sprintf("  multiattempt %s quickstart-seed1", name),
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			s, err := a.connect(ctx)
			if err != nil {
				return err
			}
			defer s.Close()
			info, err := s.describe(ctx, args[0])
			if err != nil {
				return err
			}
			if err := maySteer(args[0], info.Type.Name, update); err != nil {
				return err
			}
			handle, err := s.temporal.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
				WorkflowID: args[0], UpdateName: update, WaitForStage: client.WorkflowUpdateStageCompleted,
			})
			var notFound *serviceerror.NotFound
			if errors.As(err, &notFound) {
				return usage("run %s has ended", args[0])
			}
			if err != nil {
				return err
			}
			var st workflows.Status
			if err := handle.Get(ctx, &st); err != nil {
				return refusal(err)
			}
			a.printf("%s: %s, step %d%s\n", args[0], st.Phase, st.Step, intention(st))
			return nil
		},
	}
}

// maySteer refuses what a run of that kind does not know.
func maySteer(run, kind, update string) error {
	switch {
	case kind == workflows.EvaluateName:
		return usage("%s is an evaluation: it runs to its end and cannot be paused or stopped", run)
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
