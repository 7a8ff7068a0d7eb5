package cli

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/converter"

	"multiattempt/activities"
)

// busy is an activity that a worker has taken, and its newest heartbeat.
func busy(t *testing.T, id, name string, p activities.Progress) *workflowpb.PendingActivityInfo {
	t.Helper()
	details, err := converter.GetDefaultDataConverter().ToPayloads(p)
	require.NoError(t, err)
	return &workflowpb.PendingActivityInfo{
		ActivityId: id, ActivityType: &commonpb.ActivityType{Name: name}, HeartbeatDetails: details,
		State: enumspb.PENDING_ACTIVITY_STATE_STARTED,
	}
}

// tracked is a tracker, its clock, and what it says of each stage.
type tracked struct {
	stageTracker
	now time.Time
}

func newTracked() *tracked {
	t := &tracked{now: time.Unix(0, 0)}
	t.stageTracker = stageTracker{clock: func() time.Time { return t.now }, payloads: converter.GetDefaultDataConverter()}
	return t
}

func (t *tracked) after(d time.Duration, pending ...*workflowpb.PendingActivityInfo) (said []string) {
	t.now = t.now.Add(d)
	for _, s := range t.see(pending, nil, 0, 0) {
		said = append(said, s.String())
	}
	return said
}

func TestStagesOfAnIteration(t *testing.T) {
	w := newTracked()
	episodes := func(id string, done, tokens int) *workflowpb.PendingActivityInfo {
		return busy(t, id, "Rollout", activities.Progress{What: "episodes", Done: done, Of: 8, Tokens: tokens})
	}
	require.Equal(t, "waits for a worker", w.after(0, queued("3"), queued("4"))[stageRollout])
	said := w.after(0, episodes("3", 0, 0), queued("4"))
	require.Equal(t, "0/16 episodes  shards 0/2  0.0s", said[stageRollout])
	said = w.after(2*time.Second, episodes("3", 2, 300), queued("4"))
	require.Equal(t, "2/16 episodes  shards 0/2  1 episodes/s  150 tokens/s  14s left", said[stageRollout])
	said = w.after(2*time.Second, episodes("3", 6, 1100), episodes("4", 2, 500))
	require.Equal(t, "8/16 episodes  shards 0/2  2 episodes/s  400 tokens/s  4s left", said[stageRollout])
	said = w.after(2*time.Second, episodes("4", 4, 900)) // shard 3 has ended: all its 8 are done
	require.Equal(t, "12/16 episodes  shards 1/2  2 episodes/s  400 tokens/s  2s left", said[stageRollout])

	said = w.after(time.Second, busy(t, "9", "Update", activities.Progress{What: "step 1: score", Done: 4, Of: 16}))
	require.Equal(t, "16 episodes  7.0s", said[stageRollout])
	require.Empty(t, said[stageReward], "it went by between two looks")
	require.Equal(t, "4/16 score  0.0s", said[stageUpdate])
	said = w.after(2*time.Second, busy(t, "9", "Update", activities.Progress{What: "step 1: score", Done: 12, Of: 16}))
	require.Equal(t, "12/16 score  6 episodes/s  1s left", said[stageUpdate])
	said = w.after(2*time.Second, busy(t, "9", "Update", activities.Progress{What: "step 1: update", Done: 1, Of: 4}))
	require.Contains(t, said[stageUpdate], "1/4 update")
	said = w.after(4*time.Second, busy(t, "9", "Update", activities.Progress{What: "step 1: update", Done: 2, Of: 4}))
	require.Equal(t, "2/4 update  0.5 steps/s  4s left", said[stageUpdate], "measured from where this part began")

	said = w.after(time.Second, busy(t, "14", "Checkpoint", activities.Progress{What: "store state"}))
	require.Equal(t, "4 update  9.0s", said[stageUpdate])
	require.Equal(t, "store state  0.0s", said[stageCheckpoint])

	// The next iteration: what was is a thing of the last one.
	said = w.after(time.Second, episodes("20", 0, 0), episodes("21", 0, 0))
	require.Equal(t, "last 9.0s", said[stageUpdate])
	require.Equal(t, "last 1.0s", said[stageCheckpoint])
	require.Equal(t, "0/16 episodes  shards 0/2  2 episodes/s  400 tokens/s  8s left", said[stageRollout], "at the speed so far")

	// An iteration that went by unseen leaves nothing behind.
	w.after(time.Minute, busy(t, "40", "Update", activities.Progress{What: "step 3: score", Of: 16}))
	said = w.after(time.Minute, busy(t, "60", "Update", activities.Progress{What: "step 4: score", Of: 16}))
	require.NotContains(t, said[stageUpdate], "shards")
	w.after(time.Second, busy(t, "66", "SampleBatch", activities.Progress{What: "data"}))
	require.Equal(t, stageWaiting, w.rows[stageUpdate].state)
	require.Equal(t, stageWaiting, w.rows[stageRollout].state)
}

