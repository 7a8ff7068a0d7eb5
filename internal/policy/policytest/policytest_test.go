package policytest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/chat"
	"multiattempt/internal/policy"
	"multiattempt/internal/policy/policytest"
)

func TestWords(t *testing.T) {
	w := policytest.NewWords("system")
	ids, err := w.Opening([]chat.Message{{Role: "user", Content: "1 + 1 ?"}})
	require.NoError(t, err)
	require.Equal(t, "[user] 1 + 1 ? [end] [assistant]", w.Text(ids))
	require.Equal(t, "1 + 1 ?", w.Decode(ids))
	require.Equal(t, ids[1], ids[3], "equal words are equal tokens")
	require.Equal(t, w.Encode("[user] 1 + 1 ? [end] [assistant]"), ids)
	require.Contains(t, w.EndOfTurn(), w.Close())
	_, err = w.Turn([]chat.Message{{Role: "system", Content: "no"}})
	require.ErrorIs(t, err, chat.ErrRole)
}

// pair is a row of two attempts of so many tokens.
type pair struct {
	tokens int
	heard  []int32
	forced int
}

func (p *pair) Next() policy.Action {
	switch len(p.heard) {
	case 2 * p.tokens:
		return policy.Action{Done: true}
	case p.forced * p.tokens:
		p.forced++
		return policy.Action{Force: []int32{9}}
	}
	return policy.Action{}
}
func (p *pair) Uniform() float64      { return 0 }
func (p *pair) Sampled(d policy.Draw) { p.heard = append(p.heard, d.Token) }

func TestScript(t *testing.T) {
	play := func(maxLength int, answers ...[]int32) error {
		s := &policytest.Script{Answers: [][][]int32{answers}}
		return s.Sample(t.Context(), []policy.Row{&pair{tokens: 2}}, policy.Params{MaxLength: maxLength}, nil)
	}
	row := &pair{tokens: 2}
	s := &policytest.Script{Answers: [][][]int32{{{1, 2, 3}, {4, 5}}}}
	require.NoError(t, s.Sample(t.Context(), []policy.Row{row}, policy.Params{MaxLength: 6}, nil))
	require.Equal(t, []int32{1, 2, 4, 5}, row.heard, "what an attempt does not get to say is left out")

	require.ErrorIs(t, play(6, []int32{1, 2}), policytest.ErrScript, "no second attempt")
	require.ErrorIs(t, play(6, []int32{1}, []int32{2}), policytest.ErrScript, "an attempt too short")
	require.ErrorContains(t, play(5, []int32{1, 2}, []int32{4, 5}), "beyond the 5 tokens")
	require.ErrorIs(t, s.Sample(t.Context(), nil, policy.Params{}, nil), policytest.ErrScript, "a row too few")
}
