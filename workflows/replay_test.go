package workflows_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/proto"

	"multiattempt/workflows"
)

// TestRecordedHistoriesReplay makes sure that this code continues workflows that earlier code began. Histories called
// bad-* were spoilt and must be refused: they test the detector. Command recordhistory makes all of them.
func TestRecordedHistoriesReplay(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	bad := 0
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(name, func(t *testing.T) {
			replayer := worker.NewWorkflowReplayer()
			workflows.Register(replayer)
			events := recorded(t, name)
			id := events[0].GetWorkflowExecutionStartedEventAttributes().GetWorkflowId() // children's ids derive from it
			err := replayer.ReplayWorkflowHistoryWithOptions(slog.New(slog.DiscardHandler), &historypb.History{Events: events},
				worker.ReplayWorkflowHistoryOptions{OriginalExecution: workflow.Execution{ID: id}})
			if strings.HasPrefix(name, "bad-") {
				bad++
				require.ErrorContains(t, err, "nondeterministic")
				return
			}
			require.NoError(t, err)
		})
	}
	require.GreaterOrEqual(t, bad, 6)
}

func recorded(t *testing.T, file string) []*historypb.HistoryEvent {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", file))
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // only read from
	h, err := client.HistoryFromJSON(f, client.HistoryJSONOptions{})
	require.NoError(t, err)
	return h.Events
}

// TestAnIterationCostsFewEvents holds histories short: at most 30 events an iteration with one shard and 6 for each
// further one, checkpoints, evaluations and people's updates apart.
func TestAnIterationCostsFewEvents(t *testing.T) {
	const shards = 2 // of the recorded run
	events, begun := recorded(t, "train-part1.json"), 0
	for i, e := range events {
		if e.GetActivityTaskScheduledEventAttributes().GetActivityType().GetName() == "SampleBatch" {
			begun = i
		}
	}
	of := events[begun:]
	updates := 0
	for _, e := range of {
		if e.GetWorkflowExecutionUpdateAcceptedEventAttributes() != nil {
			updates++
		}
	}
	const eventsOfUpdate = 5 // accepted, completed, and a workflow task of its own
	require.LessOrEqual(t, len(of)-eventsOfUpdate*updates, 30+6*(shards-1))
}

// TestPayloadsHoldReferencesOnly keeps tensors and dialogues out of histories.
func TestPayloadsHoldReferencesOnly(t *testing.T) {
	for _, file := range []string{"train-part1.json", "train-part2.json", "evaluate.json", "finetune.json", "experiment.json"} {
		for _, e := range recorded(t, file) {
			require.Less(t, proto.Size(e), 8<<10, "%s event %d", file, e.EventId)
		}
	}
}
