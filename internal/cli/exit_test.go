package cli

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/temporal"

	"multiattempt/activities"
	"multiattempt/internal/blob/s3"
	"multiattempt/internal/dataset"
	"multiattempt/internal/spec"
)

func TestExitCodes(t *testing.T) {
	failed := func(kind string) error {
		return outcome(fmt.Errorf("workflow: %w", temporal.NewNonRetryableApplicationError("because", kind, nil)))
	}
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, exitDone},
		{errors.New("something"), exitFailed},
		{failed(activities.FailureNotFinite), exitFailed},
		{failed(activities.FailureInvalidSpec), exitWrongInput},
		{failed(activities.FailureBadData), exitWrongInput},
		{fmt.Errorf("file: %w", spec.ErrInvalid), exitWrongInput},
		{fmt.Errorf("file: %w", dataset.ErrData), exitWrongInput},
		{fmt.Errorf("%w: port", errServices), exitUnreachable},
		{fmt.Errorf("put: %w", s3.ErrDenied), exitUnreachable},
		{fmt.Errorf("put: %w", s3.ErrFull), exitFailed},
		{fmt.Errorf("dial: %w", serviceerror.NewUnavailable("gone")), exitUnreachable},
		{fmt.Errorf("%w while following", errInterrupted), exitInterrupted},
		{fmt.Errorf("list: %w", context.Canceled), exitInterrupted},
	} {
		require.Equal(t, c.want, exitCode(c.err), "%v", c.err)
	}
	require.EqualError(t, failed(activities.FailureNotFinite), "because", "a run's failure says its cause, not its wrappings")
}
