package rollout_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/chat"
	"multiattempt/internal/dataset"
	"multiattempt/internal/policy"
	"multiattempt/internal/policy/policytest"
	"multiattempt/internal/rollout"
	"multiattempt/internal/seed"
	"multiattempt/internal/spec"
	"multiattempt/internal/verify"
)

func settings(group int) rollout.Settings {
	run := spec.Default()
	run.Prompt.System, run.Prompt.Feedback = "{N} attempts", "{n} left"
	return rollout.Settings{
		Prompt: run.Prompt, Attempts: run.Attempts, Grading: run.Grading, GroupSize: group,
		Sampling: policy.Params{Temperature: 1, TopP: 1, MaxLength: 100},
		Seed:     11, Step: 3, Policy: strings.Repeat("ab", 32),
	}
}

func shown(id string, index, attempts int) dataset.Presentation {
	return dataset.Presentation{Problem: dataset.Problem{ID: id, Question: "1 + 1 ?", Answer: "2"}, Index: index, Attempts: attempts}
}

// script encodes what rows say, [row][attempt].
func script(w *policytest.Words, rows ...[]string) *policytest.Script {
	s := &policytest.Script{LogProb: func(row, token int) float32 { return -float32(row) - float32(token)/8 }}
	for _, attempts := range rows {
		answers := [][]int32{}
		for _, text := range attempts {
			answers = append(answers, w.Encode(text))
		}
		s.Answers = append(s.Answers, answers)
	}
	return s
}

func TestRunKeepsTheOrderOfPresentationsAndSamples(t *testing.T) {
	w := policytest.NewWords()
	model := script(w,
		[]string{`\boxed{2} [end]`}, []string{`so \boxed{3} [end]`, `\boxed{2.0} [end]`},
		[]string{`hm [end]`}, []string{`\boxed{4} [end]`})
	var finished []int
	presented := []dataset.Presentation{shown("a", 7, 2), shown("b", 8, 1)}
	set := settings(2)
	episodes, err := rollout.Run(t.Context(), model, w, verify.Grade, presented, set, func(done int) { finished = append(finished, done) })
	require.NoError(t, err)
	require.Equal(t, []int{1, 2, 3, 4}, finished)
	require.Len(t, episodes, 4)
	for i, e := range episodes {
		p := presented[i/2]
		require.Equal(t, p.ID, e.ProblemID)
		require.Equal(t, p.Index, e.Index)
		require.Equal(t, i%2, e.Sample)
		require.Equal(t, p.Attempts, e.MaxTries)
		require.Equal(t, []any{"1 + 1 ?", "2", set.Seed, set.Step, set.Policy}, []any{e.Question, e.Gold, e.Seed, e.Step, e.Policy})
		require.NoError(t, e.Check())
	}
	require.Equal(t, []int{0, 1, -1, -1}, []int{episodes[0].Solved(), episodes[1].Solved(), episodes[2].Solved(), episodes[3].Solved()})
	require.Equal(t, 11, episodes[0].Attempts[0].Start, "after [system] 2 attempts [end] [user] 1 + 1 ? [end] [assistant]")

	last := episodes[1].Attempts[1]
	require.Equal(t, `\boxed{2.0}`, last.Text, "special tokens left out")
	require.Equal(t, "2.0", last.Answer)
	require.True(t, last.TypedCorrect)
	require.True(t, last.PaperCorrect)
	require.NotEmpty(t, last.Rule)
	require.Equal(t, []float32{-1 - 3./8, -1 - 4./8}, episodes[1].LogProbs[last.Start:last.End], "as they were sampled")
}

func TestBothSetsOfRulesJudgeEveryAttempt(t *testing.T) {
	w := policytest.NewWords()
	grade := func(_, _ string, o verify.Options) verify.Verdict {
		if o.Mode == verify.ModePaper {
			return verify.Verdict{Status: verify.StatusEqual, Correct: true, Rule: "paper"}
		}
		return verify.Verdict{Status: verify.StatusUnequal, Rule: "typed", Opaque: true}
	}
	for mode, want := range map[string]rollout.Attempt{
		"typed": {Outcome: rollout.Wrong, Rule: "typed", Opaque: true},
		"paper": {Outcome: rollout.Correct, Rule: "paper"},
	} {
		set := settings(1)
		set.Grading.Mode = mode
		episodes, err := rollout.Run(t.Context(), script(w, []string{"x [end]"}), w, grade, []dataset.Presentation{shown("a", 0, 1)}, set, nil)
		require.NoError(t, err)
		want.PaperCorrect = true
		want.Start, want.End, want.Text = 11, 13, "x"
		require.Equal(t, want, episodes[0].Attempts[0], mode)
	}
}

// chance is a sampler that lets each row's numbers choose among three words, and keeps those numbers.
type chance struct {
	words []int32
	drawn [][]float64 // [row][token]
}

func (c *chance) Sample(_ context.Context, rows []policy.Row, _ policy.Params, _ func(int)) error {
	c.drawn = make([][]float64, len(rows))
	for i, r := range rows {
		for !r.Next().Done {
			u := r.Uniform()
			c.drawn[i] = append(c.drawn[i], u)
			r.Sampled(policy.Draw{Token: c.words[int(u*float64(len(c.words)))], LogProb: -1})
		}
	}
	return nil
}

