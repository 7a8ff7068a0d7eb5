package report

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// The files that WriteFolder makes.
const (
	PageFile    = "report.html"
	FigureFile  = "figure.svg"
	SummaryFile = "summary.json"
	TableFile   = "table.md"
	ScoresFile  = "scores.csv"
)

// WriteFolder writes the report's page, the figure of its first set, summary, tables and scores into dir, which is made
// if absent. Each file appears whole or not at all; files of the same names are replaced.
func (r *Report) WriteFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("report folder: %w", err)
	}
	figure := func(w io.Writer) error {
		svg, err := r.Figure("")
		if err == nil {
			_, err = w.Write(svg)
		}
		return err
	}
	summary := func(w io.Writer) error {
		b, err := r.Summary()
		if err == nil {
			_, err = w.Write(b)
		}
		return err
	}
	tables := func(w io.Writer) error {
		for _, t := range append(r.Tables(), r.Details()) {
			if err := t.WriteMarkdown(w); err != nil {
				return err
			}
		}
		return nil
	}
	for _, file := range []struct {
		name  string
		write func(io.Writer) error
	}{{PageFile, r.WriteHTML}, {FigureFile, figure}, {SummaryFile, summary}, {TableFile, tables}, {ScoresFile, r.WriteCSV}} {
		var b bytes.Buffer
		if err := file.write(&b); err != nil {
			return fmt.Errorf("report file %s: %w", file.name, err)
		}
		if err := renameio.WriteFile(filepath.Join(dir, file.name), b.Bytes(), 0o644); err != nil {
			return fmt.Errorf("report file %s: %w", file.name, err)
		}
	}
	return nil
}
