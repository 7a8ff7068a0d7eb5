package dataset

import (
	"fmt"
	"slices"

	"multiattempt/internal/spec"
)

// Arrange returns the training set as the spec presents it: with problems of its levels only and, with a curriculum, with
// the levels opening one after another (Bengio et al., "Curriculum Learning", 2009). ErrData names levels and columns that the
// set lacks.
func (s *Set) Arrange(d spec.Data) (*Set, error) {
	if err := s.checkColumns(d); err != nil {
		return nil, err
	}
	if len(d.Levels) == 0 && d.Curriculum == 0 {
		return s, nil
	}
	known := s.known()
	arranged := *s
	arranged.curriculum, arranged.levels = d.Curriculum, slices.Sorted(slices.Values(d.Levels))
	if len(d.Levels) == 0 {
		arranged.levels = known
	}
	for _, level := range arranged.levels {
		switch {
		case level == 0:
			return nil, fmt.Errorf("%w: set %s has problems without a level: no curriculum can place them; name levels in data.levels to leave them out",
				ErrData, s.Name)
		case !slices.Contains(known, level):
			return nil, fmt.Errorf("%w: set %s has no problem of level %d; it has the levels %v", ErrData, s.Name, level, known)
		}
	}
	arranged.problems = ofLevels(s.problems, arranged.levels)
	if s.endless == nil {
		arranged.Report = inspect(arranged.problems)
	}
	return &arranged, nil
}

// known lists the levels of the set's problems, ascending; 0 stands for problems without one.
func (s *Set) known() []int {
	if s.endless != nil {
		return smudgedLevels()
	}
	var levels []int
	for _, p := range s.problems {
		if at, found := slices.BinarySearch(levels, p.Level); !found {
			levels = slices.Insert(levels, at, p.Level)
		}
	}
	return levels
}

// ofLevels keeps the problems of some levels.
func ofLevels(problems []Problem, levels []int) []Problem {
	var kept []Problem
	for _, p := range problems {
		if slices.Contains(levels, p.Level) {
			kept = append(kept, p)
		}
	}
	return kept
}

// stage is a stretch of steps in which the same levels are open.
type stage struct {
	number int
	begin  int   // its first step
	levels []int // open; nil: all problems of the set
}

// stage returns the stage of a step: of n levels and C steps of curriculum, level k opens at step ⌈k·C/n⌉.
func (s *Set) stage(step int) stage {
	n := len(s.levels)
	if s.curriculum == 0 || n == 0 {
		return stage{levels: s.levels}
	}
	k := min(step*n/s.curriculum, n-1)
	return stage{number: k, begin: (k*s.curriculum + n - 1) / n, levels: s.levels[:k+1]}
}

// checkColumns refuses names of columns where there are none, and hints that no problem has.
func (s *Set) checkColumns(d spec.Data) error {
	for key, column := range map[string]string{
		"data.field_question": d.FieldQuestion, "data.field_answer": d.FieldAnswer, "data.field_hint": d.FieldHint,
	} {
		if s.endless != nil && column != "" {
			return fmt.Errorf("%w: %s = %q: the problems of %s are generated and have no columns", ErrData, key, column, s.Name)
		}
	}
	hinted := slices.ContainsFunc(s.problems, func(p Problem) bool { return len(p.Hints) > 0 })
	if d.FieldHint != "" && !hinted {
		return fmt.Errorf("%w: data.field_hint = %q: no problem of set %s has anything in that column", ErrData, d.FieldHint, s.Name)
	}
	return nil
}
