package workflows_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"multiattempt/activities"
)

// hour is of virtual time.
const hour = time.Hour

// policyRates are the learning rates of the policy, iteration by iteration.
func policyRates(t *testing.T, w *world, run string) []float64 {
	t.Helper()
	records, err := activities.Records(t.Context(), w.store, run)
	require.NoError(t, err)
	rates := make([]float64, len(records))
	for i, r := range records {
		rates[i] = r.Update.PolicyLR
	}
	return rates
}

// The types that listeners of a test environment are called with.
type (
	activityInfo    = activity.Info
	contextContext  = context.Context
	encodedValue    = converter.EncodedValue
	encodedValues   = converter.EncodedValues
	workflowContext = workflow.Context
)

// anyArgument matches whatever an activity is called with.
const anyArgument = mock.Anything
