package experience_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/dataset"
	"multiattempt/internal/experience"
	"multiattempt/internal/policy"
	"multiattempt/internal/policy/policytest"
	"multiattempt/internal/reward"
	"multiattempt/internal/rollout"
	"multiattempt/internal/verify"
)

// TestScenarios locks what an episode is and what it teaches. A change under testdata changes training.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.scenario")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		scenarios, err := readScenarios(file)
		require.NoError(t, err)
		require.NotEmpty(t, scenarios, file)
		for _, s := range scenarios {
			t.Run(filepath.Base(file)+"/"+s.name, func(t *testing.T) { s.play(t) })
		}
	}
}

// play rolls the scenario's episodes out and compares all that comes of them.
func (s *scenario) play(t *testing.T) {
	words := policytest.NewWords()
	episodes := s.rollout(t, words)
	rewards := reward.All(episodes, s.run.Reward)
	scores := make([]experience.Scores, len(episodes))
	for i, want := range s.episodes {
		require.Equal(t, want.spans, spansOf(words, &episodes[i]), "%s: dialogue of problem %d", s.at, i+1)
		require.InDelta(t, want.reward, rewards[i].Episode, 1e-12, "%s: reward of problem %d", s.at, i+1)
		scores[i] = want.scores(t, &episodes[i])
	}
	batch, err := experience.Build(episodes, rewards, scores, s.run.Advantage, s.run.Update)
	require.NoError(t, err)
	for i, want := range s.episodes {
		row := batch.Rows[i]
		for name, array := range map[string][]float32{"advantage": row.Advantages, "return": row.Returns, "weight": row.Weights} {
			if numbers, ok := want.expected[name]; ok {
				got := sampledOnly(t, array, row.Mask)
				require.InDeltaSlice(t, numbers, got, 1e-6, "%s: %s of problem %d: %v", s.at, name, i+1, got)
			}
		}
	}
}

// rollout lets a scripted model answer.
func (s *scenario) rollout(t *testing.T, words *policytest.Words) []rollout.Episode {
	t.Helper()
	model := &policytest.Script{LogProb: func(row, token int) float32 { return float32(s.episodes[row].at("sampler", token, -1)) }}
	shown := make([]dataset.Presentation, len(s.episodes))
	for i, e := range s.episodes {
		shown[i] = dataset.Presentation{
			Problem: dataset.Problem{ID: fmt.Sprint("p", i), Question: e.question, Answer: e.gold}, Index: i, Attempts: e.attempts,
		}
		answers := [][]int32{}
		for _, text := range e.says {
			answers = append(answers, words.Encode(text))
		}
		model.Answers = append(model.Answers, answers)
	}
	settings := rollout.Settings{
		Prompt: s.run.Prompt, Attempts: s.run.Attempts, Grading: s.run.Grading, GroupSize: 1,
		Sampling: policy.Params{Temperature: 1, TopP: 1, MaxLength: s.context},
	}
	episodes, err := rollout.Run(t.Context(), model, words, verify.Grade, shown, settings, nil)
	require.NoError(t, err, s.at)
	for i, e := range s.episodes {
		if e.again {
			before := episodes[i-1]
			episodes[i].ProblemID, episodes[i].Index, episodes[i].Sample = before.ProblemID, before.Index, before.Sample+1
		}
	}
	return episodes
}

// at returns the number given for a sampled token.
func (e *script) at(name string, token int, otherwise float64) float64 {
	switch list := e.given[name]; {
	case len(list) == 0:
		return otherwise
	case len(list) == 1:
		return list[0]
	case token < len(list):
		return list[token]
	}
	return otherwise
}

// scores lays the given numbers out over the episode. What is not sampled gets numbers that would show in any result.
func (e *script) scores(t *testing.T, episode *rollout.Episode) experience.Scores {
	t.Helper()
	s := experience.Scores{}
	sampled := 0
	for _, m := range episode.Mask {
		if !m {
			s.Old, s.Ref, s.Values = append(s.Old, 7), append(s.Ref, -77), append(s.Values, 777)
			continue
		}
		s.Old = append(s.Old, float32(e.at("old", sampled, -1)))
		s.Ref = append(s.Ref, float32(e.at("ref", sampled, -1)))
		s.Values = append(s.Values, float32(e.at("values", sampled, 0)))
		sampled++
	}
	for name, list := range e.given {
		require.Contains(t, []int{1, sampled}, len(list), "%s: one number for each of %d sampled tokens, or one for all", name, sampled)
	}
	return s
}

// spansOf describes an episode by stretches of equal mask; an attempt's span ends with the attempt.
func spansOf(words *policytest.Words, e *rollout.Episode) []span {
	spans := []span{}
	at := 0
	for _, a := range e.Attempts {
		spans = append(spans,
			span{words: words.Text(e.Tokens[at:a.Start])},
			span{words: words.Text(e.Tokens[a.Start:a.End]), sampled: true, outcome: string(a.Outcome)})
		at = a.End
	}
	if at < len(e.Tokens) {
		spans = append(spans, span{words: words.Text(e.Tokens[at:])})
	}
	return spans
}

// sampledOnly returns the entries of sampled tokens; all others must be 0.
func sampledOnly(t *testing.T, array []float32, mask []bool) []float64 {
	t.Helper()
	require.Len(t, array, len(mask))
	list := []float64{}
	for i, m := range mask {
		if m {
			list = append(list, float64(array[i]))
		} else {
			require.Zero(t, array[i], "token %d is not sampled", i)
		}
	}
	return list
}
