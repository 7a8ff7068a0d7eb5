package evaluate_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
	"multiattempt/internal/evaluate"
)

func TestWilson(t *testing.T) {
	// Reference values: the roots of (p̂ − p)² = z²·p(1 − p)/n, solved as a quadratic in p.
	for _, c := range []struct {
		correct, n int
		low, high  float64
	}{{0, 10, 0, 0.277533}, {10, 10, 0.722467, 1}, {33, 100, 0.245631, 0.426947}, {1, 2, 0.094531, 0.905469}} {
		got := evaluate.Wilson(c.correct, c.n)
		require.InDelta(t, c.low, got[0], 1e-5, "%d of %d", c.correct, c.n)
		require.InDelta(t, c.high, got[1], 1e-5, "%d of %d", c.correct, c.n)
	}
	require.Equal(t, [2]float64{0, 1}, evaluate.Wilson(0, 0))
}

func TestMcNemar(t *testing.T) {
	require.InDelta(t, 22.0/1024, evaluate.McNemar(1, 9), 1e-12)
	require.InDelta(t, 22.0/1024, evaluate.McNemar(9, 1), 1e-12)
	require.Equal(t, 1.0, evaluate.McNemar(5, 5))
	require.Equal(t, 1.0, evaluate.McNemar(0, 0))
}

func result(name string, digest string, scores ...evaluate.Score) *evaluate.Result {
	r := &evaluate.Result{Mode: "typed", Sets: []evaluate.Set{{Name: name, Problems: 4, Digest: blob.Sum([]byte(digest)), Scores: scores}}}
	r.Finish()
	return r
}

func TestCompareIsPaired(t *testing.T) {
	a := result("s", "p", score(1, 0, 0, -1, -1), score(2, 0, 1, -1, -1))
	b := result("s", "p", score(2, 0, -1, 1, 1), score(7, 0, 0, 0, 0))
	c, err := evaluate.Compare("single", a, "multi", b)
	require.NoError(t, err)
	require.Equal(t, "single", c.A)
	require.Len(t, c.Sets, 1)
	require.Len(t, c.Sets[0].Rows, 1, "only k = 2 is in both")
	d := c.Sets[0].Rows[0]
	require.Equal(t, 2, d.Attempts)
	require.InDelta(t, 0.25, d.Difference, 1e-12)
	require.Equal(t, 1, d.OnlyA)
	require.Equal(t, 2, d.OnlyB)
	require.Equal(t, 1.0, d.PValue)
	require.Equal(t, [2]float64{-0.5, 1}, d.Interval)
	require.Empty(t, c.Average)

	again, err := evaluate.Compare("single", a, "multi", b)
	require.NoError(t, err)
	require.Equal(t, c, again, "the bootstrap is seeded")
}

func TestCompareAveragesOverSets(t *testing.T) {
	two := func(x, y evaluate.Score) *evaluate.Result {
		r := result("x", "px", x)
		r.Sets = append(r.Sets, result("y", "py", y).Sets...)
		return r
	}
	c, err := evaluate.Compare("a", two(score(1, -1, -1, -1, -1), score(1, 0, 0, 0, 0)),
		"b", two(score(1, 0, 0, 0, 0), score(1, 0, 0, 0, -1)))
	require.NoError(t, err)
	require.Len(t, c.Average, 1)
	require.InDelta(t, (1-0.25)/2, c.Average[0].Difference, 1e-12)
	require.Equal(t, 8, c.Average[0].N)
	require.Equal(t, 1, c.Average[0].OnlyA)
	require.Equal(t, 4, c.Average[0].OnlyB)
}

