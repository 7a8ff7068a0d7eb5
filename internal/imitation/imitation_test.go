package imitation_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/chat"
	"multiattempt/internal/dataset"
	"multiattempt/internal/imitation"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
)

// characters writes every character as its code, a dialogue's glue between 1 (opening) or 2 (turn) and 3, and ends the
// assistant's turns with 0.
type characters struct{}

func codes(text string) (ids []int32) {
	for _, c := range text {
		ids = append(ids, c)
	}
	return ids
}

func (characters) glue(first int32, messages []chat.Message) ([]int32, error) {
	ids := []int32{first}
	for _, m := range messages {
		ids = append(ids, codes(m.Content)...)
	}
	return append(ids, 3), nil
}

func (w characters) Opening(m []chat.Message) ([]int32, error) { return w.glue(1, m) }
func (w characters) Turn(m []chat.Message) ([]int32, error)    { return w.glue(2, m) }
func (characters) Reply(text string) ([]int32, error)          { return append(codes(text), 0), nil }

func TestExampleMasksImitatedTurnsWithTheirEnds(t *testing.T) {
	e, err := imitation.Example(characters{}, []dataset.Turn{
		{Role: "system", Content: "s"}, {Role: "user", Content: "q"},
		{Role: "assistant", Content: "ab", Imitate: true},
		{Role: "user", Content: "n"},
		{Role: "assistant", Content: "c"},
		{Role: "user", Content: "left out"},
	})
	require.NoError(t, err)
	require.Equal(t, []int32{1, 's', 'q', 3, 'a', 'b', 0, 2, 'n', 3, 'c', 0}, e.Tokens)
	require.Equal(t, []bool{false, false, false, false, true, true, true, false, false, false, false, false}, e.Mask)
}

func TestExampleRefusesWhatTeachesNothing(t *testing.T) {
	for name, turns := range map[string][]dataset.Turn{
		"silent":        {{Role: "user", Content: "q"}},
		"nothing asked": {{Role: "assistant", Content: "a", Imitate: true}},
		"unimitated":    {{Role: "user", Content: "q"}, {Role: "assistant", Content: "a"}},
	} {
		_, err := imitation.Example(characters{}, turns)
		require.ErrorIs(t, err, dataset.ErrData, name)
	}
}

// recorder is an imitator that remembers its calls.
type recorder struct {
	rates []float64
	rows  [][]update.Example
	fail  error
}

func (r *recorder) Step(_ context.Context, batch []update.Example, lr float64) (update.ImitationStats, error) {
	r.rates, r.rows = append(r.rates, lr), append(r.rows, batch)
	return update.ImitationStats{Loss: float64(len(r.rates))}, r.fail
}
func (*recorder) WritePolicy(context.Context, string) error { return nil }
func (*recorder) WriteState(context.Context, string) error  { return nil }
func (*recorder) Close() error                              { return nil }

func finetune(t *testing.T) (spec.Finetune, *dataset.Dialogues) {
	t.Helper()
	f := spec.DefaultFinetune()
	f.Steps, f.Data.BatchSize = 8, 2
	f.Optimizer.WarmupFraction, f.Optimizer.FinalFraction = 0.5, 1
	d, err := dataset.OpenDialogues(f.Data, f.Prompt)
	require.NoError(t, err)
	return f, d
}

func TestPartsMakeTheSameStepsAsOneRun(t *testing.T) {
	f, d := finetune(t)
	var whole, parts recorder
	var counted []int
	stats, err := imitation.Run(t.Context(), &whole, characters{}, d, f, 0, 8, func(n int) { counted = append(counted, n) })
	require.NoError(t, err)
	require.Equal(t, []int{1, 2, 3, 4, 5, 6, 7, 8}, counted)
	require.Equal(t, 8.0, stats.Loss, "the last step's")
	for _, from := range []int{0, 3, 6} {
		_, err := imitation.Run(t.Context(), &parts, characters{}, d, f, from, min(3, 8-from), func(int) {})
		require.NoError(t, err)
	}
	require.Equal(t, whole, parts)
	peak := f.Optimizer.PolicyLR
	require.InDeltaSlice(t, []float64{peak / 4, peak / 2, peak * 3 / 4, peak, peak, peak, peak, peak}, whole.rates, 1e-12)
}

func TestRunNamesTheStepThatFailed(t *testing.T) {
	f, d := finetune(t)
	boom := errors.New("boom")
	_, err := imitation.Run(t.Context(), &recorder{fail: boom}, characters{}, d, f, 4, 2, func(int) {})
	require.ErrorIs(t, err, boom)
	require.ErrorContains(t, err, "step 5")
}
