package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"multiattempt/internal/evaluate"
	"multiattempt/internal/report"
	"multiattempt/internal/rollout"
	"multiattempt/internal/runs"
	"multiattempt/presets"
)

func (a *app) newReport() *cobra.Command {
	var out string
	var dialogues int
	cmd := &cobra.Command{
		Use:   "report RUN…",
		Short: "Write one file about runs to send to somebody",
		Long: `Writes figures, warnings, evaluations with paired comparisons, chosen dialogues and settings of one or more runs into one
self-contained file: HTML with the figures inside, or Markdown with them as numbers. The first run is what others are compared
with. Runs are read from the store; Temporal need not run.`,
		Example: "  multiattempt report quickstart-single-seed1 quickstart-multi-seed1 -o report.html\n  multiattempt report my-run -o report.md --dialogues 10",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			write := map[string]func(*report.Runs, *bytes.Buffer) error{
				".html": func(r *report.Runs, b *bytes.Buffer) error { return r.WriteHTML(b) },
				".md":   func(r *report.Runs, b *bytes.Buffer) error { return r.WriteMarkdown(b) },
			}[filepath.Ext(out)]
			if write == nil {
				return usage("-o %s: a report is an .html or an .md file", out)
			}
			if dialogues < 0 {
				return usage("--dialogues is %d, must be 0 (none) or positive", dialogues)
			}
			ctx := cmd.Context()
			s, err := a.connectStore(ctx, true)
			if err != nil {
				return err
			}
			defer s.Close()
			r, err := gatherReport(ctx, runs.NewReader(s.store, a.cfg.CacheDir), args, dialogues)
			if err != nil {
				return err
			}
			var b bytes.Buffer
			if err := write(r, &b); err != nil {
				return err
			}
			if err := renameio.WriteFile(out, b.Bytes(), 0o644); err != nil {
				return err
			}
			a.printf("%s\n", out)
			return nil
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "report.html", "the file, .html or .md")
	cmd.Flags().IntVar(&dialogues, "dialogues", 50, "dialogues to show, of all runs together")
	return cmd
}

// gatherReport reads runs; what of them cannot be read is a notice in the report.
func gatherReport(ctx context.Context, reader *runs.Reader, names []string, dialogues int) (*report.Runs, error) {
	r := &report.Runs{
		Title: "Report on " + names[0],
		Lead:  fmt.Sprintf("multiattempt, %s.", time.Now().UTC().Format("2 January 2006, 15:04 UTC")),
	}
	if len(names) > 1 {
		r.Title = fmt.Sprintf("Report on %d runs", len(names))
	}
	var all []*runs.Run
	for i, name := range names {
		run, err := reader.Run(ctx, name)
		if errors.Is(err, runs.ErrNone) {
			return nil, usage("no run is called %s; `multiattempt runs` lists them, and `multiattempt compare %s --out FOLDER` makes the report of an experiment", name, name)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, run)
		part, err := gatherPart(ctx, r, run, (dialogues+len(names)-1-i)/len(names))
		if err != nil {
			return nil, err
		}
		r.Parts = append(r.Parts, part)
	}
	addCurves(ctx, r, all)
	first := r.Evaluated.Arms
	for i := 1; i < len(first); i++ {
		c, err := evaluate.Compare(first[0].Name, first[0].Result, first[i].Name, first[i].Result)
		var refused *evaluate.IncomparableError
		if errors.As(err, &refused) {
			r.Notices = append(r.Notices, fmt.Sprintf("%s and %s: %v", first[0].Name, first[i].Name, err))
			continue
		}
		if err != nil {
			return nil, err
		}
		r.Comparisons = append(r.Comparisons, c)
	}
	return r, nil
}

