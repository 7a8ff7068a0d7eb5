package cli

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"multiattempt/config"
	"multiattempt/internal/checkpoint"
	"multiattempt/internal/printable"
	"multiattempt/internal/runs"
	"multiattempt/internal/spec"
	"multiattempt/presets"
	"multiattempt/workflows"
)

// completionWait is how long somebody who pressed Tab waits for services: those that do not answer complete nothing.
const completionWait = time.Second

// complete makes the shell complete what the arguments and flags of every command name.
func (a *app) complete(root *cobra.Command) {
	flags := map[string]cobra.CompletionFunc{
		"preset": a.completePresets, "model": a.completeModels, "run": a.completeRuns(""), "sets": a.completeSets, "arms": a.completeArms,
		"only": completeList([]string{"temporal", "store", "worker"}),
	}
	live := a.completeRuns("ExecutionStatus = 'Running'")
	arguments := map[string]cobra.CompletionFunc{
		"RUN": a.completeRuns(""), "RUN…": a.completeRuns(""), "[RUN…]": a.completeRuns(""), "A": a.completeRuns(""),
		"RUN@STEP": a.completeCheckpoints, "CHECKPOINT": a.completeCheckpoints, "MODEL": a.completeModels,
	}
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		for name, f := range flags {
			if c.Flags().Lookup(name) == nil && c.PersistentFlags().Lookup(name) == nil {
				continue
			}
			if err := c.RegisterFlagCompletionFunc(name, f); err != nil {
				panic(err) // a flag registered twice
			}
		}
		words := strings.Fields(c.Use)
		switch {
		case len(words) < 2:
			c.ValidArgsFunction = cobra.NoFileCompletions
		case slices.Contains([]string{"pause", "resume", "stop", "cancel", "checkpoint", "evaluate", "set"}, words[0]):
			c.ValidArgsFunction = live
		case arguments[words[1]] != nil:
			c.ValidArgsFunction = arguments[words[1]]
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	for _, c := range root.Commands() {
		visit(c)
	}
	for name, choices := range map[string][]string{
		"log-level": {"debug", "info", "warn", "error"}, "backend": {"auto", "xla", "xla:cuda", "go"}, "roles": {"control", "rollout", "learner"},
	} {
		if err := root.RegisterFlagCompletionFunc(name, completeList(choices)); err != nil {
			panic(err) // no such flag
		}
	}
}

// ask hands the services that the settings name to find, and returns what it finds in time.
func (a *app) ask(cmd *cobra.Command, find func(ctx context.Context, s *services) []string) []string {
	cfg, err := config.Load(cmd.Flags())
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionWait)
	defer cancel()
	quiet := &app{stdout: io.Discard, stderr: io.Discard, cfg: cfg, log: slog.New(slog.DiscardHandler), connected: a.connected}
	found := make(chan []string, 1)
	go func() {
		s, err := quiet.connect(ctx)
		if err != nil {
			found <- nil
			return
		}
		defer s.Close()
		found <- find(ctx, s)
	}()
	select {
	case all := <-found:
		return all
	case <-ctx.Done():
		return nil
	}
}

// completeRuns completes ids of runs that match a filter, other than those on the line already. With one run to name, what
// follows is no run.
func (a *app) completeRuns(filter string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) {
		several := strings.Contains(cmd.Use, "…")
		if len(args) > 0 && !several {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.ask(cmd, func(ctx context.Context, s *services) []string { return s.runNames(ctx, filter, text, args) }), cobra.ShellCompDirectiveNoFileComp
	}
}

// runNames lists runs that begin with text, each with what it is: a shell that shows explanations shows that.
func (s *services) runNames(ctx context.Context, filter, text string, without []string) (found []string) {
	listed, err := s.list(ctx, listQuery(false, filter))
	if err != nil {
		return nil
	}
	for _, r := range listed {
		if strings.HasPrefix(r.Run, text) && spec.ValidRunID(r.Run) && !slices.Contains(without, r.Run) {
			what := fmt.Sprintf("%s, %s, step %d", strings.ToLower(r.Kind), r.Status, r.Step)
			found = append(found, cobra.CompletionWithDesc(r.Run, printable.Line(what, 60)))
		}
	}
	return found
}

