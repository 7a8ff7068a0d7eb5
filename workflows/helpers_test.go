package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"

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

// anyArgument matches whatever an activity is called with.
const anyArgument = mock.Anything
