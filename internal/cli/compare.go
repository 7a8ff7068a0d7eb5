package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"multiattempt/internal/evaluate"
	"multiattempt/internal/report"
)

func (a *app) newCompare() *cobra.Command {
	var format, figure string
	cmd := &cobra.Command{
		Use:   "compare A B [C…]",
		Short: "Compare runs by their newest evaluations, problem by problem",
		Long: `Each argument is a run, an evaluation, or a score table in a file. Prints accuracies with 95 % intervals, then for every
other one the difference from the first, paired by problem, with a bootstrap interval and McNemar's exact test.
Evaluations of other problems, another grading mode or other sampling are refused with the reason.`,
		Example: "  multiattempt compare quickstart-single-seed1 quickstart-multi-seed1 --figure out.svg",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if figure != "" && filepath.Ext(figure) != ".svg" {
				return usage("--figure %s: the figure is an .svg file", figure)
			}
			r := report.Report{Title: "Comparison"}
			for _, name := range args {
				result, err := a.loadComparable(cmd.Context(), name)
				if err != nil {
					return err
				}
				r.Arms = append(r.Arms, report.Arm{Name: name, Result: result, Seed: result.Seed})
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
			return a.printComparison(format, &r, comparisons)
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "text, markdown, csv (accuracies only) or json")
	cmd.Flags().StringVar(&figure, "figure", "", "file for the figure of accuracy by attempts (SVG)")
	return cmd
}

// loadComparable reads a score table from a file of that name, or from the run of that name.
func (a *app) loadComparable(ctx context.Context, name string) (*evaluate.Result, error) {
	if b, err := os.ReadFile(name); err == nil {
		return evaluate.Decode(b)
	}
	s, err := a.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.resultOf(ctx, name)
}

// compareWithFirst compares every other arm with the first.
func compareWithFirst(arms []report.Arm) ([]evaluate.Comparison, error) {
	var comparisons []evaluate.Comparison
	for _, b := range arms[1:] {
		c, err := evaluate.Compare(arms[0].Name, arms[0].Result, b.Name, b.Result)
		var refused *evaluate.IncomparableError
		if errors.As(err, &refused) {
			return nil, usage("%s and %s: %w", arms[0].Name, b.Name, err)
		}
		if err != nil {
			return nil, err
		}
		comparisons = append(comparisons, c)
	}
	return comparisons, nil
}

func (a *app) printComparison(format string, r *report.Report, comparisons []evaluate.Comparison) error {
	tables := append(r.Tables(), r.Details())
	for _, c := range comparisons {
		tables = append(tables, report.Differences(c)...)
	}
	switch format {
	case "json":
		return a.printJSON(comparisons)
	case "csv":
		return r.WriteCSV(a.stdout)
	case "markdown", "text":
	default:
		return usage("--format %s: want text, markdown, csv or json", format)
	}
	var out bytes.Buffer
	for i, t := range tables {
		if i > 0 {
			out.WriteByte('\n')
		}
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
