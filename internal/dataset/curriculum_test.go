package dataset

import (
	"maps"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/spec"
)

// graded returns a list with so many problems of each level, which their ids begin with.
func graded(counts map[int]int) *Set {
	s := &Set{Name: "graded"}
	for _, level := range slices.Sorted(maps.Keys(counts)) {
		for i := range counts[level] {
			s.problems = append(s.problems, Problem{ID: strconv.Itoa(level) + "/" + strconv.Itoa(i), Question: "q", Answer: "1", Level: level})
		}
	}
	return s
}

// seen returns the levels presented at a step.
func seen(t *testing.T, s *Set, step, count int) map[int]int {
	t.Helper()
	batch, err := s.Present(1, step, count, spec.Attempts{Min: 1, Max: 1})
	require.NoError(t, err)
	levels := map[int]int{}
	for _, p := range batch {
		levels[max(p.Level, p.Choices)]++
	}
	return levels
}

func TestLevelsOpenOneAfterAnother(t *testing.T) {
	s, err := graded(map[int]int{1: 6, 3: 6, 5: 6}).Arrange(spec.Data{Curriculum: 10})
	require.NoError(t, err)
	// Of 3 levels and 10 steps, the second opens at ⌈10/3⌉ and the third at ⌈20/3⌉.
	for step, open := range []int{1, 1, 1, 1, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5} {
		for level := range seen(t, s, step, 6) {
			require.LessOrEqual(t, level, open, "step %d", step)
		}
	}
	second := seen(t, s, 4, 6) // steps 4 and 5 pass through both levels once
	for level, n := range seen(t, s, 5, 6) {
		second[level] += n
	}
	require.Equal(t, map[int]int{1: 6, 3: 6}, second)
	once := map[string]bool{} // steps 7, 8 and 9 are the first pass over all levels
	for step := 7; step < 10; step++ {
		batch, err := s.Present(1, step, 6, spec.Attempts{Min: 1, Max: 1})
		require.NoError(t, err)
		for _, p := range batch {
			require.False(t, once[p.ID], p.ID)
			once[p.ID] = true
		}
	}
	require.Len(t, once, 18)
}

func TestOnlySomeLevels(t *testing.T) {
	s, err := graded(map[int]int{0: 4, 1: 4, 2: 4, 5: 4}).Arrange(spec.Data{Levels: []int{5, 1}})
	require.NoError(t, err)
	require.Len(t, s.Problems(), 8)
	require.Equal(t, map[int]int{1: 4, 5: 4}, seen(t, s, 0, 8))
	require.Equal(t, 8, s.Report.Problems)

	smudged := &Set{Name: Smudged, endless: smudgedTrain}
	three, err := smudged.Arrange(spec.Data{Levels: []int{3}})
	require.NoError(t, err)
	require.Equal(t, map[int]int{3: 50}, seen(t, three, 4, 50))
	easy, err := smudged.Arrange(spec.Data{Curriculum: 30})
	require.NoError(t, err)
	require.Equal(t, map[int]int{2: 50}, seen(t, easy, 9, 50))
	require.Len(t, seen(t, easy, 10, 50), 2)
	require.Len(t, seen(t, easy, 20, 50), 3)
	require.Equal(t, SmudgedTrain(1, 30, 7), easy.endless(1, 30, 7, smudgedLevels()), "all open: the task as it is")
}

func TestArrangeRefuses(t *testing.T) {
	s := graded(map[int]int{0: 1, 2: 3})
	_, err := s.Arrange(spec.Data{Levels: []int{2, 4}})
	require.ErrorIs(t, err, ErrData)
	require.ErrorContains(t, err, "set graded has no problem of level 4; it has the levels [0 2]")
	_, err = s.Arrange(spec.Data{Curriculum: 5})
	require.ErrorContains(t, err, "problems without a level")
	few, err := graded(map[int]int{1: 2, 2: 8}).Arrange(spec.Data{Curriculum: 5})
	require.NoError(t, err)
	_, err = few.Present(1, 0, 4, spec.Attempts{Min: 1, Max: 1})
	require.ErrorIs(t, err, ErrData)
	require.ErrorContains(t, err, "2 problems of levels [1], open from step 0 on, fewer than the 4 of one step")
}

func TestColumnsThatDoNotExistAreRefused(t *testing.T) {
	_, err := (&Set{Name: Smudged, endless: smudgedTrain}).Arrange(spec.Data{FieldAnswer: "a"})
	require.ErrorIs(t, err, ErrData)
	require.ErrorContains(t, err, `data.field_answer = "a": the problems of smudged are generated`)
	_, err = listOf(3).Arrange(spec.Data{FieldHint: "h"})
	require.ErrorContains(t, err, `data.field_hint = "h": no problem of set list has anything in that column`)
	s := listOf(3)
	s.problems[1].Hints = []string{"look"}
	_, err = s.Arrange(spec.Data{FieldHint: "h"})
	require.NoError(t, err)
}

func TestAttemptsAreDrawnByWeight(t *testing.T) {
	batch, err := listOf(8000).Present(1, 0, 8000, spec.Attempts{Min: 2, Max: 5, Weights: []float64{1, 0, 2, 1}})
	require.NoError(t, err)
	told := map[int]int{}
	for _, p := range batch {
		told[p.Attempts]++
	}
	require.Len(t, told, 3)
	for n, want := range map[int]float64{2: 2000, 4: 4000, 5: 2000} {
		require.InDelta(t, want, told[n], 225, "N = %d", n) // five standard deviations
	}
}
