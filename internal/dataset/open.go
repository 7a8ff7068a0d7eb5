package dataset

import (
	"context"
	"fmt"
)

// Split says what a set is opened for.
type Split string

// The splits.
const (
	Train Split = "train"
	Test  Split = "test"
)

// Options say where data is and what its columns are called.
type Options struct {
	// Split chooses between a named set's training and test problems; a file holds what it holds.
	Split Split
	// DataDir is where named sets are looked for first; empty means the Hugging Face Hub only.
	DataDir string
	// FieldQuestion and FieldAnswer name the columns of a user's file; empty means the usual names (docs/datasets.md).
	FieldQuestion, FieldAnswer string
	// Limit keeps the first so many problems; 0 means all.
	Limit int
}

// Open loads the set called name: "smudged", a .jsonl or .parquet file, or a data set's name.
// Errors that match ErrData name file and line.
func Open(ctx context.Context, name string, o Options) (*Set, error) {
	if o.Split != Train && o.Split != Test {
		return nil, fmt.Errorf("open data set %s: split %q is neither %q nor %q", name, o.Split, Train, Test)
	}
	if name == Smudged {
		if o.Split == Train {
			return &Set{Name: name, endless: SmudgedTrain}, nil
		}
		return newSet(name, SmudgedTest(), nil, o.Limit), nil
	}
	return nil, fmt.Errorf("%w: no data set is called %q", ErrData, name)
}

// newSet makes a set of a list.
func newSet(name string, problems []Problem, files []File, limit int) *Set {
	if limit > 0 && limit < len(problems) {
		problems = problems[:limit]
	}
	return &Set{Name: name, Files: files, Report: inspect(problems), problems: problems}
}
