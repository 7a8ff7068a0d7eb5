package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"multiattempt/internal/evaluate"
	"multiattempt/internal/report"
	"multiattempt/workflows"
)

func (a *app) newCompare() *cobra.Command {
	var format, figure, folder, metric string
	var slack float64
	cmd := &cobra.Command{
		Use:   "compare A B [C…]",
		Short: "Compare runs by their newest evaluations, problem by problem",
		Long: `Each argument is a run, an evaluation, or a score table in a file; NAME=A1,A2,… is one arm of several seeds; an experiment
stands for all of its arms. Prints accuracies with 95 % intervals, what more attempts are worth, then for every other one
the difference from the first, paired by problem, with a bootstrap interval and McNemar's exact test. Of several seeds it
shows means and intervals over seeds. Evaluations of other problems, another grading mode or other sampling are refused
with the reason.`,
		Example: `  multiattempt compare quickstart-single-seed1 quickstart-multi-seed1 --figure out.svg
  multiattempt compare single=s1,s2,s3 multi=m1,m2,m3 --format markdown
  multiattempt compare my-experiment --out report`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if figure != "" && filepath.Ext(figure) != ".svg" {
				return usage("--figure %s: the figure is an .svg file", figure)
			}
			if err := checkFormat(format); err != nil {
				return err
			}
			r := report.Report{Title: "Comparison of " + strings.Join(args, ", ")}
			for _, name := range args {
				arms, err := a.loadArms(cmd.Context(), name)
				if err != nil {
					return err
				}
				r.Arms = append(r.Arms, arms...)
			}
			if err := distinct(r.Arms); err != nil {
				return err
			}
			if len(r.Arms) < 2 {
				return usage("%s is one arm; name another to compare it with", args[0])
			}
			if metric != "" {
				return a.reach(cmd.Context(), format, metric, slack, r.Arms)
			}
			comparisons, err := compareWithFirst(r.Arms)
			if err != nil {
				return err
			}
			if figure != "" {
				svg, err := r.Figure("")
				if err != nil {
					return err
				}
				if err := renameio.WriteFile(figure, svg, 0o644); err != nil {
					return err
				}
			}
			if folder != "" {
				if err := r.WriteFolder(folder); err != nil {
					return err
				}
			}
			return a.printComparison(format, &r, comparisons)
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "text, markdown, csv (scores, then differences) or json")
	cmd.Flags().StringVar(&metric, "reach", "", "instead, print when each run first reached the first arm's final score by this metric, as in accuracy@2: needs evaluation.every")
	cmd.Flags().Float64Var(&slack, "within", 0, "with --reach, how much less is enough, as a share of 1")
	cmd.Flags().StringVar(&folder, "out", "", "folder for a report: page, figure, tables and scores")
	cmd.Flags().StringVar(&figure, "figure", "", "file for the figure of accuracy by attempts (SVG)")
	return cmd
}

// loadArms finds what an argument names: one arm, or an experiment's.
func (a *app) loadArms(ctx context.Context, argument string) ([]report.Arm, error) {
	if b, err := os.ReadFile(argument); err == nil {
		result, err := evaluate.Decode(b)
		if err != nil {
			return nil, err
		}
		return []report.Arm{newArm(argument, []*evaluate.Result{result})}, nil
	}
	if name, list, grouped := strings.Cut(argument, "="); grouped {
		if name == "" || list == "" {
			return nil, usage("%s: want NAME=A1,A2,…", argument)
		}
		arm, err := a.loadGroup(ctx, name, strings.Split(list, ","))
		return []report.Arm{arm}, err
	}
	s, err := a.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	info, err := s.describe(ctx, argument)
	if err != nil {
		return nil, err
	}
	if info.Type.Name == workflows.ExperimentName {
		st, err := s.experimentStatus(ctx, argument)
		if err != nil {
			return nil, err
		}
		arms, err := s.armsOf(ctx, st)
		if err == nil && len(arms) == 0 {
			err = usage("no run of experiment %s has been evaluated yet", argument)
		}
		return arms, err
	}
	result, err := s.resultOf(ctx, argument)
	if err != nil {
		return nil, err
	}
	return []report.Arm{newArm(argument, []*evaluate.Result{result})}, nil
}

