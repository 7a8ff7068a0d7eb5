// Package workflows is the orchestration of training, evaluation and fine-tuning as durable Temporal workflows: it decides
// what happens next and holds references and small numbers, never tensors or transcripts.
package workflows

import (
	"fmt"
	"strconv"
	"strings"

	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// The workflow types, as the plain temporal command names them.
const (
	TrainName      = "Train"
	EvaluateName   = "Evaluate"
	FinetuneName   = "Finetune"
	ExperimentName = "Experiment"
)

// The query and the updates. Every update answers with the Status after it.
const (
	QueryStatus              = "status"               // → Status
	UpdatePause              = "pause"                // hold after the iteration that is under way
	UpdateResume             = "resume"               // go on
	UpdateStop               = "stop"                 // finish the iteration, keep a checkpoint, complete
	UpdateCheckpointNow      = "checkpoint_now"       // keep a checkpoint after the iteration that is under way; answers when it is kept
	UpdateEvaluateNow        = "evaluate_now"         // evaluate after the iteration that is under way; answers with the scores
	UpdateSetLearningRate    = "set_learning_rate"    // SetLearningRate → Status; holds from the next iteration on
	UpdateSetCheckpointEvery = "set_checkpoint_every" // SetCheckpointEvery → Status; holds at once
)

// TrainWorkflowID returns the id of a run's workflow: the run's own.
func TrainWorkflowID(run string) string { return run }

const evaluateInfix = "/evaluate/"

// EvaluateWorkflowID returns the id of the child workflow that evaluates a run after step iterations.
func EvaluateWorkflowID(run string, step int) string {
	return fmt.Sprintf("%s%s%06d", run, evaluateInfix, step)
}

// ParseEvaluateWorkflowID is the inverse of EvaluateWorkflowID.
func ParseEvaluateWorkflowID(id string) (run string, step int, ok bool) {
	at := strings.LastIndex(id, evaluateInfix)
	if at < 0 {
		return "", 0, false
	}
	run = id[:at]
	step, err := strconv.Atoi(id[at+len(evaluateInfix):])
	return run, step, err == nil && step >= 0 && EvaluateWorkflowID(run, step) == id
}

// Register makes every workflow known to a worker, a test environment or a replayer.
func Register(r sdkworker.WorkflowRegistry) {
	r.RegisterWorkflowWithOptions(Train, workflow.RegisterOptions{Name: TrainName})
	r.RegisterWorkflowWithOptions(Evaluate, workflow.RegisterOptions{Name: EvaluateName})
	r.RegisterWorkflowWithOptions(Finetune, workflow.RegisterOptions{Name: FinetuneName})
	r.RegisterWorkflowWithOptions(Experiment, workflow.RegisterOptions{Name: ExperimentName})
}
