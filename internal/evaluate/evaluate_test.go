package evaluate_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/dataset"
	"multiattempt/internal/evaluate"
	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
	"multiattempt/internal/verify"
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
		Attempts: 3, Samples: 1, Correct: 2, N: 3, Accuracy: 2.0 / 3, Interval: evaluate.Wilson(2, 3),
		Optimum: (1 + 0.75 + 1) / 3, SolvedAt: []int{0, 2, -1},
		Outcomes: map[rollout.Outcome]int{rollout.Correct: 2, rollout.Wrong: 4, rollout.NoAnswer: 1},
		Shares:   map[rollout.Outcome]float64{rollout.Correct: 2.0 / 7, rollout.Wrong: 4.0 / 7, rollout.NoAnswer: 1.0 / 7},
		Modes: map[verify.Mode]evaluate.Proportion{
			verify.ModeTyped: {Correct: 2, Accuracy: 2.0 / 3, Interval: evaluate.Wilson(2, 3)},
			verify.ModePaper: {Correct: 3, Accuracy: 1, Interval: evaluate.Wilson(3, 3)},
		},
		FailedFirst: 2, Recovered: 1, RecoveredShare: 0.5, Retries: 4, Repeats: 2, RepeatShare: 0.5, // 5 again, and 7/10 after 0.7
		TokensSampled: 14, TokensPerEpisodeMean: 14.0 / 3,
		Opaque: 1, PaperDisagrees: 1,
	}, three)
}

func TestSamplesOfAProblemAreAveraged(t *testing.T) {
	sample := func(index, g int, attempts ...rollout.Attempt) rollout.Episode {
		e := episode(index, 2, attempts...)
		e.Sample = g
		return e
	}
	score, err := evaluate.NewScore(2, problems, []rollout.Episode{
		sample(1, 1, wrong("4"), right("2")), sample(0, 0, right("1")), sample(2, 1, wrong("3"), wrong("3")),
		sample(1, 0, wrong("4"), wrong("5")), sample(0, 1, right("1")), sample(2, 0, wrong("3"), wrong("4")),
	})
	require.NoError(t, err)
	require.Equal(t, 2, score.Samples)
	require.Equal(t, []int{0, 0, -1, 1, -1, -1}, score.SolvedAt)
	require.Equal(t, 3, score.Correct)
	require.InDelta(t, 0.5, score.Accuracy, 1e-12)
	require.InDelta(t, 0, score.Interval[0], 1e-12, "the problems that nobody solves, drawn three times")
	require.InDelta(t, 1, score.Interval[1], 1e-12)
}

// TestParallelByHand: of four samples of a problem c are right. pass@2 is 1 − C(4−c, 2)/C(4, 2).
func TestParallelByHand(t *testing.T) {
	set := evaluate.Set{Name: "s", Scores: []evaluate.Score{{Attempts: 1, TokensPerEpisodeMean: 1}, {Attempts: 2, TokensPerEpisodeMean: 6.5},
		{Attempts: 4, TokensPerEpisodeMean: 100}, {Attempts: 5}}}
	answers := [][]rollout.Attempt{
		{right("1"), wrong("5"), wrong("5"), {Outcome: rollout.NoAnswer}}, // c = 1: pass@2 = 1 − 3/6; 5 wins the vote
		{right("2"), right("2"), right("4/2"), wrong("3")},                // c = 3: pass@2 = 1; 2 wins, in two notations
		{wrong("1"), wrong("3"), wrong("4"), wrong("5")},                  // c = 0
	}
	var episodes []rollout.Episode
	for i, samples := range answers {
		for g, a := range samples {
			e := episode(i, 1, a)
			e.Sample = g
			episodes = append(episodes, e)
		}
	}
	require.NoError(t, set.AddParallel(problems, episodes))
	p := set.Parallel
	require.Equal(t, []int{1, 3, 0}, p.Correct)
	require.Equal(t, 2.0, p.TokensPerSampleMean)
	require.Len(t, p.Scores, 3, "five attempts need five samples")
	require.InDelta(t, (1.0/4+3.0/4)/3, p.Scores[0].Pass, 1e-12)
	require.InDelta(t, (0.5+1)/3, p.Scores[1].Pass, 1e-12)
	require.InDelta(t, 2.0/3, p.Scores[2].Pass, 1e-12)
	require.InDelta(t, 1.0/3, p.Scores[2].Majority, 1e-12)
	require.InDelta(t, p.Scores[0].Pass, p.Scores[0].Majority, 0.08, "a single vote is a single sample")
	require.Equal(t, []int{1, 3, 4}, []int{p.Scores[0].EqualSamples, p.Scores[1].EqualSamples, p.Scores[2].EqualSamples})
	require.InDelta(t, (0.75+1)/3, p.Scores[1].PassEqual, 1e-12, "three samples for the tokens of two attempts")
	require.Equal(t, 4.0, p.Scores[1].TokensPerProblemMean)
}

