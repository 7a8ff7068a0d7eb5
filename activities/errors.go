package activities

import (
	"errors"

	"go.temporal.io/sdk/temporal"

	"multiattempt/internal/blob"
	"multiattempt/internal/chat"
	"multiattempt/internal/checkpoint"
	"multiattempt/internal/dataset"
	"multiattempt/internal/evaluate"
	"multiattempt/internal/hub"
	"multiattempt/internal/rollout"
	"multiattempt/internal/source"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
)

// Errors of the activities themselves.
var (
	// ErrModel: a model cannot be used as it is: another architecture, missing or misshapen tensors.
	ErrModel = errors.New("unusable model")
	// ErrReplay: repeating stored steps gave other weights than those published. The learner's machine, backend or build
	// differs from the one that made them, or something is not deterministic.
	ErrReplay = errors.New("repeated steps gave other weights")
	// ErrHangs: a sampler of this worker makes no progress, so that its device cannot be relied on.
	ErrHangs = errors.New("a rollout of this worker hangs: end the worker and start it again")
	// ErrRunExists: the run's name belongs to a run with other settings.
	ErrRunExists = errors.New("run exists with other settings")
)

// Failure types: what a person and a workflow see of an error that does not go away by itself.
const (
	FailureInvalidSpec    = "InvalidSpec"
	FailureInvalidModel   = "InvalidModel"
	FailureBadData        = "BadData"
	FailureCorrupt        = "CorruptArtefact"
	FailureMissing        = "MissingArtefact"
	FailureNotFinite      = "NotFinite"
	FailureReplayMismatch = "ReplayMismatch"
	FailureRunExists      = "RunExists"
	FailureNoCheckpoint   = "NoCheckpoint"
	FailureInconsistent   = "Inconsistent"
)

// permanent maps every error that repeating does not help against to its failure type. Everything else is taken for a
// store, a network or a machine that is away, and is retried for ever.
var permanent = []struct {
	err  error
	name string
}{
	{spec.ErrInvalid, FailureInvalidSpec},
	{blob.ErrInvalidKey, FailureInvalidSpec},
	{ErrModel, FailureInvalidModel},
	{source.ErrSource, FailureInvalidModel},
	{hub.ErrMissing, FailureInvalidModel},
	{hub.ErrOffline, FailureInvalidModel},
	{chat.ErrTemplate, FailureInvalidModel},
	{chat.ErrRole, FailureInvalidModel},
	{chat.ErrTokenizer, FailureInvalidModel},
	{dataset.ErrData, FailureBadData},
	{blob.ErrCorrupt, FailureCorrupt},
	{blob.ErrNotFound, FailureMissing}, // stores are consistent: what a reference names and is not there was deleted
	{update.ErrNotFinite, FailureNotFinite},
	{update.ErrState, FailureCorrupt},
	{ErrReplay, FailureReplayMismatch},
	{ErrRunExists, FailureRunExists},
	{checkpoint.ErrNone, FailureNoCheckpoint},
	{checkpoint.ErrForeign, FailureCorrupt},
	{checkpoint.ErrNewer, FailureCorrupt},
	{checkpoint.ErrDiffers, FailureReplayMismatch},
	{rollout.ErrNoRoom, FailureBadData},
	{rollout.ErrEpisode, FailureInconsistent},
	{evaluate.ErrResult, FailureInconsistent},
	{errShard, FailureInconsistent},
}

// failure is the one place where an activity's error becomes Temporal's: non-retryable with a type, or as it is.
func failure(err error) error {
	if err == nil {
		return nil
	}
	for _, p := range permanent {
		if errors.Is(err, p.err) {
			message := err.Error()
			if p.name == FailureMissing {
				message += "; restore it from a replica or go back to an earlier checkpoint"
			}
			return temporal.NewNonRetryableApplicationError(message, p.name, nil)
		}
	}
	return err
}
