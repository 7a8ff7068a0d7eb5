package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"multiattempt/internal/blob"
	"multiattempt/internal/checkpoint"
	"multiattempt/internal/report"
	"multiattempt/internal/spec"
)

// audited is what fsck --json prints of one run.
type audited struct {
	Run         string        `json:"run"`
	Checkpoints int           `json:"checkpoints"`
	Objects     int           `json:"objects"`
	Bytes       int64         `json:"bytes"`
	Faults      []listedFault `json:"faults"`
	Orphans     []string      `json:"orphans"`
	OrphanBytes int64         `json:"orphan_bytes"`
}

type listedFault struct {
	Key   string `json:"key"`
	From  string `json:"referred_to_by,omitempty"`
	Error string `json:"error"`
}

func (a *app) newFsck() *cobra.Command {
	var read, collect, asJSON bool
	var older time.Duration
	cmd := &cobra.Command{
		Use:   "fsck [RUN…]",
		Short: "Check that everything the runs refer to is in the store, and find what is left over",
		Long: `Follows every reference from the checkpoints, records and evaluations of the runs (all, when none is named). It changes
nothing unless --gc is given, which deletes what is left over: objects of steps up to the newest checkpoint that nothing refers
to, such as the episodes of workers that were given up for dead, or their parts of checkpoints. A fault makes the exit code 1.
It also looks for uploads in parts to an S3 service that were never finished, and --gc aborts them once they are a day old.

Without a RUN it also looks at what belongs to no run, the models below blobs/. What no run refers to, be it over or under way,
is left over once it is a day old. --gc deletes nothing there while any run has a fault. Of a folder of objects (store.dir) it also
deletes what interrupted writes left, once that is a day old.`,
		Example: "  multiattempt fsck\n  multiattempt fsck quickstart-seed1 --read --gc",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer s.Close()
			whole := len(args) == 0
			if whole {
				if args, err = checkpoint.Runs(cmd.Context(), s.store); err != nil {
					return err
				}
			}
			var prefixes []string // of uploads
			stale := time.Now().Add(-max(older, blob.CollectAfter))
			var all []audited
			for _, run := range args {
				if err := spec.CheckRunID(run); err != nil && !whole {
					return err
				}
				found, err := a.audit(cmd, s.store, run, checkpoint.AuditOptions{Read: read, Before: time.Now().Add(-older)}, collect)
				if err != nil {
					return err
				}
				all = append(all, found)
				prefixes = append(prefixes, "runs/"+run+"/")
			}
			if whole {
				shared, err := auditShared(cmd.Context(), s.store, time.Now().Add(-older), collect && !faulty(all))
				if err != nil {
					return err
				}
				all = append(all, shared)
				if err := a.sweep(cmd.Context(), s.store, stale, collect); err != nil {
					return err
				}
				prefixes = []string{"runs/", checkpoint.SharedPrefix}
			}
			for _, prefix := range prefixes {
				if err := a.sweepUploads(cmd.Context(), s.store, prefix, stale, collect); err != nil {
					return err
				}
			}
			return a.printAudit(all, asJSON, collect)
		},
	}
	cmd.Flags().BoolVar(&read, "read", false, "read every object and compare digests")
	cmd.Flags().BoolVar(&collect, "gc", false, "delete what is left over")
	cmd.Flags().DurationVar(&older, "older", time.Hour, "spare what is younger, by the store's clock; below blobs/ at least a day")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func (a *app) audit(cmd *cobra.Command, s blob.Store, run string, o checkpoint.AuditOptions, collect bool) (audited, error) {
	found, err := checkpoint.Inspect(cmd.Context(), s, run, o)
	if err != nil {
		return audited{}, err
	}
	if found.Objects == 0 {
		return audited{}, usage("run %s has nothing in the store", run)
	}
	out := audited{Run: run, Checkpoints: found.Checkpoints, Objects: found.Objects, Bytes: found.Bytes, Faults: []listedFault{}, Orphans: []string{}}
	for _, f := range found.Faults {
		out.Faults = append(out.Faults, listedFault{Key: f.Key, From: f.From, Error: f.Err.Error()})
	}
	for _, orphan := range found.Orphans {
		out.Orphans = append(out.Orphans, orphan.Key)
		out.OrphanBytes += orphan.Size
	}
	if collect && len(found.Faults) == 0 {
		err = checkpoint.Collect(cmd.Context(), s, found)
	}
	return out, err
}

