package evaluate_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/dataset"
	"multiattempt/internal/evaluate"
	"multiattempt/internal/rollout"
)

var problems = []dataset.Problem{
	{ID: "a", Question: "A", Answer: "1", Choices: 2},
	{ID: "b", Question: "B", Answer: "2", Choices: 4},
	{ID: "c", Question: "C", Answer: "1/2"},
}

// episode makes the episode of a problem from its attempts, each of two sampled tokens.
func episode(index, k int, attempts ...rollout.Attempt) rollout.Episode {
	for i := range attempts {
		attempts[i].Start, attempts[i].End = 3*i+1, 3*i+3
	}
	return rollout.Episode{ProblemID: problems[index].ID, Index: index, MaxTries: k, Attempts: attempts}
}

func right(answer string) rollout.Attempt {
	return rollout.Attempt{Outcome: rollout.Correct, Answer: answer, TypedCorrect: true, PaperCorrect: true}
}

func wrong(answer string) rollout.Attempt {
	return rollout.Attempt{Outcome: rollout.Wrong, Answer: answer}
}

func TestNewSetCountsByHand(t *testing.T) {
	opaque := rollout.Attempt{Outcome: rollout.Wrong, Answer: "0.7", Opaque: true, PaperCorrect: true}
	set, err := evaluate.NewSet("s", problems, map[int][]rollout.Episode{
		3: {
			episode(2, 3, opaque, wrong("7/10"), rollout.Attempt{Outcome: rollout.NoAnswer}),
			episode(0, 3, right("1")),
			episode(1, 3, wrong("5"), wrong("5"), right("2")),
		},
		1: {
			episode(0, 1, rollout.Attempt{Outcome: rollout.Bounded, Answer: "9^{9^9}"}),
			episode(1, 1, wrong("5")),
			episode(2, 1, rollout.Attempt{Outcome: rollout.Truncated}),
		},
	})
	require.NoError(t, err)
	require.Equal(t, dataset.Digest(problems), set.Digest)
	require.Len(t, set.Scores, 2)

	one := set.Scores[0]
	require.Equal(t, 1, one.Attempts)
	require.Zero(t, one.Accuracy)
	require.Equal(t, []int{-1, -1, -1}, one.SolvedAt)
	require.InDelta(t, (0.5+0.25+1)/3, one.Optimum, 1e-12)
	require.Equal(t, 1, one.Bounded)
	require.Zero(t, one.RepeatShare)

	three := set.Scores[1]
	require.Equal(t, evaluate.Score{
		Attempts: 3, Correct: 2, N: 3, Accuracy: 2.0 / 3, Interval: evaluate.Wilson(2, 3),
		Optimum: (1 + 0.75 + 1) / 3, SolvedAt: []int{0, 2, -1},
		Outcomes:  map[rollout.Outcome]int{rollout.Correct: 2, rollout.Wrong: 4, rollout.NoAnswer: 1},
		Shares:    map[rollout.Outcome]float64{rollout.Correct: 2.0 / 7, rollout.Wrong: 4.0 / 7, rollout.NoAnswer: 1.0 / 7},
		Recovered: 1, Retries: 4, Repeats: 2, RepeatShare: 0.5, // 5 again, and 7/10 after 0.7
		TokensSampled: 14, TokensPerEpisodeMean: 14.0 / 3,
		Opaque: 1, PaperDisagrees: 1,
	}, three)
}

func TestNewScoreRefusesContradictions(t *testing.T) {
	whole := func() []rollout.Episode {
		return []rollout.Episode{episode(0, 1, right("1")), episode(1, 1, right("2")), episode(2, 1, right("1/2"))}
	}
	cases := map[string]struct {
		change func([]rollout.Episode) []rollout.Episode
		want   string
	}{
		"one missing":      {func(e []rollout.Episode) []rollout.Episode { return e[:2] }, "2 episodes of 3 problems"},
		"one twice":        {func(e []rollout.Episode) []rollout.Episode { e[2] = e[1]; return e }, "index 1, used before"},
		"other problem":    {func(e []rollout.Episode) []rollout.Episode { e[2].ProblemID = "x"; return e }, "is of problem x, want c"},
		"other attempts":   {func(e []rollout.Episode) []rollout.Episode { e[2].MaxTries = 2; return e }, "allowed 2 attempts, want 1"},
		"index out of set": {func(e []rollout.Episode) []rollout.Episode { e[2].Index = 3; return e }, "not in 0…2"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := evaluate.NewScore(1, problems, c.change(whole()))
			require.ErrorIs(t, err, evaluate.ErrResult)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestResultRoundTripAndAverage(t *testing.T) {
	r := evaluate.Result{Mode: "typed", Sets: []evaluate.Set{
		{Name: "x", Problems: 2, Scores: []evaluate.Score{score(1, 0, -1), score(2, 0, 1)}},
		{Name: "y", Problems: 4, Scores: []evaluate.Score{score(1, -1, -1, -1, -1), score(3, 0, 0, 0, 0)}},
	}}
	r.Finish()
	require.Len(t, r.Average, 1, "only k = 1 is in both sets")
	require.Equal(t, 1, r.Average[0].Attempts)
	require.InDelta(t, 0.25, r.Average[0].Accuracy, 1e-12)
	require.Equal(t, [2]float64{0, 0.5}, r.Average[0].Interval)

	b, err := r.Encode()
	require.NoError(t, err)
	back, err := evaluate.Decode(b)
	require.NoError(t, err)
	require.Equal(t, &r, back)
}

func TestDecodeRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`{"version":2}`: "format version 2, this program reads 1",
		`[]`:            "cannot unmarshal",
		`{"version":1,"sets":[{"set":"x","problems":3,"scores":[{"attempts":1,"n":3,"solved_at":[0]}]}]}`: "set x at k = 1 has 1 of 3 problems",
	} {
		_, err := evaluate.Decode([]byte(text))
		require.ErrorIs(t, err, evaluate.ErrResult)
		require.ErrorContains(t, err, want)
	}
}

// score makes a score from the problems' solving attempts.
func score(k int, solvedAt ...int) evaluate.Score {
	s := evaluate.Score{Attempts: k, N: len(solvedAt), SolvedAt: solvedAt}
	for _, at := range solvedAt {
		if at >= 0 {
			s.Correct++
		}
	}
	s.Accuracy = float64(s.Correct) / float64(s.N)
	return s
}
