package dataset

import (
	"fmt"
	"strings"
)

// maxFaults is how many faults of one source are spelled out.
const maxFaults = 20

// Fault is one thing wrong in a data file.
type Fault struct {
	File   string
	Line   int // line of a JSONL file, row of a Parquet file, both from 1; 0: the file as a whole
	Reason string
}

func (f Fault) String() string {
	if f.Line == 0 {
		return fmt.Sprintf("%s: %s", f.File, f.Reason)
	}
	return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Reason)
}

// FaultsError lists what is wrong in a data source, all of it up to a limit. It matches ErrData.
type FaultsError struct {
	Faults []Fault // the first ones
	More   int     // how many others there are
}

func (e *FaultsError) Error() string {
	lines := make([]string, 0, len(e.Faults)+2)
	for _, f := range e.Faults {
		lines = append(lines, f.String())
	}
	if e.More > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", e.More))
	}
	if len(lines) == 1 {
		return fmt.Sprintf("%v: %s", ErrData, lines[0])
	}
	return fmt.Sprintf("%v, %d faults:\n  %s", ErrData, len(e.Faults)+e.More, strings.Join(lines, "\n  "))
}

// Unwrap makes errors.Is(err, ErrData) hold.
func (e *FaultsError) Unwrap() error { return ErrData }

// faults collects what is wrong while a source is read to its end.
type faults struct{ FaultsError }

func (f *faults) add(file string, line int, format string, args ...any) {
	if len(f.Faults) == maxFaults {
		f.More++
		return
	}
	f.Faults = append(f.Faults, Fault{File: file, Line: line, Reason: fmt.Sprintf(format, args...)})
}

// err returns what was collected, nil when that is nothing.
func (f *faults) err() error {
	if len(f.Faults) == 0 {
		return nil
	}
	return &f.FaultsError
}
