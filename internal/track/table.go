package track

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/parquet-go/parquet-go"

	"multiattempt/internal/blob"
)

// Table has one row for each step of each run, and a column for every number that any of them has.
type Table struct {
	Columns []string // without run, step and time; ascending
	Rows    []Row
}

// Row is one step of a run.
type Row struct {
	Run    string
	Step   int // iterations done
	At     time.Time
	Values map[string]float64 // by column; a step lacks what was not measured
}

// ReadTable reads runs, in the order given, each in the order of steps.
func ReadTable(ctx context.Context, s blob.Store, runs []string) (*Table, error) {
	t := &Table{}
	columns := map[string]bool{}
	for _, run := range runs {
		if _, err := ReadSettings(ctx, s, run); err != nil {
			return nil, err
		}
		steps, err := Steps(ctx, s, run, 0)
		if err != nil {
			return nil, err
		}
		rows := map[int]*Row{}
		for _, step := range steps {
			scalars, err := step.Scalars()
			if err != nil {
				return nil, err
			}
			rowAt(rows, run, step.Step, step.At).add(scalars)
		}
		evaluations, err := Evaluations(ctx, s, run)
		if err != nil {
			return nil, err
		}
		for _, e := range evaluations { // that of step 0 has a row of its own
			rowAt(rows, run, e.Step, e.At).add(e.Scalars())
		}
		for _, step := range slices.Sorted(maps.Keys(rows)) {
			t.Rows = append(t.Rows, *rows[step])
			for name := range rows[step].Values {
				columns[name] = true
			}
		}
	}
	t.Columns = slices.Sorted(maps.Keys(columns))
	return t, nil
}

func rowAt(rows map[int]*Row, run string, step int, at time.Time) *Row {
	if rows[step] == nil {
		rows[step] = &Row{Run: run, Step: step, At: at.UTC(), Values: map[string]float64{}}
	}
	return rows[step]
}

func (r *Row) add(scalars []Scalar) {
	for _, s := range scalars {
		r.Values[s.Tag()] = s.Value
	}
}

// WriteCSV writes a header and the rows; what a step lacks is empty.
func (t *Table) WriteCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	if err := out.Write(append([]string{"run", "step", "time"}, t.Columns...)); err != nil {
		return err
	}
	for _, r := range t.Rows {
		line := []string{r.Run, strconv.Itoa(r.Step), r.At.Format(time.RFC3339Nano)}
		for _, c := range t.Columns {
			cell := ""
			if v, ok := r.Values[c]; ok {
				cell = strconv.FormatFloat(v, 'g', -1, 64)
			}
			line = append(line, cell)
		}
		if err := out.Write(line); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// WriteParquet writes the rows; what a step lacks is null. Columns are in the order of their names.
func (t *Table) WriteParquet(w io.Writer) error {
	group := parquet.Group{
		"run":  parquet.String(),
		"step": parquet.Int(64),
		"time": parquet.Timestamp(parquet.Microsecond),
	}
	for _, c := range t.Columns {
		group[c] = parquet.Optional(parquet.Leaf(parquet.DoubleType))
	}
	schema := parquet.NewSchema("metrics", group)
	out := parquet.NewWriter(w, schema, parquet.Compression(&parquet.Zstd))
	names := slices.Sorted(maps.Keys(group))
	for _, r := range t.Rows {
		row := make(parquet.Row, len(names))
		for i, name := range names {
			row[i] = r.cell(name).Level(0, 0, i)
			if v, ok := r.Values[name]; ok {
				row[i] = parquet.DoubleValue(v).Level(0, 1, i)
			}
		}
		if _, err := out.WriteRows([]parquet.Row{row}); err != nil {
			return fmt.Errorf("parquet: %w", err)
		}
	}
	return out.Close()
}

// cell is the value of one of the first three columns, or null.
func (r Row) cell(name string) parquet.Value {
	switch name {
	case "run":
		return parquet.ByteArrayValue([]byte(r.Run))
	case "step":
		return parquet.Int64Value(int64(r.Step))
	case "time":
		return parquet.Int64Value(r.At.UnixMicro())
	default:
		return parquet.NullValue()
	}
}