// loadGroup reads the runs of one arm.
func (a *app) loadGroup(ctx context.Context, name string, runs []string) (report.Arm, error) {
	var results []*evaluate.Result
	for _, run := range runs {
		arms, err := a.loadArms(ctx, run)
		if err != nil {
			return report.Arm{}, err
		}
		for _, arm := range arms {
			results = append(results, arm.Group().Results...)
		}
	}
	arm := newArm(name, results)
	return arm, refusedAs(arm.Group().Check(), "arm "+name)
}

// refusedAs makes results that do not go together the user's mistake.
func refusedAs(err error, what string) error {
	if _, refused := errors.AsType[*evaluate.IncomparableError](err); refused {
		return usage("%s: %w", what, err)
	}
	return err
}

// compareWithFirst compares every other arm with the first.
func compareWithFirst(arms []report.Arm) ([]evaluate.Comparison, error) {
	var comparisons []evaluate.Comparison
	for _, b := range arms[1:] {
		c, err := evaluate.CompareGroups(arms[0].Group(), b.Group())
		if err != nil {
			return nil, refusedAs(err, arms[0].Name+" and "+b.Name)
		}
		comparisons = append(comparisons, c)
	}
	return comparisons, nil
}

// comparison is what compare --format json prints.
type comparison struct {
	Arms        []comparedArm         `json:"arms"`
	Comparisons []evaluate.Comparison `json:"comparisons"` // each arm but the first with the first
}

type comparedArm struct {
	Name  string        `json:"name"`
	Seeds []uint64      `json:"seeds"`
	Sets  []comparedSet `json:"sets"`
	// Average is the unweighted mean over the sets; none with a single set.
	Average []evaluate.Mean `json:"average,omitempty"`
}

type comparedSet struct {
	Name   string                `json:"set"`
	Scores []evaluate.GroupScore `json:"scores"`
	Gains  []evaluate.Gain       `json:"gains"`
}

func newComparison(r *report.Report, comparisons []evaluate.Comparison) comparison {
	c := comparison{Comparisons: comparisons}
	for _, arm := range r.Arms {
		g := arm.Group()
		out := comparedArm{Name: arm.Name, Seeds: g.Seeds(), Average: g.Average()}
		for _, set := range arm.Result.Sets {
			out.Sets = append(out.Sets, comparedSet{Name: set.Name, Scores: g.Scores(set.Name), Gains: g.Gains(set.Name)})
		}
		c.Arms = append(c.Arms, out)
	}
	return c
}

// distinct refuses what would be counted twice: a run in two places of the same arm, or two arms of one name.
func distinct(arms []report.Arm) error {
	names := map[string]bool{}
	for _, arm := range arms {
		if names[arm.Name] {
			return usage("two arms are called %s; NAME=A1,A2,… gives them names", arm.Name)
		}
		names[arm.Name] = true
		there := map[string]bool{}
		for _, r := range arm.Group().Results {
			id := fmt.Sprintf("%s at step %d", r.Run, r.Step)
			if there[id+r.Policy] {
				return usage("arm %s has %s twice: its interval would be too narrow", arm.Name, id)
			}
			there[id+r.Policy] = true
		}
	}
	return nil
}

// checkFormat refuses what compare cannot write.
func checkFormat(format string) error {
	if !slices.Contains([]string{"text", "markdown", "csv", "json"}, format) {
		return usage("--format %s: want text, markdown, csv or json", format)
	}
	return nil
}

func (a *app) printComparison(format string, r *report.Report, comparisons []evaluate.Comparison) error {
	switch format {
	case "json":
		return a.printJSON(newComparison(r, comparisons))
	case "csv":
		if err := r.WriteCSV(a.stdout); err != nil {
			return err
		}
		a.printf("\n")
		return report.WriteDifferencesCSV(a.stdout, comparisons)
	}
	tables := slices.Concat(r.Tables(), r.Gains(), r.ParallelTables(), []report.Table{r.Details()})
	for _, c := range comparisons {
		tables = append(tables, report.Differences(c)...)
	}
	var out bytes.Buffer
	for _, t := range tables {
		write := t.WriteText
		if format == "markdown" {
			write = t.WriteMarkdown
		}
		if err := write(&out); err != nil {
			return err
		}
	}
	_, err := out.WriteTo(a.stdout)
	return err
}