// gatherPart reads one run.
func gatherPart(ctx context.Context, r *report.Runs, run *runs.Run, dialogues int) (report.RunPart, error) {
	part := report.RunPart{Name: run.Name}
	note := func(what string, err error) {
		if err != nil {
			r.Notices = append(r.Notices, fmt.Sprintf("%s: %s: %v", run.Name, what, err))
		}
	}
	for _, f := range run.Faults() {
		r.Notices = append(r.Notices, run.Name+": "+f.String())
	}
	records := run.Records()
	part.Facts = append(part.Facts, [2]string{"Steps", fmt.Sprint(run.Last())})
	if len(records) > 0 {
		last := records[len(records)-1]
		part.Facts = append(part.Facts, [2]string{"Reward, mean per episode", fmt.Sprintf("%+.3f", last.Reward.RewardMean)},
			[2]string{"Training episodes solved", fmt.Sprintf("%.1f %%", 100*last.Reward.Solved)})
	}
	for _, w := range runs.Warnings(records) {
		part.Warnings = append(part.Warnings, fmt.Sprintf("%s: %s %s.", w.Title, w.Text, w.Where))
	}
	if score, step, ok := run.Best(ctx); ok {
		part.Facts = append(part.Facts, [2]string{"Best score", fmt.Sprintf("%.1f %% at step %d", 100*score, step)})
	}
	settings, err := run.Spec(ctx)
	note("settings", err)
	if err == nil {
		part.Facts = append(part.Facts, [2]string{"Model", settings.Model.Source}, [2]string{"Seed", fmt.Sprint(settings.Seed)})
		if err := addSettingTables(&part, settings.Preset, func() ([]runs.Setting, error) { return runs.Settings(settings, presets.Train()) }); err != nil {
			return part, err
		}
	}
	evaluations, faults, err := run.Evaluations(ctx)
	note("evaluations", err)
	for _, f := range faults {
		r.Notices = append(r.Notices, run.Name+": "+f.String())
	}
	if n := len(evaluations); n > 0 {
		e := evaluations[n-1]
		r.Evaluated.Arms = append(r.Evaluated.Arms, report.Arm{Name: run.Name, Seed: e.Result.Seed, Result: e.Result})
		part.Facts = append(part.Facts, [2]string{"Evaluated", fmt.Sprintf("after step %d", e.Step)})
	}
	if run.Last() > 0 && dialogues > 0 {
		const examined = 2000 // of the newest steps
		found, err := run.Search(ctx, runs.Query{Limit: examined, From: max(1, run.Last()-1)})
		note("dialogues", err)
		episodes := make([]rollout.Episode, len(found.Dialogues))
		for i, d := range found.Dialogues {
			episodes[i] = d.Episode
		}
		part.Dialogues = report.PickExamples(episodes, dialogues)
	}
	return part, nil
}

func addSettingTables(part *report.RunPart, preset string, list func() ([]runs.Setting, error)) error {
	all, err := list()
	if err != nil {
		return err
	}
	from := "the defaults"
	if preset != "" {
		from = "the preset " + preset
	}
	part.Changed = report.Table{Caption: part.Name + ": settings that differ from " + from, Header: []string{"setting", "value", "usually"}}
	part.Settings = report.Table{Caption: "Resolved settings", Header: []string{"setting", "value"}}
	for _, x := range all {
		part.Settings.Rows = append(part.Settings.Rows, []string{x.Path, x.Value})
		if x.Changed {
			part.Changed.Rows = append(part.Changed.Rows, []string{x.Path, x.Value, x.Usual})
		}
	}
	return nil
}

// addCurves draws one run's figures as its page does, and of several runs each figure's first line.
func addCurves(ctx context.Context, r *report.Runs, all []*runs.Run) {
	r.Scores = report.Table{Caption: "Figures as numbers", Header: []string{"run", "measurement", "unit", "first", "last", "mean of last 8", "lowest", "highest"}}
	at := map[string]int{}
	for _, run := range all {
		records := run.Records()
		timings, err := run.Timings(ctx)
		if err != nil {
			r.Notices = append(r.Notices, fmt.Sprintf("%s: times of stages: %v", run.Name, err))
		}
		charts := runs.Charts(records, run.Times(), timings)
		for _, row := range runs.Summary(charts) {
			cells := []string{run.Name, row.Name, row.Unit}
			for _, x := range []float64{row.First, row.Last, row.Mean8, row.Low, row.High} {
				cells = append(cells, fmt.Sprintf("%.4g", x))
			}
			r.Scores.Rows = append(r.Scores.Rows, cells)
		}
		for _, c := range charts {
			i, seen := at[c.ID]
			if !seen {
				i = len(r.Curves)
				at[c.ID] = i
				r.Curves = append(r.Curves, report.Curves{Title: c.Title, Unit: c.Unit})
			}
			lines := c.Series
			if len(all) > 1 && len(lines) > 0 {
				lines = lines[:1]
				r.Curves[i].Title = c.Title
				if len(c.Series) > 1 {
					r.Curves[i].Title += ": " + lines[0].Label
				}
			}
			for _, line := range lines {
				curved := report.Curved{Label: line.Label}
				if len(all) > 1 {
					curved.Label = run.Name
				}
				for j, v := range line.Values {
					if v != nil {
						curved.Steps, curved.Values = append(curved.Steps, records[j].Step), append(curved.Values, *v)
					}
				}
				r.Curves[i].Lines = append(r.Curves[i].Lines, curved)
			}
		}
	}
}
