package checkpoint_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
	"multiattempt/internal/checkpoint"
)

// populated is a run with two checkpoints, a record that refers to experience and episodes, and leftovers of step 1.
func populated(t *testing.T) (s blob.Store, latest checkpoint.Ref) {
	t.Helper()
	s = blob.NewMemory()
	save(t, s, 1, "a")
	latest = save(t, s, 2, "b")
	_, err := checkpoint.Advance(t.Context(), s, checkpoint.Latest, checkpoint.Target{Checkpoint: latest})
	require.NoError(t, err)
	episodes := put(t, s, "runs/r/steps/000001/episodes-0000-a.jsonl.zst", "episodes")
	experience := put(t, s, "runs/r/steps/000001/experience-a.json", text(t, map[string]any{"episodes": []blob.Ref{episodes}}))
	weights := blob.Ref{Key: "runs/r/steps/000001/policy/x/model.safetensors", SHA256: blob.Sum(nil), Size: 4}
	record := text(t, map[string]any{"step": 1, "experience": experience, "policy": map[string]any{"folder": weights}})
	put(t, s, "runs/r/records/000001.json", record)
	put(t, s, "runs/r/steps/000001/record-"+blob.Sum([]byte(record)).Short()+".json", record)
	put(t, s, "runs/r/steps/000001/episodes-0000-b.jsonl.zst", "of a worker given up for dead")
	put(t, s, "runs/r/steps/000003/episodes-0000-c.jsonl.zst", "of the step under way")
	put(t, s, "runs/other/steps/000001/x", "another run's")
	return s, latest
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

func inspect(t *testing.T, s blob.Store) checkpoint.Audit {
	t.Helper()
	a, err := checkpoint.Inspect(t.Context(), s, "r", checkpoint.AuditOptions{Read: true, Before: time.Now().Add(time.Hour)})
	require.NoError(t, err)
	return a
}

func TestInspectionFindsWhatIsLeftOverAndNothingElse(t *testing.T) {
	s, _ := populated(t)
	a := inspect(t, s)
	require.Empty(t, a.Faults)
	require.Equal(t, 2, a.Checkpoints)
	require.Len(t, a.Orphans, 1)
	require.Equal(t, "runs/r/steps/000001/episodes-0000-b.jsonl.zst", a.Orphans[0].Key)

	young, err := checkpoint.Inspect(t.Context(), s, "r", checkpoint.AuditOptions{Before: time.Now().Add(-time.Hour)})
	require.NoError(t, err)
	require.Empty(t, young.Orphans)

	before := keys(t, s)
	require.NoError(t, checkpoint.Collect(t.Context(), s, a))
	require.Len(t, keys(t, s), len(before)-1)
	again := inspect(t, s)
	require.Empty(t, again.Orphans)
	require.Empty(t, again.Faults)
	runs, err := checkpoint.Runs(t.Context(), s)
	require.NoError(t, err)
	require.Equal(t, []string{"other", "r"}, runs)
}

// TestInspectionFindsPartsBesideKeptManifests: what learners left that were given up for dead in the middle of a checkpoint.
func TestInspectionFindsPartsBesideKeptManifests(t *testing.T) {
	s, _ := populated(t)
	before := keys(t, s)
	propose(t, s, 1, "of a learner given up for dead")
	propose(t, s, 2, "of another one")
	stale := len(keys(t, s)) - len(before)
	require.Equal(t, 10, stale, "four parts and a candidate each")
	propose(t, s, 3, "of the checkpoint under way")
	a := inspect(t, s)
	require.Empty(t, a.Faults)
	require.Len(t, a.Orphans, 1+stale)
	require.NoError(t, checkpoint.Collect(t.Context(), s, a))
	require.Equal(t, []int{1, 2}, steps(t, s))
	again := inspect(t, s)
	require.Empty(t, again.Orphans)
	_, err := checkpoint.Commit(t.Context(), s, "r", 3, propose(t, s, 3, "of the checkpoint under way"))
	require.NoError(t, err)
	require.Len(t, steps(t, s), 3)

	put(t, s, checkpoint.Key("r", 1), "nonsense")
	a = inspect(t, s)
	require.NotEmpty(t, a.Faults)
	require.Empty(t, a.Orphans, "which parts were its own is not known")
}

func TestInspectionFindsFaults(t *testing.T) {
	for name, c := range map[string]struct {
		key, text string // empty text: deleted
		want      error
	}{
		"missing episodes":      {"runs/r/steps/000001/episodes-0000-a.jsonl.zst", "", blob.ErrNotFound},
		"corrupt episodes":      {"runs/r/steps/000001/episodes-0000-a.jsonl.zst", "episodez", blob.ErrCorrupt},
		"corrupt experience":    {"runs/r/steps/000001/experience-a.json", "{}", blob.ErrCorrupt},
		"no manifest":           {checkpoint.Key("r", 1), "nonsense", blob.ErrCorrupt},
		"manifest of a sibling": {checkpoint.Key("r", 1), `{"version":1,"run":"s","step":1}`, checkpoint.ErrForeign},
		"newer manifest":        {checkpoint.Key("r", 1), `{"version":9,"run":"r","step":1}`, checkpoint.ErrNewer},
		"latest gone":           {checkpoint.Key("r", 2), "", blob.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := populated(t)
			if c.text == "" {
				require.NoError(t, s.Delete(t.Context(), c.key))
			} else {
				put(t, s, c.key, c.text)
			}
			before := keys(t, s)
			a := inspect(t, s)
			require.NotEmpty(t, a.Faults)
			require.Equal(t, c.key, a.Faults[0].Key)
			require.ErrorIs(t, a.Faults[0].Err, c.want)
			require.Equal(t, before, keys(t, s), "nothing is changed")
		})
	}
}

func TestErasedRunsLeaveNothing(t *testing.T) {
	s, _ := populated(t)
	n, err := checkpoint.Erase(t.Context(), s, "r")
	require.NoError(t, err)
	require.Positive(t, n)
	require.Equal(t, []string{"runs/other/steps/000001/x"}, keys(t, s))
	_, err = checkpoint.Erase(t.Context(), s, "r")
	require.NoError(t, err)
}

func TestHalfErasedRunsStandAtAnOlderCheckpoint(t *testing.T) {
	s, _ := populated(t)
	_, err := checkpoint.Erase(t.Context(), stubborn{s, "000001/manifest.json"}, "r")
	require.Error(t, err)
	refs, err := checkpoint.List(t.Context(), s, "r")
	require.NoError(t, err)
	require.Len(t, refs, 1)
	require.NoError(t, checkpoint.Verify(t.Context(), s, refs[0]), "whole")
	require.True(t, strings.Contains(refs[0].Key, "000001"))
}
