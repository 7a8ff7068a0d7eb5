package dataset

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
	// DataDir is where named sets are looked for before the Hugging Face Hub; empty means the Hub only.
	DataDir string
	// Local keeps a named set that is not in DataDir from being looked for on the Hub, be it in its cache: ErrHub.
	Local bool
	// FieldQuestion and FieldAnswer name the columns of a file; empty means the usual names (docs/datasets.md).
	FieldQuestion, FieldAnswer string
	// FieldHint names the column with hints, a text or a list of texts; empty means that there are none.
	FieldHint string
	// Limit keeps the first so many problems; 0 means all.
	Limit int
}

// Open loads the set called name: "smudged", a .jsonl or .parquet file, or one of Names. It reads everything at once:
// callers that need a set again keep it. Errors match ErrData (the source is unusable: file and line are named) or
// ErrHub (it could not be had), or are those of reading files.
func Open(ctx context.Context, name string, o Options) (*Set, error) {
	if o.Split != Train && o.Split != Test {
		return nil, fmt.Errorf("open data set %s: split %q is neither %q nor %q", name, o.Split, Train, Test)
	}
	if canonical, ok := aliases[name]; ok {
		name = canonical
	}
	switch {
	case name == Smudged && o.Split == Train:
		return &Set{Name: name, endless: smudgedTrain}, nil
	case name == Smudged:
		return newSet(name, SmudgedTest(), nil, o.Limit), nil
	case name == MathHard:
		return openMathHard(ctx, o)
	case isFile(name):
		problems, files, err := readProblems([]hubFile{{local: name}}, usual.with(o))
		if err != nil {
			return nil, err
		}
		return newSet(name, problems, files, o.Limit), nil
	}
	problems, files, err := openNamed(ctx, name, o)
	if err != nil {
		return nil, err
	}
	return newSet(name, problems, files, o.Limit), nil
}

// isFile reports whether a set's name is that of a file.
func isFile(name string) bool {
	ext := strings.ToLower(filepath.Ext(name))
	return ext == ".jsonl" || ext == ".parquet" || strings.ContainsRune(name, os.PathSeparator)
}

// openNamed loads a named set from the data folder or, where that does not have it, from the Hub.
func openNamed(ctx context.Context, name string, o Options) ([]Problem, []File, error) {
	set, known := sets[name]
	if !known {
		return nil, nil, fmt.Errorf("%w: no data set is called %q; name a .jsonl or .parquet file or one of %s",
			ErrData, name, strings.Join(Names(), ", "))
	}
	split := set.test
	if o.Split == Train {
		split = set.train
	}
	if split == "" {
		return nil, nil, fmt.Errorf("%w: %s is an evaluation set and has no training problems; to train on it nevertheless, name its file",
			ErrData, name)
	}
	m := set.mapping.with(o)
	looked := localFiles(o.DataDir, name, o.Split)
	for _, path := range looked {
		if _, err := os.Stat(path); err == nil {
			return readProblems([]hubFile{{local: path}}, m)
		}
	}
	if o.Local {
		return nil, nil, fmt.Errorf("%w: %s is not in the data folder, and nothing is fetched", ErrHub, name)
	}
	files, err := set.fetch(ctx, split)
	if err != nil {
		if o.DataDir != "" {
			return nil, nil, fmt.Errorf("data set %s: none of %s exists, and %w", name, strings.Join(looked, ", "), err)
		}
		return nil, nil, fmt.Errorf("data set %s: %w; without a network, put the files into a folder and name it with --data-dir", name, err)
	}
	return readProblems(files, m)
}

// localFiles are the paths at which a split of a named set may lie below dir, the most specific first.
func localFiles(dir, name string, split Split) []string {
	if dir == "" {
		return nil
	}
	var paths []string
	for _, stem := range []string{filepath.Join(name, string(split)), name + "-" + string(split), name} {
		for _, ext := range []string{".jsonl", ".parquet"} {
			paths = append(paths, filepath.Join(dir, stem+ext))
		}
	}
	return paths
}

// openMathHard puts MathHard together.
func openMathHard(ctx context.Context, o Options) (*Set, error) {
	if o.Split == Test {
		return nil, fmt.Errorf("%w: %s is a training set; evaluate on math500", ErrData, MathHard)
	}
	var all []Problem
	var files []File
	for _, split := range []Split{Train, Test} {
		problems, from, err := openNamed(ctx, "math", Options{Split: split, DataDir: o.DataDir, Local: o.Local})
		if err != nil {
			return nil, err
		}
		for _, p := range problems {
			p.ID = string(split) + "/" + p.ID
			all = append(all, p)
		}
		files = append(files, from...)
	}
	held, from, err := openNamed(ctx, "math500", Options{Split: Test, DataDir: o.DataDir, Local: o.Local})
	if err != nil {
		return nil, err
	}
	return newSet(MathHard, mathHard(all, held), append(files, from...), o.Limit), nil
}

// readProblems reads a set's files as one list. All faults are collected before it fails.
func readProblems(from []hubFile, m mapping) ([]Problem, []File, error) {
	var bad faults
	var records []record
	files := make([]File, len(from))
	for i, f := range from {
		rows, file, err := readRecords(f.local, &bad)
		if err != nil {
			return nil, nil, err
		}
		if f.source != "" {
			file.Source = f.source
		}
		if f.want != nil && *f.want != file.SHA256 {
			bad.add(f.local, 0, "sha256 is %s, the Hub says %s; delete the file, it will be downloaded again", file.SHA256, f.want)
		}
		records, files[i] = append(records, rows...), file
	}
	problems := m.problems(records, &bad)
	if len(problems) == 0 && len(bad.Faults) == 0 {
		bad.add(files[0].Path, 0, "holds no problem")
	}
	if err := bad.err(); err != nil {
		return nil, nil, err
	}
	return problems, files, nil
}

// newSet makes a set of a list.
func newSet(name string, problems []Problem, files []File, limit int) *Set {
	if limit > 0 && limit < len(problems) {
		problems = problems[:limit]
	}
	return &Set{Name: name, Files: files, Report: inspect(problems), problems: problems}
}
