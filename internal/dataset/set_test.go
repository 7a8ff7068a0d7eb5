package dataset

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/spec"
)

func listOf(n int) *Set {
	s := &Set{Name: "list"}
	for i := range n {
		s.problems = append(s.problems, Problem{ID: fmt.Sprint(i), Question: "q", Answer: "1"})
	}
	return s
}

func TestPresentPassesThroughAListInSeededEpochs(t *testing.T) {
	const n, count = 10, 4
	s := listOf(n)
	one := spec.Attempts{Min: 1, Max: 1}
	var epochs [3]map[string]bool
	var orders []string
	for step := range 6 { // two full batches an epoch, the remainder of two problems dropped
		batch, err := s.Present(1, step, count, one)
		require.NoError(t, err)
		again, err := s.Present(1, step, count, one)
		require.NoError(t, err)
		require.Equal(t, batch, again)
		seen := epochs[step/2]
		if seen == nil {
			seen = map[string]bool{}
			epochs[step/2] = seen
		}
		order := ""
		for i, p := range batch {
			require.Equal(t, i, p.Index)
			require.False(t, seen[p.ID], "problem %s twice in epoch %d", p.ID, step/2)
			seen[p.ID] = true
			order += p.ID
		}
		orders = append(orders, order)
	}
	require.NotEqual(t, orders[0], orders[2], "every epoch has its own order")
	other, err := s.Present(2, 0, count, one)
	require.NoError(t, err)
	require.NotEqual(t, orders[0], other[0].ID+other[1].ID+other[2].ID+other[3].ID)
}

func TestPresentDrawsAttemptsUniformly(t *testing.T) {
	batch, err := listOf(5000).Present(1, 0, 5000, spec.Attempts{Min: 2, Max: 5})
	require.NoError(t, err)
	told := map[int]int{}
	for _, p := range batch {
		told[p.Attempts]++
	}
	require.Len(t, told, 4)
	for n := 2; n <= 5; n++ {
		require.InDelta(t, 1250, told[n], 155, "N = %d", n) // five standard deviations
	}
}

func TestPresentRefusesWhatItCannotDo(t *testing.T) {
	_, err := listOf(3).Present(1, 0, 4, spec.Attempts{Min: 1, Max: 1})
	require.ErrorIs(t, err, ErrData)
	require.ErrorContains(t, err, "3 problems, fewer than the 4")
	_, err = listOf(3).Present(1, 0, 2, spec.Attempts{Min: 2, Max: 1})
	require.ErrorContains(t, err, "out of range")
}

func TestExamine(t *testing.T) {
	got := Examine(listOf(2).problems, 3)
	require.Equal(t, []Presentation{
		{Problem: Problem{ID: "0", Question: "q", Answer: "1"}, Index: 0, Attempts: 3},
		{Problem: Problem{ID: "1", Question: "q", Answer: "1"}, Index: 1, Attempts: 3},
	}, got)
}