func TestCompareRefusesAndNamesEveryReason(t *testing.T) {
	a := result("s", "p", score(1, 0, 0, 0, 0))
	b := result("s", "other", score(2, 0, 0, 0, 0))
	b.Mode, b.Temperature, b.NoRepeat = "paper", 0.6, 3
	_, err := evaluate.Compare("a", a, "b", b)
	require.ErrorIs(t, err, evaluate.ErrResult)
	require.ErrorContains(t, err, "grading modes typed and paper")
	require.ErrorContains(t, err, "temperatures 0 and 0.6")
	require.ErrorContains(t, err, "no_repeat_ngram_size 0 and 3")
	require.ErrorContains(t, err, "set s holds other problems")
	require.ErrorContains(t, err, "no set has the same number of attempts in both")
}

// seeded is a result of another seed that solves so many of four problems at k = 1 and at k = 2.
func seeded(seed uint64, one, two int) *evaluate.Result {
	solved := func(n int) (at []int) {
		for i := range 4 {
			if i < n {
				at = append(at, 0)
			} else {
				at = append(at, -1)
			}
		}
		return at
	}
	r := result("s", "p", score(1, solved(one)...), score(2, solved(two)...))
	r.Seed = seed
	return r
}

func TestGroupsOfSeeds(t *testing.T) {
	multi := evaluate.Group{Name: "multi", Results: []*evaluate.Result{seeded(1, 1, 3), seeded(2, 2, 3), seeded(3, 1, 4)}}
	two, ok := multi.Score("s", 2)
	require.True(t, ok)
	require.Equal(t, evaluate.OverSeeds, two.Over)
	require.Equal(t, []float64{0.75, 0.75, 1}, two.Values)
	require.InDelta(t, 2.5/3, two.Accuracy, 1e-12)
	// t(0.975, 2) = 4.302653; the values' standard deviation is 0.144338.
	require.InDelta(t, 2.5/3-4.302653*0.144338/1.7320508, two.Interval[0], 1e-5)
	require.Equal(t, 1.0, two.Interval[1], "a share is at most 1")
	gains := multi.Gains("s")
	require.Len(t, gains, 1)
	require.Equal(t, [2]int{1, 2}, [2]int{gains[0].From, gains[0].To})
	require.InDelta(t, 0.5, gains[0].Gain, 1e-12)
	require.InDelta(t, 0.5-4.302653*0.25/1.7320508, gains[0].Interval[0], 1e-5)

	single := evaluate.Group{Name: "single", Results: []*evaluate.Result{seeded(1, 1, 1), seeded(2, 2, 2), seeded(3, 1, 1)}}
	c, err := evaluate.CompareGroups(single, multi)
	require.NoError(t, err)
	d := c.Sets[0].Rows[1]
	require.InDelta(t, 0.5, d.Difference, 1e-12)
	require.Zero(t, d.PValue)
	require.Equal(t, [2]int{0, 3}, [2]int{d.OnlyA, d.OnlyB})
	require.InDelta(t, 0.5-4.302653*0.25/1.7320508, d.SeedsInterval[0], 1e-5, "paired by seed: 0.5, 0.25, 0.75")
	require.InDelta(t, 0.0742, d.TTest, 1e-4, "t = 3.4641 with 2 degrees of freedom")

	multi.Results = multi.Results[:2]
	c, err = evaluate.CompareGroups(single, multi)
	require.NoError(t, err)
	require.NotNil(t, c.Sets[0].Rows[1].SeedsInterval, "other seeds: Welch")

	multi.Results = multi.Results[:1]
	c, err = evaluate.CompareGroups(single, multi)
	require.NoError(t, err)
	require.Nil(t, c.Sets[0].Rows[1].SeedsInterval)
	one, _ := multi.Score("s", 2)
	require.Equal(t, evaluate.OverProblems, one.Over)
	require.InDelta(t, 0.5, multi.Gains("s")[0].Gain, 1e-12)
	require.Equal(t, [2]float64{0, 1}, multi.Gains("s")[0].Interval, "over the problems")

	multi.Results = append(multi.Results, result("s", "other", score(1, 0, 0, 0, 0)))
	_, err = evaluate.CompareGroups(single, multi)
	require.ErrorContains(t, err, "set s holds other problems")
}