func TestABatchDrawnAheadIsNoNewIteration(t *testing.T) {
	w := newTracked()
	w.after(0, busy(t, "1", "SampleBatch", activities.Progress{}))
	update, ahead := busy(t, "5", "Update", activities.Progress{What: "step 1: score", Of: 16}), busy(t, "4", "SampleBatch", activities.Progress{})
	said := w.after(time.Second, update, ahead)
	require.Equal(t, stageActive, w.rows[stageUpdate].state)
	require.Equal(t, "1.0s", said[stageSample])
	w.after(time.Second, ahead) // longer than the update
	require.Equal(t, stageActive, w.rows[stageSample].state)
	require.Equal(t, stageWaiting, w.rows[stageUpdate].state)
}

func TestACheckpointGoesOnBesideTheNextIteration(t *testing.T) {
	w := newTracked()
	w.after(0, busy(t, "1", "Update", activities.Progress{}))
	checkpoint := busy(t, "2", "Checkpoint", activities.Progress{What: "store state"})
	w.after(time.Second, checkpoint)
	w.after(2*time.Second, checkpoint, busy(t, "3", "SampleBatch", activities.Progress{}))
	said := w.after(3*time.Second, checkpoint, busy(t, "4", "Rollout", activities.Progress{}))
	require.Equal(t, "store state  5.0s", said[stageCheckpoint])
	require.Equal(t, "3.0s", said[stageSample])
	require.Equal(t, "last 1.0s", said[stageUpdate])
}

// queued is a rollout that no worker has taken yet.
func queued(id string) *workflowpb.PendingActivityInfo {
	return &workflowpb.PendingActivityInfo{
		ActivityId: id, ActivityType: &commonpb.ActivityType{Name: "Rollout"}, State: enumspb.PENDING_ACTIVITY_STATE_SCHEDULED,
	}
}

func TestAnEvaluationIsMeasuredInRollouts(t *testing.T) {
	w := newTracked()
	see := func(after time.Duration, done int, p activities.Progress) string {
		w.now = w.now.Add(after)
		return w.see(nil, []*workflowpb.PendingActivityInfo{busy(t, "5", "Rollout", p)}, done, 4)[stageEvaluate].String()
	}
	see(0, 0, activities.Progress{What: "episodes", Of: 100})
	require.Equal(t, "1/4 rollouts  5 episodes/s  17s left", see(10*time.Second, 1, activities.Progress{What: "episodes", Done: 50, Of: 100}),
		"1.5 of 4 in 10 s")
}

func TestHeartbeatsOfAnotherProgramAreNoProgress(t *testing.T) {
	w := newTracked()
	a := busy(t, "1", "Rollout", activities.Progress{})
	a.HeartbeatDetails.Payloads[0].Data = []byte("{")
	require.NotPanics(t, func() { w.after(time.Second, a) })
	hostile := busy(t, "2", "Reward", activities.Progress{What: "\x1b[2J\u202eabc"})
	require.Contains(t, w.after(time.Second, hostile)[stageReward], "<U+001B>[2J<U+202E>abc")
}