// completeCheckpoints completes RUN@STEP.
func (a *app) completeCheckpoints(cmd *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	run, _, stepped := strings.Cut(text, "@")
	found := a.ask(cmd, func(ctx context.Context, s *services) (found []string) {
		if !stepped {
			return s.runNames(ctx, "", text, nil)
		}
		all, err := checkpoint.List(ctx, s.store, run)
		if err != nil || !spec.ValidRunID(run) {
			return nil
		}
		for _, c := range all {
			found = append(found, fmt.Sprintf("%s@%d", run, c.Step))
		}
		if cmd.Name() == "export" {
			found = append(found, run+"@latest", run+"@best")
		}
		return slices.DeleteFunc(found, func(name string) bool { return !strings.HasPrefix(name, text) })
	})
	return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// completePresets completes the presets of training or, where those are meant, of fine-tuning.
func (a *app) completePresets(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	from := presets.Train()
	if cmd.Name() == "finetune" {
		from = presets.Finetune()
	}
	return names(from), cobra.ShellCompDirectiveNoFileComp
}

// names are those of the YAML files of a folder, without their ending.
func names(from fs.FS) (all []string) {
	files, _ := fs.Glob(from, "*.yaml") // the pattern is a good one
	for _, f := range files {
		all = append(all, strings.TrimSuffix(path.Base(f), ".yaml"))
	}
	slices.Sort(all)
	return all
}

// completeModels completes built-in models and runs' checkpoints; the shell itself completes folders.
func (a *app) completeModels(cmd *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var found []string
	for _, name := range presets.Models() {
		found = append(found, "builtin:"+name)
	}
	if run, given := strings.CutPrefix(text, runPrefix); given {
		found = a.ask(cmd, func(ctx context.Context, s *services) (found []string) {
			for _, name := range s.runNames(ctx, "WorkflowType = '"+workflows.TrainName+"'", run, nil) {
				found = append(found, runPrefix+name)
			}
			return found
		})
		return found, cobra.ShellCompDirectiveNoFileComp
	}
	found = slices.DeleteFunc(append(found, runPrefix, "hf:", "s3://"), func(name string) bool { return !strings.HasPrefix(name, text) })
	if len(found) == 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return found, cobra.ShellCompDirectiveDefault | cobra.ShellCompDirectiveNoSpace
}

// completeSets completes a list of sets of problems: those of the run that --run names, or of the presets, and files of the
// data directory.
func (a *app) completeSets(cmd *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) {
	var all []string
	if run := cmd.Flags().Lookup("run"); run != nil && run.Value.String() != "" {
		all = a.ask(cmd, func(ctx context.Context, s *services) []string {
			r, err := runs.NewReader(s.store, "").Run(ctx, run.Value.String())
			if err != nil {
				return nil
			}
			settings, err := r.Spec(ctx)
			if err != nil {
				return nil
			}
			return settings.Evaluation.Sets
		})
	}
	if len(all) == 0 {
		all = presetSets(cmd)
	}
	if cfg, err := config.Load(cmd.Flags()); err == nil {
		for _, ending := range []string{"*.jsonl", "*.parquet"} {
			files, _ := filepath.Glob(filepath.Join(cfg.DataDir, ending)) // the pattern is a good one
			for _, f := range files {
				all = append(all, filepath.Base(f))
			}
		}
	}
	return completeList(all)(cmd, args, text)
}

// presetSets are the sets of the preset that --preset names, or of all.
func presetSets(cmd *cobra.Command) (all []string) {
	from := names(presets.Train())
	if p := cmd.Flags().Lookup("preset"); p != nil && p.Value.String() != "" {
		from = []string{p.Value.String()}
	}
	for _, name := range from {
		doc, err := spec.Override(nil, spec.Run{}, []string{"preset=" + name})
		if err != nil {
			return nil
		}
		if r, err := spec.Resolve(doc, presets.Train()); err == nil {
			all = append(all, r.Evaluation.Sets...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// completeArms completes a list of arms: those that every preset has.
func (a *app) completeArms(cmd *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) {
	all := []string{"multi", "single"}
	if p := cmd.Flags().Lookup("preset"); p != nil {
		for _, name := range names(presets.Train()) {
			if arm, ok := strings.CutPrefix(name, p.Value.String()+"-"); ok && p.Value.String() != "" && !slices.Contains(all, arm) {
				all = append(all, arm)
			}
		}
	}
	return completeList(all)(cmd, args, text)
}

// completeList completes the last part of a list with commas by what the others are not.
func completeList(choices []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, text string) (found []string, _ cobra.ShellCompDirective) {
		before, last := "", text
		if at := strings.LastIndexByte(text, ','); at >= 0 {
			before, last = text[:at+1], text[at+1:]
		}
		for _, c := range choices {
			if strings.HasPrefix(c, last) && !slices.Contains(strings.Split(before, ","), c) && !strings.ContainsFunc(c, printable.Obeyed) {
				found = append(found, before+c)
			}
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}
