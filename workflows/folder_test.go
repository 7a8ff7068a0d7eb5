package workflows_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/activities/activitytest"
	"multiattempt/internal/blob"
	"multiattempt/internal/blob/local"
	"multiattempt/internal/checkpoint"
	"multiattempt/workflows"
)

// dying is a process's way to a folder of objects. In the middle of the first write of a key that matches, the process dies:
// half of the bytes lie in the folder, and nothing it does reaches the folder any more.
type dying struct {
	blob.Store
	dir  string
	at   *regexp.Regexp
	dead atomic.Bool
}

var errDead = errors.New("this process is dead")

func (d *dying) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, o blob.PutOptions) (blob.Info, error) {
	if d.at.MatchString(key) && !d.dead.Swap(true) {
		half, err := io.ReadAll(io.LimitReader(body, size/2))
		if err != nil {
			return blob.Info{}, err
		}
		if err := os.WriteFile(filepath.Join(d.dir, "data", "writing-half"), half, 0o600); err != nil {
			return blob.Info{}, err
		}
	}
	if d.dead.Load() {
		return blob.Info{}, errDead
	}
	return d.Store.Put(ctx, key, body, size, o)
}

func (d *dying) Get(ctx context.Context, key string) (io.ReadCloser, blob.Info, error) {
	if d.dead.Load() {
		return nil, blob.Info{}, errDead
	}
	return d.Store.Get(ctx, key)
}

// TestAFolderOfThisMachineHoldsAWholeRun: sampled, rewarded, trained, kept and evaluated over store.dir, the bytes are those
// of any other store; and a run whose process dies in the middle of a write goes on in the next process with the same bytes.
func TestAFolderOfThisMachineHoldsAWholeRun(t *testing.T) {
	const fields = `{"preset":"small","iterations":3,"checkpoint":{"every":1,"keep":2},"evaluation":{"final_attempts":[1]}}`
	whole := newWorld(t)
	whole.train(t, "r", settings(t, fields), nil)
	presets := activitytest.Presets(t)
	for name, at := range map[string]string{
		"undisturbed":               `^never$`,
		"in a shard of episodes":    `steps/000002/episodes-`,
		"in a part of a checkpoint": `checkpoints/000002/parts-.*/state/`,
		"in a manifest":             `checkpoints/000002/manifest`,
		"in the pointer":            `latest\.json`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			open := func() blob.Store {
				s, err := local.Open(dir)
				require.NoError(t, err)
				return s
			}
			first := newWorld(t)
			d := &dying{Store: open(), dir: dir, at: regexp.MustCompile(at)}
			first.store, first.worker = d, activitytest.NewWorker(t, d, presets, "")
			env := first.env(t, "r")
			env.SetWorkflowRunTimeout(hour) // of virtual time, in which a dead process only fails
			env.ExecuteWorkflow(workflows.TrainName, settings(t, fields))
			require.Equal(t, name != "undisturbed", d.dead.Load())
			require.Equal(t, d.dead.Load(), env.GetWorkflowError() != nil)

			next := newWorld(t)
			next.store = open()
			next.worker = activitytest.NewWorker(t, next.store, presets, "")
			out, _ := next.train(t, "r", settings(t, fields), nil)
			require.Equal(t, 3, out.Step)
			require.Equal(t, whole.final(t, "r", 3), next.final(t, "r", 3))
			refs, err := checkpoint.List(t.Context(), next.store, "r")
			require.NoError(t, err)
			for _, ref := range refs {
				require.NoError(t, checkpoint.Verify(t.Context(), next.store, ref))
			}
		})
	}
}
