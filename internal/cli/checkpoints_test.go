package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	historypb "go.temporal.io/api/history/v1"
	updatepb "go.temporal.io/api/update/v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"multiattempt/config"
	"multiattempt/internal/blob"
	"multiattempt/internal/checkpoint"
	"multiattempt/worker"
)

// Of four checkpoints one has a wrong byte in a part, one a part too few, and one a manifest of another run: all are listed.
func TestDamagedCheckpointsAreListedWithTheOthers(t *testing.T) {
	store := blob.NewMemory()
	for step := 1; step <= 4; step++ {
		dir := t.TempDir()
		for _, part := range []string{checkpoint.PolicyDir, checkpoint.StateDir} {
			require.NoError(t, os.MkdirAll(filepath.Join(dir, part), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, part, "numbers"), []byte{1, 2, 3, byte(step)}, 0o600))
		}
		_, err := checkpoint.Save(t.Context(), store, checkpoint.Meta{Run: "r", Step: step, Spec: strings.Repeat("0", 64)}, dir)
		require.NoError(t, err)
	}
	put := func(key, text string) {
		_, err := store.Put(t.Context(), key, strings.NewReader(text), int64(len(text)), blob.PutOptions{})
		require.NoError(t, err)
	}
	part := func(step int, name string) string {
		ref, err := checkpoint.Find(t.Context(), store, "r", step)
		require.NoError(t, err)
		m, err := checkpoint.LoadManifest(t.Context(), store, ref)
		require.NoError(t, err)
		return m.Folder(name).Files[0].Ref.Key
	}
	put(part(1, checkpoint.StateDir), "1239")
	require.NoError(t, store.Delete(t.Context(), part(2, checkpoint.PolicyDir)))
	manifest, err := blob.Read(t.Context(), store, checkpoint.Key("r", 3))
	require.NoError(t, err)
	put(checkpoint.Key("r", 3), strings.Replace(string(manifest), `"r"`, `"other"`, 1))

	list := func(args ...string) (listed []listedCheckpoint, text string, err error) {
		text, err = command(t, &services{store: store}, append([]string{"checkpoints", "r"}, args...)...)
		_ = json.Unmarshal([]byte(text), &listed) // unless it is a table
		return listed, text, err
	}
	verified, _, err := list("--verify", "--json")
	require.ErrorIs(t, err, errDamaged)
	require.Equal(t, exitFailed, exitCode(err))
	require.ErrorContains(t, err, "3 of 4 checkpoints of r are damaged")
	require.Len(t, verified, 4)
	for i, want := range []string{"corrupt object", "object not found", "checkpoint of another run", ""} {
		require.Equal(t, i+1, verified[i].Step)
		require.Contains(t, verified[i].Fault, want)
		require.Equal(t, want == "", verified[i].Fault == "")
	}
	_, table, err := list()
	require.ErrorContains(t, err, "1 of 4", "without --verify only manifests are read")
	require.Equal(t, 1, strings.Count(table, "DAMAGED"))
	require.Equal(t, 4, strings.Count(table, "manifest.json"))
}

// What a person asked is read with the key that the history is encrypted with.
func TestTheLogReadsEncryptedRequests(t *testing.T) {
	payloads, err := worker.DataConverter(config.Codec{Key: "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="})
	require.NoError(t, err)
	args, err := payloads.ToPayloads(map[string]float64{"policy_lr": 1e-4})
	require.NoError(t, err)
	require.NotContains(t, args.String(), "policy_lr")
	e := &historypb.HistoryEvent{EventTime: timestamppb.Now(), Attributes: &historypb.HistoryEvent_WorkflowExecutionUpdateAcceptedEventAttributes{
		WorkflowExecutionUpdateAcceptedEventAttributes: &historypb.WorkflowExecutionUpdateAcceptedEventAttributes{
			AcceptedRequest: &updatepb.Request{
				Meta:  &updatepb.Meta{Identity: "somebody"},
				Input: &updatepb.Input{Name: "set_learning_rate", Args: &commonpb.Payloads{Payloads: args.Payloads}},
			}}}}
	r, ok := asRequest(e, payloads)
	require.True(t, ok)
	require.Equal(t, "somebody", r.Who)
	require.JSONEq(t, `{"policy_lr":1e-4}`, r.Args)
}
