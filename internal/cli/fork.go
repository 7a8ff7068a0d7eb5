package cli

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/internal/checkpoint"
	"multiattempt/internal/spec"
	"multiattempt/workflows"
)

func (a *app) newFork() *cobra.Command {
	var id string
	var set []string
	var follow bool
	var dialogues int
	var p ports
	cmd := &cobra.Command{
		Use:   "fork RUN@STEP",
		Short: "Start a new run from a checkpoint of another, with changed settings",
		Long: `The new run goes on after that step with the older one's weights, critic and optimiser state, and with its settings
where --set does not change them. Its first checkpoint is a copy that names its parent; the older run is not touched. Without
@STEP it starts from the latest checkpoint.`,
		Example: "  multiattempt fork quickstart-seed1@20 --run slower --set optimizer.policy_lr=2e-4",
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&id, "run", "", "the new run's id (default RUN-fork-STEP)")
	cmd.Flags().StringArrayVar(&set, "set", nil, "one setting, as in --set optimizer.policy_lr=1e-4; may be repeated")
	cmd.Flags().BoolVar(&follow, "follow", false, "show progress until the run ends")
	addDialogues(cmd, &dialogues)
	addPorts(cmd, &p)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		from, err := parseFork(args[0])
		if err != nil {
			return err
		}
		doc, err := spec.Override([]byte("{}"), spec.Run{}, set)
		if err != nil {
			return err
		}
		return a.withServices(cmd.Context(), p, func(s *services, local bool) error {
			if from.Step == 0 {
				latest, err := checkpoint.Resolve(cmd.Context(), s.store, from.Run, checkpoint.Latest)
				if err != nil {
					return usage("%w", err)
				}
				from.Step = latest.Checkpoint.Step
			} else if _, err := checkpoint.Find(cmd.Context(), s.store, from.Run, from.Step); err != nil {
				return usage("%w", err)
			}
			if id == "" {
				id = from.Run + "-fork-" + strconv.Itoa(from.Step)
			}
			if err := spec.CheckRunID(id); err != nil {
				return err
			}
			o, err := forkOrder(id, from, doc)
			if err != nil {
				return err
			}
			return a.launch(cmd.Context(), s, o, follow || local, dialogues)
		})
	}
	return cmd
}

// parseFork reads RUN@STEP or RUN.
func parseFork(text string) (activities.Fork, error) {
	run, digits, found := strings.Cut(text, "@")
	if !found {
		return activities.Fork{Run: run}, spec.CheckRunID(run)
	}
	step, err := strconv.Atoi(digits)
	if err != nil || step < 1 {
		return activities.Fork{}, usage("%s: want RUN@STEP with a step from 1 up", text)
	}
	return activities.Fork{Run: run, Step: step}, spec.CheckRunID(run)
}

func forkOrder(id string, from activities.Fork, doc []byte) (order, error) {
	in := workflows.TrainInput{Spec: doc, Fork: &from}
	text, err := in.MarshalJSON()
	if err != nil {
		return order{}, err
	}
	return order{
		id: id, kind: workflows.TrainName, input: in, digest: blob.Sum(text).String(), conflict: "choose another id with --run",
		summary: "fork of " + from.Run + "@" + strconv.Itoa(from.Step),
	}, nil
}
