package dataset_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/dataset"
	"multiattempt/internal/spec"
	"multiattempt/internal/verify"
)

// readSmudged parses a question and returns the sums it leaves open.
func readSmudged(t *testing.T, question string) []string {
	t.Helper()
	left, right, ok := strings.Cut(question, "+? ")
	require.True(t, ok, question)
	addend, err := strconv.Atoi(left)
	require.NoError(t, err)
	var sums []string
	for _, s := range strings.Split(right, ",") {
		d, err := strconv.Atoi(s)
		require.NoError(t, err)
		sums = append(sums, strconv.Itoa(addend+d))
	}
	require.Empty(t, strings.Trim(question, dataset.SmudgedAlphabet))
	return sums
}

func TestSmudgedProblemsAreWellFormed(t *testing.T) {
	choices := map[int]int{}
	for p := range 3000 {
		problem := dataset.SmudgedTrain(1, 7, p)
		sums := readSmudged(t, problem.Question)
		require.Contains(t, sums, problem.Answer)
		require.Len(t, sums, problem.Choices)
		require.Len(t, problem.Answer, 2)
		choices[problem.Choices]++
	}
	for m := 2; m <= 4; m++ {
		require.InDelta(t, 1000, choices[m], 130, "m = %d", m) // five standard deviations
	}
}

func TestSmudgedIsAFunctionOfItsPosition(t *testing.T) {
	require.Equal(t, dataset.SmudgedTrain(3, 2, 1), dataset.SmudgedTrain(3, 2, 1))
	require.NotEqual(t, dataset.SmudgedTrain(3, 2, 1).Question, dataset.SmudgedTrain(4, 2, 1).Question)
	require.Equal(t, dataset.SmudgedTest(), dataset.SmudgedTest())
	// Fixed values: a change here changes every run of the quickstart.
	first := dataset.SmudgedTest()[0]
	require.Equal(t, "42+? 2,6 44", first.Question+" "+first.Answer)
}

func TestSmudgedTestQuestionsNeverOccurInTraining(t *testing.T) {
	test := map[string]bool{}
	problems := dataset.SmudgedTest()
	for i, p := range problems {
		require.False(t, test[p.Question], "twice: %s", p.Question)
		test[p.Question] = true
		require.Equal(t, 2+i%3, p.Choices)
	}
	require.GreaterOrEqual(t, len(problems), 1500)
	tuning := spec.TuningData{MaxAttempts: 5, Stubborn: 0.6}
	for p := range 20000 {
		require.False(t, test[dataset.SmudgedTrain(1, 0, p).Question])
		require.False(t, test[dataset.SmudgedDialogue(1, 0, p, tuning, spec.Prompt{})[0].Content])
	}
}

// TestSmudgedDigitIsUnpredictable: position in the list, last digit of the addend and the question itself say nothing
// about the hidden digit.
func TestSmudgedDigitIsUnpredictable(t *testing.T) {
	byPosition := map[string]float64{}
	n := map[int]float64{}
	answers := map[string]map[string]bool{}
	for p := range 60000 {
		problem := dataset.SmudgedTrain(1, 0, p)
		for i, sum := range readSmudged(t, problem.Question) {
			if sum == problem.Answer {
				byPosition[fmt.Sprint(problem.Choices, i)]++
			}
		}
		n[problem.Choices]++
		if answers[problem.Question] == nil {
			answers[problem.Question] = map[string]bool{}
		}
		answers[problem.Question][problem.Answer] = true
	}
	for m := 2; m <= 4; m++ {
		for i := range m {
			require.InDelta(t, 1/float64(m), byPosition[fmt.Sprint(m, i)]/n[m], 0.02, "m %d position %d", m, i)
		}
	}
	varying := 0
	for _, a := range answers {
		if len(a) > 1 {
			varying++
		}
	}
	require.Greater(t, varying, 5000, "the same question must come back with other hidden digits")
}

func TestOptimum(t *testing.T) {
	problems := dataset.SmudgedTest()[:999] // as many of each m
	for k, want := range map[int]float64{1: 13.0 / 36, 2: 13.0 / 18, 3: 11.0 / 12, 4: 1, 7: 1} {
		require.InDelta(t, want, dataset.Optimum(problems, k), 1e-12, "k = %d", k)
	}
	require.Equal(t, 1.0, dataset.Optimum([]dataset.Problem{{ID: "x"}}, 1))
}

func TestSmudgedDialogue(t *testing.T) {
	prompt := spec.Prompt{System: "{N}", Feedback: "no {n}", FeedbackRole: "user"}
	tuning := spec.TuningData{MaxAttempts: 5, Stubborn: 0.6}
	var retries, repeats float64
	told := map[string]int{}
	for row := range 4000 {
		turns := dataset.SmudgedDialogue(9, 3, row, tuning, prompt)
		require.Equal(t, turns, dataset.SmudgedDialogue(9, 3, row, tuning, prompt))
		require.Equal(t, dataset.RoleSystem, turns[0].Role)
		require.Equal(t, dataset.RoleUser, turns[1].Role)
		allowed, err := strconv.Atoi(turns[0].Content)
		require.NoError(t, err)
		told[turns[0].Content]++
		sums := readSmudged(t, turns[1].Content)
		previous := ""
		for i, turn := range turns[2:] {
			left := allowed - 1 - i/2
			if i%2 == 1 {
				require.Equal(t, dataset.Turn{Role: "user", Content: fmt.Sprintf("no %d", left)}, turn)
				continue
			}
			require.Equal(t, dataset.RoleAssistant, turn.Role)
			require.True(t, turn.Imitate)
			answer, status := verify.Extract(turn.Content, verify.Options{})
			require.Equal(t, verify.ExtractFound, status)
			require.Contains(t, sums, answer)
			require.Regexp(t, `^\d \\boxed\{\d+\}$`, turn.Content, "the digit supposed, then the sum")
			if previous != "" {
				retries++
				if answer == previous {
					repeats++
				}
			}
			previous = answer
		}
		require.LessOrEqual(t, (len(turns)-1)/2, allowed)
	}
	require.InDelta(t, 800, told["5"], 130)
	require.InDelta(t, 0.6, repeats/retries, 0.03, "what is not stubborn is a true alternative")
}

func TestOpenSmudged(t *testing.T) {
	train, err := dataset.Open(context.Background(), dataset.Smudged, dataset.Options{Split: dataset.Train})
	require.NoError(t, err)
	require.Equal(t, -1, train.Len())
	got, err := train.Present(5, 2, 4, spec.Attempts{Min: 1, Max: 5})
	require.NoError(t, err)
	require.Equal(t, dataset.SmudgedTrain(5, 2, 3), got[3].Problem)

	test, err := dataset.Open(context.Background(), dataset.Smudged, dataset.Options{Split: dataset.Test, Limit: 1000})
	require.NoError(t, err)
	require.Equal(t, 1000, test.Len())
	require.Equal(t, dataset.SmudgedTest()[:1000], test.Problems())
	require.Equal(t, dataset.Digest(dataset.SmudgedTest()[:1000]), test.Digest())
	require.Zero(t, test.Report.Opaque)
}
