package rollout_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/chat"
	"multiattempt/internal/dataset"
	"multiattempt/internal/policy/policytest"
	"multiattempt/internal/rollout"
	"multiattempt/internal/verify"
)

// dialogue plays one episode and returns it as text.
func dialogue(t *testing.T, d rollout.Dialogue, w *policytest.Words, set rollout.Settings, p dataset.Presentation, says ...string) string {
	t.Helper()
	episodes, err := rollout.Run(t.Context(), script(w, says), d, verify.Grade, []dataset.Presentation{p}, set, nil)
	require.NoError(t, err)
	return w.Text(episodes[0].Tokens)
}

func TestFeedbackSpeaksOfTheAttempt(t *testing.T) {
	w := policytest.NewWords()
	set := settings(1)
	set.Prompt.Feedback = "attempt {attempt} said {answer} ! {left} left, {n} ; {hint}"
	set.Prompt.Hints = []string{"look", "look again {left}"}
	says := []string{`\boxed{3} [end]`, `hm [end]`, `\boxed{{left}} [end]`, `\boxed{2} [end]`}
	got := dialogue(t, w, w, set, shown("a", 0, 4), says...)
	require.Equal(t, `[system] 4 attempts [end] [user] 1 + 1 ? [end] [assistant] \boxed{3} [end] `+
		`[system] attempt 1 said 3 ! 3 left, 3 ; look [end] [assistant] hm [end] `+
		`[system] attempt 2 said ! 2 left, 2 ; look again {left} [end] [assistant] \boxed{{left}} [end] `+
		`[system] attempt 3 said {left} ! 1 left, 1 ; look again {left} [end] [assistant] \boxed{2} [end]`, got,
		"what an answer or a hint says is no placeholder")

	own := shown("a", 0, 3)
	own.Hints = []string{"mine"}
	got = dialogue(t, w, w, set, own, says...)
	require.Equal(t, 2, strings.Count(got, "; mine"), "a problem's own hints come first: %s", got)
}

// choosy refuses feedback with the word "cursed", as a chat template refuses what reads like a special token.
type choosy struct{ *policytest.Words }

func (c choosy) Turn(messages []chat.Message) ([]int32, error) {
	if strings.Contains(messages[0].Content, "cursed") {
		return nil, chat.ErrTokenizer
	}
	return c.Words.Turn(messages)
}

func TestAnswersThatCannotBeShownAreCutOrLeftOut(t *testing.T) {
	w := policytest.NewWords()
	set := settings(1)
	set.Prompt.Feedback = "not {answer} ."
	set.Sampling.MaxLength = 1000
	long := strings.TrimSpace(strings.Repeat("1 ", 100))
	got := dialogue(t, choosy{w}, w, set, shown("a", 0, 3), `\boxed{cursed} [end]`, `\boxed{`+long+`} [end]`, `\boxed{2} [end]`)
	require.Contains(t, got, `[assistant] \boxed{cursed} [end] [system] not . [end]`)
	require.Contains(t, got, `[system] not `+strings.TrimSpace(strings.Repeat("1 ", 50))+`... . [end]`)
}
