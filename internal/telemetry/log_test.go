package telemetry_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/telemetry"
)

func TestLoggerHonoursLevelAndFormat(t *testing.T) {
	var out bytes.Buffer
	log, err := telemetry.NewLogger(&out, "warn", "json")
	require.NoError(t, err)
	log.Info("hidden")
	log.Warn("shown", telemetry.AttrRun, "r1")
	require.NotContains(t, out.String(), "hidden")
	require.Contains(t, out.String(), `"msg":"shown","run":"r1"`)
}

func TestLoggerRefusesUnknownWords(t *testing.T) {
	_, err := telemetry.NewLogger(&bytes.Buffer{}, "loud", "text")
	require.ErrorContains(t, err, `log level "loud"`)
	_, err = telemetry.NewLogger(&bytes.Buffer{}, "info", "xml")
	require.ErrorContains(t, err, `log format "xml"`)
}

func TestQueuesOfOneBaseDiffer(t *testing.T) {
	names := map[string]bool{}
	for _, q := range []string{
		telemetry.Queue, telemetry.RolloutQueue(telemetry.Queue), telemetry.LearnerQueue(telemetry.Queue),
		telemetry.OwnLearnerQueue("q-learner", "a"), telemetry.OwnLearnerQueue("q-learner", "b"),
	} {
		require.False(t, names[q], q)
		names[q] = true
	}
}
