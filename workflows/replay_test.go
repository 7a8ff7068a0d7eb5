package workflows_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
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
	for file, shards := range map[string]int{"train-part1.json": 2, "train-part2.json": 2, "train-one-shard.json": 1} {
		events := recorded(t, file)
		var begun []int
		for i, e := range events {
			if e.GetActivityTaskScheduledEventAttributes().GetActivityType().GetName() == "Update" {
				begun = append(begun, i) // from one update to the next, with the batch that is drawn ahead
			}
		}
		require.Greater(t, len(begun), 1, file)
		for n, from := range begun {
			to := len(events) // continued as new
			if n+1 < len(begun) {
				to = begun[n+1]
			} else if events[to-1].GetWorkflowExecutionCompletedEventAttributes() != nil {
				break // it ends with what ends the run
			}
			of, apart := events[from:to], eventsApart(events, from, to)
			t.Logf("%s, iteration %d: %d events, %d of them apart", file, n+1, len(of), apart)
			require.LessOrEqual(t, len(of)-apart, 30+6*(shards-1), "%s, iteration %d", file, n+1)
			require.True(t, shards > 1 || apart == 0, "an iteration of one shard is measured as it is")
		}
	}
}

// TestTheNextBatchIsDrawnBesideTheUpdate: neither waits for the other, and nothing is drawn that no iteration follows on.
func TestTheNextBatchIsDrawnBesideTheUpdate(t *testing.T) {
	for file, iterations := range map[string]int{"train-part1.json": 3, "train-part2.json": 2, "train-one-shard.json": 4} {
		var order []string
		names := map[int64]string{}
		for _, e := range recorded(t, file) {
			if a := e.GetActivityTaskScheduledEventAttributes(); a != nil {
				names[e.EventId] = a.ActivityType.GetName()
				order = append(order, names[e.EventId])
			} else if a := e.GetActivityTaskCompletedEventAttributes(); a != nil && names[a.ScheduledEventId] == "Update" {
				order = append(order, "updated")
			}
		}
		order = slices.DeleteFunc(order, func(s string) bool { return s != "SampleBatch" && s != "Update" && s != "updated" })
		want := []string{"SampleBatch"}
		for range iterations - 1 {
			want = append(want, "SampleBatch", "Update", "updated")
		}
		require.Equal(t, append(want, "Update", "updated"), order, file)
	}
}

// eventsApart counts, among the events from one index to another, those of checkpoints, evaluations and updates, the
// workflow tasks that follow on them included.
func eventsApart(events []*historypb.HistoryEvent, from, to int) (n int) {
	const task = 3 // scheduled, started, completed
	checkpoints := map[int64]bool{}
	for _, e := range events {
		switch e.GetActivityTaskScheduledEventAttributes().GetActivityType().GetName() {
		case "Checkpoint", "MarkBest":
			checkpoints[e.EventId] = true
		}
	}
	for _, e := range events[from:to] {
		switch {
		case checkpoints[e.EventId], checkpoints[e.GetActivityTaskStartedEventAttributes().GetScheduledEventId()]:
			n++
		case checkpoints[e.GetActivityTaskCompletedEventAttributes().GetScheduledEventId()]:
			n += 1 + task
		case e.GetStartChildWorkflowExecutionInitiatedEventAttributes() != nil, commitsCheckpoint(e):
			n++
		case e.GetChildWorkflowExecutionStartedEventAttributes() != nil, e.GetChildWorkflowExecutionCompletedEventAttributes() != nil:
			n += 1 + task
		case e.GetWorkflowExecutionUpdateAcceptedEventAttributes() != nil:
			n += 1 + task
		case e.GetWorkflowExecutionUpdateCompletedEventAttributes() != nil:
			n++
		}
	}
	return n
}

// commitsCheckpoint reports whether an event is the trace of the local activity that commits a checkpoint.
func commitsCheckpoint(e *historypb.HistoryEvent) bool {
	for _, p := range e.GetMarkerRecordedEventAttributes().GetDetails()["data"].GetPayloads() {
		if strings.Contains(string(p.Data), `"ActivityType":"CommitCheckpoint"`) {
			return true
		}
	}
	return false
}

// TestPayloadsHoldReferencesOnly keeps tensors and dialogues out of histories.
func TestPayloadsHoldReferencesOnly(t *testing.T) {
	for _, file := range []string{"train-part1.json", "train-part2.json", "train-one-shard.json", "evaluate.json", "finetune.json", "experiment.json"} {
		for _, e := range recorded(t, file) {
			require.Less(t, proto.Size(e), 8<<10, "%s event %d", file, e.EventId)
		}
	}
}
