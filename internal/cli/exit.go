package cli

import (
	"context"
	"errors"
	"fmt"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/temporal"

	"multiattempt/activities"
	"multiattempt/internal/blob/s3"
	"multiattempt/internal/chat"
	"multiattempt/internal/checkpoint"
	"multiattempt/internal/dataset"
	"multiattempt/internal/engine"
	"multiattempt/internal/hub"
	"multiattempt/internal/nn"
	"multiattempt/internal/source"
	"multiattempt/internal/spec"
	"multiattempt/internal/track"
	"multiattempt/presets"
	"multiattempt/worker"
)

// The exit codes, which the root command's help explains.
const (
	exitDone        = 0
	exitFailed      = 1
	exitWrongInput  = 2
	exitUnreachable = 3
	exitInterrupted = 4
)

var (
	// errUsage: arguments, settings or input cannot be what the user meant.
	errUsage = errors.New("wrong usage")
	// errServices: Temporal, the store or the embedded services cannot be reached or started.
	errServices = errors.New("services are not available")
	// errInterrupted: a signal ended the command; what was done is kept.
	errInterrupted = errors.New("interrupted")
)

// usageError says in the user's terms what is wrong; it matches errUsage.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func (e usageError) Is(target error) bool { return target == errUsage }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitCode is the one place where an error becomes an exit code.
func exitCode(err error) int {
	switch {
	case err == nil:
		return exitDone
	case isAny(err, errUsage, spec.ErrInvalid, dataset.ErrData, presets.ErrNoModel, worker.ErrTLS, worker.ErrCodecKey, track.ErrNoRun, engine.ErrGGUF,
		engine.ErrFolder, engine.ErrTensor, engine.ErrMemory, nn.ErrConfig, chat.ErrTemplate, chat.ErrRole, chat.ErrTokenizer,
		source.ErrSource, hub.ErrMissing, hub.ErrOffline, checkpoint.ErrNone):
		return exitWrongInput
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled):
		return exitInterrupted
	case isAny(err, errServices, s3.ErrUnreachable, s3.ErrCredentials, s3.ErrExpired, s3.ErrDenied, s3.ErrClockSkew, s3.ErrNoBucket, hub.ErrUnavailable),
		isUnreachable(err):
		return exitUnreachable
	default:
		return exitFailed
	}
}

func isAny(err error, targets ...error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}

// isUnreachable reports whether Temporal's client gave up on the server or lacks its namespace.
func isUnreachable(err error) bool {
	var unavailable *serviceerror.Unavailable
	var namespace *serviceerror.NamespaceNotFound
	var denied *serviceerror.PermissionDenied
	return errors.As(err, &unavailable) || errors.As(err, &namespace) || errors.As(err, &denied)
}

// advise adds what to do to errors of Temporal that do not say it.
func advise(err error) error {
	if missing, ok := errors.AsType[*serviceerror.NamespaceNotFound](err); ok {
		return fmt.Errorf("%w Create it with `temporal operator namespace create --namespace %s`, or correct temporal.namespace (--namespace)", err, missing.Namespace)
	}
	if _, ok := errors.AsType[*serviceerror.WorkflowNotReady](err); ok {
		return fmt.Errorf("%w The worker cannot go on from the run's history (its log says why): most likely another version began the run. "+
			"Let a worker of that version stop it, or terminate it, and continue it with this one: docs/runbook.md, An upgrade", err)
	}
	return err
}

// failedRun is a workflow that ended in failure; wrong says that its input was at fault.
type failedRun struct {
	message string
	wrong   bool
}

func (e *failedRun) Error() string { return e.message }

func (e *failedRun) Is(target error) bool { return e.wrong && target == errUsage }

// outcome turns a workflow's failure, which comes wrapped in the names of workflows and activities, into its cause.
func outcome(err error) error {
	cause, ok := errors.AsType[*temporal.ApplicationError](err)
	if !ok {
		return err
	}
	switch cause.Type() {
	case activities.FailureInvalidSpec, activities.FailureInvalidModel, activities.FailureBadData, activities.FailureRunExists, activities.FailureNoCheckpoint:
		return &failedRun{message: cause.Message(), wrong: true}
	default:
		return &failedRun{message: cause.Message()}
	}
}