func TestMetricsByName(t *testing.T) {
	x := score(1, 0, -1)
	x.RecoveredShare, x.Modes = 0.25, map[verify.Mode]evaluate.Proportion{verify.ModePaper: {Accuracy: 0.75}}
	r := evaluate.Result{Sets: []evaluate.Set{
		{Name: "x", Problems: 2, Scores: []evaluate.Score{x, score(2, 0, 1)}, Parallel: &evaluate.Parallel{Scores: []evaluate.ParallelScore{{Attempts: 2, Pass: 0.9, Majority: 0.8}}}},
		{Name: "dir/y.jsonl", Problems: 2, Scores: []evaluate.Score{score(1, 0, 0)}},
	}}
	for text, want := range map[string]float64{
		"accuracy": 0.75, "accuracy@1": 0.75, "x/accuracy@2": 1, "x/paper": 0.75, "x/recovered@1": 0.25, "x/pass@2": 0.9, "x/majority@2": 0.8,
		"dir/y.jsonl/accuracy": 1,
	} {
		m, err := spec.ParseMetric(text)
		require.NoError(t, err)
		got, ok := r.Metric(m)
		require.True(t, ok, text)
		require.InDelta(t, want, got, 1e-12, text)
	}
	for _, text := range []string{"accuracy@2", "x/pass@1", "pass@2", "z/accuracy"} {
		m, err := spec.ParseMetric(text)
		require.NoError(t, err)
		_, ok := r.Metric(m)
		require.False(t, ok, text)
	}
}

func TestReachFindsTheFirstEvaluationThatScoresEnough(t *testing.T) {
	at := func(step int, s evaluate.Score) *evaluate.Result {
		return &evaluate.Result{Run: "r", Step: step, Sets: []evaluate.Set{{Name: "x", Problems: s.N, Scores: []evaluate.Score{s}}}}
	}
	history := []*evaluate.Result{at(20, score(1, 0, -1)), at(5, score(1, -1, -1)), at(10, score(1, 0, 0)), at(30, score(2, 0, 0))}
	m, err := spec.ParseMetric("accuracy@1")
	require.NoError(t, err)
	got, ok := evaluate.Reach(m, 0.5, history)
	require.True(t, ok)
	require.Equal(t, evaluate.Reached{Run: "r", Step: 10, Final: 0.5}, got)
	got, _ = evaluate.Reach(m, 1.1, history)
	require.Zero(t, got.Step)
	m.Attempts = 3
	_, ok = evaluate.Reach(m, 0, history)
	require.False(t, ok)
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
		"one twice":        {func(e []rollout.Episode) []rollout.Episode { e[2] = e[1]; return e }, "index 1 and sample 0, used before"},
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
		`{"version":1}`: "format version 1, this program reads 2",
		`[]`:            "cannot unmarshal",
		`{"version":2,"sets":[{"set":"x","problems":3,"scores":[{"attempts":1,"n":3,"solved_at":[0]}]}]}`: "set x at k = 1 has 1 episodes of 3 problems × 0 samples",
	} {
		_, err := evaluate.Decode([]byte(text))
		require.ErrorIs(t, err, evaluate.ErrResult)
		require.ErrorContains(t, err, want)
	}
}

// score makes a score from the problems' solving attempts.
func score(k int, solvedAt ...int) evaluate.Score {
	s := evaluate.Score{Attempts: k, Samples: 1, N: len(solvedAt), SolvedAt: solvedAt}
	for _, at := range solvedAt {
		if at >= 0 {
			s.Correct++
		}
	}
	s.Accuracy = float64(s.Correct) / float64(s.N)
	return s
}