// auditShared looks at the objects that belong to no run; it is listed as a run of their prefix's name.
func auditShared(ctx context.Context, s blob.Store, before time.Time, collect bool) (audited, error) {
	found, err := checkpoint.InspectShared(ctx, s, before)
	if errors.Is(err, checkpoint.ErrUnreadable) && !collect { // a fault of some run, which is listed there
		err = nil
	}
	if err != nil {
		return audited{}, err
	}
	out := audited{Run: checkpoint.SharedPrefix, Objects: found.Objects, Bytes: found.Bytes, Faults: []listedFault{}, Orphans: []string{}}
	for _, orphan := range found.Orphans {
		out.Orphans = append(out.Orphans, orphan.Key)
		out.OrphanBytes += orphan.Size
	}
	if collect {
		_, err = checkpoint.CollectShared(ctx, s, found)
	}
	return out, err
}

// sweep looks for bytes that belong to no object, which only a folder of this machine may hold.
func (a *app) sweep(ctx context.Context, s blob.Store, before time.Time, collect bool) error {
	folder, ok := s.(blob.Sweeper)
	if !ok {
		return nil
	}
	pieces, bytes, err := folder.Sweep(ctx, before, !collect)
	if err == nil && pieces > 0 {
		a.notef("Interrupted writes left %d files of %.1f MB.\n", pieces, float64(bytes)/1e6)
	}
	return err
}

// sweepUploads looks for what writers that died left below a prefix of an S3 service, under no key.
func (a *app) sweepUploads(ctx context.Context, s blob.Store, prefix string, before time.Time, collect bool) error {
	service, ok := s.(blob.UploadSweeper)
	if !ok {
		return nil
	}
	uploads, bytes, err := service.SweepUploads(ctx, prefix, before, !collect)
	if err == nil && uploads > 0 {
		a.notef("Below %s %d uploads of %.1f MB were never finished.\n", prefix, uploads, float64(bytes)/1e6)
	}
	return err
}

func faulty(all []audited) bool {
	return slices.ContainsFunc(all, func(r audited) bool { return len(r.Faults) > 0 })
}

// printAudit writes what was found; faults become the command's error.
func (a *app) printAudit(all []audited, asJSON, collected bool) error {
	faults := 0
	t := report.Table{Header: []string{"run", "checkpoints", "objects", "MB", "faults", "left over", "MB"}}
	for _, r := range all {
		faults += len(r.Faults)
		t.Rows = append(t.Rows, []string{r.Run, fmt.Sprint(r.Checkpoints), fmt.Sprint(r.Objects), fmt.Sprintf("%.1f", float64(r.Bytes)/1e6),
			fmt.Sprint(len(r.Faults)), fmt.Sprint(len(r.Orphans)), fmt.Sprintf("%.1f", float64(r.OrphanBytes)/1e6)})
	}
	var err error
	if asJSON {
		err = a.printJSON(all)
	} else {
		err = a.writeTable(a.stdout, t)
		for _, r := range all {
			for _, f := range r.Faults {
				a.printf("%s\n    %s\n", f.Key, f.Error)
			}
		}
		if collected {
			a.notef("What was left over is deleted, except of runs with faults, and below %s while there are any.\n", checkpoint.SharedPrefix)
		}
	}
	if err == nil && faults > 0 {
		return fmt.Errorf("faults in objects that something refers to: %d; restore them from a replica of the bucket, or go back to an earlier checkpoint with `multiattempt fork RUN@STEP`", faults)
	}
	return err
}