func TestDrawsAreAFunctionOfThePosition(t *testing.T) {
	w := policytest.NewWords()
	draw := func(set rollout.Settings, presented ...dataset.Presentation) ([][]float64, []rollout.Episode) {
		c := &chance{words: w.Encode(`[end] x y`)}
		episodes, err := rollout.Run(t.Context(), c, w, verify.Grade, presented, set, nil)
		require.NoError(t, err)
		return c.drawn, episodes
	}
	set := settings(2)
	first, episodes := draw(set, shown("a", 0, 3), shown("b", 1, 3))
	again, same := draw(set, shown("a", 0, 3), shown("b", 1, 3))
	require.Equal(t, first, again)
	require.Equal(t, episodes, same)

	other, _ := draw(set, shown("b", 1, 3), shown("a", 0, 3))
	require.Equal(t, first[2:], other[:2], "other problems of the shard play no part")

	require.Equal(t, seed.Uniform("rollout/token", 11, 3, seed.Text("a"), 1, 11), first[1][0],
		"run seed, step, problem, sample, token: a change here draws other episodes from every seed")
	set.Step++
	later, _ := draw(set, shown("a", 0, 3), shown("b", 1, 3))
	for row, u := range first {
		require.NotEqual(t, u[0], later[row][0], "step")
		require.NotEqual(t, u[0], first[(row+1)%4][0], "row")
	}
}

// deserter leaves rows unfinished.
type deserter struct{ err error }

func (d deserter) Sample(context.Context, []policy.Row, policy.Params, func(int)) error { return d.err }

func TestRunRefuses(t *testing.T) {
	w := policytest.NewWords()
	died := errors.New("device lost")
	narrow := settings(1)
	narrow.Sampling.MaxLength = 11
	for name, c := range map[string]struct {
		model  policy.Sampler
		words  *policytest.Words
		set    rollout.Settings
		tries  int
		want   error
		saying string
	}{
		"an opening that fills the context": {set: narrow, tries: 2, want: rollout.ErrNoRoom, saying: "problem a"},
		"feedback in a role that the template refuses": {
			words: policytest.NewWords("system"), set: settings(1), tries: 2, want: chat.ErrRole, saying: "problem a",
		},
		"no attempts":                 {set: settings(1), tries: 0, saying: "at least 1"},
		"a sampler that fails":        {model: deserter{died}, set: settings(1), tries: 2, want: died},
		"a sampler that gives up":     {model: deserter{}, set: settings(1), tries: 2, want: rollout.ErrEpisode, saying: "unfinished"},
		"log-probabilities of NaN":    {model: script(w, []string{`\boxed{2} [end]`}), set: settings(1), tries: 1, want: rollout.ErrEpisode, saying: "NaN"},
		"a model with nothing to say": {model: script(w, []string{}), set: settings(1), tries: 1, want: policytest.ErrScript},
		"a cancelled context":         {model: script(w, []string{`[end]`}), set: settings(1), tries: 1, want: context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if errors.Is(c.want, context.Canceled) {
				cancel()
			}
			if s, ok := c.model.(*policytest.Script); ok && c.saying == "NaN" {
				zero := float32(0)
				s.LogProb = func(int, int) float32 { return zero / zero }
			}
			if c.words == nil {
				c.words = w
			}
			_, err := rollout.Run(ctx, c.model, c.words, verify.Grade, []dataset.Presentation{shown("a", 0, c.tries)}, c.set, nil)
			require.Error(t, err)
			require.ErrorContains(t, err, c.saying)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
			}
		})
	}
}

func TestCheckPresentation(t *testing.T) {
	p, set := shown("a", 0, 2), settings(1)
	require.NoError(t, rollout.CheckPresentation(policytest.NewWords(), set.Prompt, p, 12))
	require.ErrorIs(t, rollout.CheckPresentation(policytest.NewWords(), set.Prompt, p, 11), rollout.ErrNoRoom)
	set.Prompt.System, set.Prompt.FeedbackRole = "", "user"
	require.NoError(t, rollout.CheckPresentation(policytest.NewWords("system"), set.Prompt, p, 12))
}

func TestCheckFindsContradictions(t *testing.T) {
	good := func() rollout.Episode {
		return rollout.Episode{
			ProblemID: "a", MaxTries: 2, Attempts: []rollout.Attempt{{Start: 1, End: 3}, {Start: 4, End: 5}},
			Tokens: []int32{1, 2, 3, 4, 5, 6}, Mask: []bool{false, true, true, false, true, false},
			LogProbs: []float32{0, -1, -2, 0, -3, 0},
		}
	}
	e := good()
	require.NoError(t, e.Check())
	nan := float32(0)
	nan /= nan
	for name, spoil := range map[string]func(e *rollout.Episode){
		"mask too short":               func(e *rollout.Episode) { e.Mask = e.Mask[:5] },
		"log-probabilities too long":   func(e *rollout.Episode) { e.LogProbs = append(e.LogProbs, 0) },
		"attempt beyond the end":       func(e *rollout.Episode) { e.Attempts[1].End = 7 },
		"attempts overlap":             func(e *rollout.Episode) { e.Attempts[1].Start = 2 },
		"attempt backwards":            func(e *rollout.Episode) { e.Attempts[1].End = 3 },
		"forced token inside":          func(e *rollout.Episode) { e.Mask[2] = false },
		"sampled token between":        func(e *rollout.Episode) { e.Mask[3] = true },
		"sampled token after the last": func(e *rollout.Episode) { e.Mask[5] = true },
		"log-probability of NaN":       func(e *rollout.Episode) { e.LogProbs[1] = nan },
		"forced with log-probability":  func(e *rollout.Episode) { e.LogProbs[0] = -1 },
	} {
		e := good()
		spoil(&e)
		require.ErrorIs(t, e.Check(), rollout.ErrEpisode, name)
		_, err := rollout.Encode([]rollout.Episode{good(), e})
		require.ErrorIs(t, err, rollout.ErrEpisode, name)
	}
	require.Equal(t, -1, e.Solved())
	require.ErrorContains(t, (&rollout.Episode{ProblemID: "p9", Sample: 4, Tokens: []int32{1}}).Check(), "p9/4")
}
