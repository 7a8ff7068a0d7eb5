package cli

import (
	"context"
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
	Bytes  int64       `json:"bytes"`           // of all parts
	Names  []string    `json:"names"`           // latest, best
	Fault  string      `json:"fault,omitempty"` // why it cannot be used
}

// errDamaged: some of a run's checkpoints cannot be used.
var errDamaged = errors.New("damaged")

func (a *app) newCheckpoints() *cobra.Command {
	var asJSON, verify bool
	cmd := &cobra.Command{
		Use:   "checkpoints RUN",
		Short: "List a run's checkpoints, oldest first",
		Long: `Lists a run's checkpoints, oldest first. One that cannot be used is listed with what is wrong with it, and the command then
ends with exit code 1.`,
		Example: "  multiattempt checkpoints quickstart-seed1 --verify",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer s.Close()
			list, err := listCheckpoints(cmd.Context(), s.store, args[0], verify)
			if err != nil {
				return err
			}
			if err := a.printCheckpoints(list, asJSON); err != nil {
				return err
			}
			return faults(args[0], list)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	cmd.Flags().BoolVar(&verify, "verify", false, "read every part and compare it with its manifest")
	return cmd
}

func (a *app) printCheckpoints(list []listedCheckpoint, asJSON bool) error {
	if asJSON {
		return a.printJSON(list)
	}
	t := report.Table{Header: []string{"step", "names", "MB", "sha256", "key"}}
	for _, c := range list {
		names := c.Names
		if c.Fault != "" {
			names = append(names, "DAMAGED")
		}
		t.Rows = append(t.Rows, []string{fmt.Sprint(c.Step), strings.Join(names, ", "), fmt.Sprintf("%.1f", float64(c.Bytes)/1e6), c.SHA256.String(), c.Key})
	}
	return a.writeTable(a.stdout, t)
}

// faults is the error about the checkpoints that cannot be used; nil when all can.
func faults(run string, list []listedCheckpoint) error {
	var wrong []string
	for _, c := range list {
		if c.Fault != "" {
			wrong = append(wrong, fmt.Sprintf("step %d: %s", c.Step, c.Fault))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d checkpoints of %s are %w; the others can be used (docs/runbook.md, A checkpoint is corrupt):\n%s",
		len(wrong), len(list), run, errDamaged, strings.Join(wrong, "\n"))
}

// listCheckpoints lists all of a run's checkpoints, those that cannot be used, too; verify reads every part.
func listCheckpoints(ctx context.Context, store blob.Store, run string, verify bool) ([]listedCheckpoint, error) {
	steps, err := checkpoint.Steps(ctx, store, run)
	if err != nil {
		return nil, err
	}
	if len(steps) == 0 {
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
	list := make([]listedCheckpoint, 0, len(steps))
	for _, step := range steps {
		c := listedCheckpoint{Step: step, Key: checkpoint.Key(run, step), Names: pointers[step]}
		err := c.look(ctx, store, run, verify)
		if errors.Is(err, checkpoint.ErrNone) {
			continue // deleted since it was listed
		}
		if err != nil && !unusable(err) {
			return nil, err
		}
		if err != nil {
			c.Fault = err.Error()
		}
		list = append(list, c)
	}
	return list, nil
}

// look fills in what the checkpoint's manifest says and, when asked, compares every part with it.
func (c *listedCheckpoint) look(ctx context.Context, store blob.Store, run string, verify bool) error {
	ref, err := checkpoint.Find(ctx, store, run, c.Step)
	c.SHA256 = ref.SHA256
	if err != nil {
		return err
	}
	m, err := checkpoint.LoadManifest(ctx, store, ref)
	if err != nil {
		return err
	}
	for _, f := range m.Files {
		c.Bytes += f.Ref.Size
	}
	if verify {
		return checkpoint.Verify(ctx, store, ref)
	}
	return nil
}

// unusable reports whether an error lies with the checkpoint, not with the store.
func unusable(err error) bool {
	return isAny(err, blob.ErrCorrupt, blob.ErrNotFound, checkpoint.ErrForeign, checkpoint.ErrNewer)
}
