package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"

	"multiattempt/activities/activitytest"
	"multiattempt/internal/blob"
	"multiattempt/internal/blob/blobtest"
	"multiattempt/internal/checkpoint"
	"multiattempt/workflows"
)

// TestACollectionTakesNothingFromARunUnderWay collects what is left over whenever an activity of a run begins, in a store
// where everything is days old. The run, an evaluation of its own included, and a worker that comes fresh to it end with the
// bytes of a run that nobody disturbs.
func TestACollectionTakesNothingFromARunUnderWay(t *testing.T) {
	const fields = `{"preset":"small","checkpoint":{"every":2},"evaluation":{"every":2,"attempts":[1],"final_attempts":[1]}}`
	whole := newWorld(t)
	whole.train(t, "r", settings(t, fields), nil)

	w := newWorld(t)
	aged := &blobtest.Aged{Store: w.store}
	presets := activitytest.Presets(t)
	orphan, err := blob.Put(t.Context(), aged, []byte("of an erased run"))
	require.NoError(t, err)
	collections, deleted := 0, 0
	collect := func(*activityInfo, contextContext, encodedValues) {
		aged.Age(3 * blob.CollectAfter)
		found, err := checkpoint.InspectShared(t.Context(), aged, time.Now())
		require.NoError(t, err)
		n, err := checkpoint.CollectShared(t.Context(), aged, found)
		require.NoError(t, err)
		collections, deleted = collections+1, deleted+n
	}
	part := func(stop int) {
		w.worker = activitytest.NewWorker(t, aged, presets, "") // with an empty cache
		w.train(t, "r", settings(t, fields), func(_ int, env *testsuite.TestWorkflowEnvironment) {
			updates := 0
			env.SetOnActivityStartedListener(func(info *activityInfo, ctx contextContext, values encodedValues) {
				collect(info, ctx, values)
				if info.ActivityType.Name != "Update" {
					return
				}
				if updates++; updates == stop {
					send(t, env, workflows.UpdateStop)
				}
			})
		})
	}
	part(3)
	part(0)
	require.Equal(t, whole.final(t, "r", 6), w.final(t, "r", 6))
	require.Greater(t, collections, 20)
	require.GreaterOrEqual(t, deleted, 2, "the orphan, and the lists of policies whose checkpoints retention deleted")
	_, err = aged.Stat(t.Context(), orphan.Key)
	require.ErrorIs(t, err, blob.ErrNotFound)
}
