package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"multiattempt/internal/blob"
	"multiattempt/internal/checkpoint"
	"multiattempt/internal/report"
)

// listedCheckpoint is one line of the list of checkpoints.
type listedCheckpoint struct {
	Step   int         `json:"step"`
	Key    string      `json:"key"`
	SHA256 blob.Digest `json:"sha256"`
	Bytes  int64       `json:"bytes"` // of all parts
	Names  []string    `json:"names"` // latest, best
}

func (a *app) newCheckpoints() *cobra.Command {
	var asJSON, verify bool
	cmd := &cobra.Command{
		Use:     "checkpoints RUN",
		Short:   "List a run's checkpoints, oldest first",
		Example: "  multiattempt checkpoints quickstart-seed1 --verify",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer s.Close()
			list, err := listCheckpoints(cmd, s.store, args[0], verify)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(list)
			}
			t := report.Table{Header: []string{"step", "names", "MB", "sha256", "key"}}
			for _, c := range list {
				t.Rows = append(t.Rows, []string{fmt.Sprint(c.Step), strings.Join(c.Names, ", "), fmt.Sprintf("%.1f", float64(c.Bytes)/1e6), c.SHA256.String(), c.Key})
			}
			return a.writeTable(a.stdout, t)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	cmd.Flags().BoolVar(&verify, "verify", false, "read every part and compare it with its manifest")
	return cmd
}

func listCheckpoints(cmd *cobra.Command, store blob.Store, run string, verify bool) ([]listedCheckpoint, error) {
	ctx := cmd.Context()
	refs, err := checkpoint.List(ctx, store, run)
	if err != nil {
		return nil, err
	}
	if len(refs) == 0 {
		return nil, usage("run %s has no checkpoint", run)
	}
	pointers := map[int][]string{}
	for _, p := range []checkpoint.Pointer{checkpoint.Latest, checkpoint.Best} {
		t, err := checkpoint.Resolve(ctx, store, run, p)
		if err == nil {
			pointers[t.Checkpoint.Step] = append(pointers[t.Checkpoint.Step], string(p))
		} else if !errors.Is(err, checkpoint.ErrNone) {
			return nil, err
		}
	}
	list := make([]listedCheckpoint, 0, len(refs))
	for _, ref := range refs {
		m, err := checkpoint.LoadManifest(ctx, store, ref)
		if err == nil && verify {
			err = checkpoint.Verify(ctx, store, ref)
		}
		if err != nil {
			return nil, err
		}
		c := listedCheckpoint{Step: ref.Step, Key: ref.Key, SHA256: ref.SHA256, Names: pointers[ref.Step]}
		for _, f := range m.Files {
			c.Bytes += f.Ref.Size
		}
		list = append(list, c)
	}
	return list, nil
}
