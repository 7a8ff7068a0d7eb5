package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/hub/hubtest"
	"multiattempt/internal/spec"
	"multiattempt/presets"
)

// run executes one command line with the pure-Go backend, and returns its exit code.
func run(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, notes bytes.Buffer
	a := &app{stdout: &out, stderr: &notes}
	root := a.newRoot()
	root.SetArgs(append(args, "--backend", "go", "--cache-dir", t.TempDir(), "--state-dir", t.TempDir()))
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&notes)
	err := root.ExecuteContext(t.Context())
	if err != nil {
		fmt.Fprintln(&notes, err)
	}
	return exitCode(err), out.String(), notes.String()
}

// objects are the JSON lines of a text.
func objects[T any](t *testing.T, text string) []T {
	t.Helper()
	var list []T
	for line := range strings.Lines(text) {
		var o T
		require.NoError(t, json.Unmarshal([]byte(line), &o), line)
		list = append(list, o)
	}
	return list
}

const smudged = "builtin:smudged-base"

func TestGenerateAndLogprobsAgree(t *testing.T) {
	in := `{"id":"a","messages":[{"role":"system","content":"1"},{"role":"user","content":"47+? 2,5,9"}]}
{"id":2,"prompt":""}
{"id":3,"messages":[{"role":"system","content":"2"},{"role":"user","content":"30+? 1,2"}]}
`
	code, out, notes := run(t, in, "generate", "--model", smudged, "--temperature", "1", "--samples", "2", "--max-new-tokens", "8")
	require.Equal(t, exitWrongInput, code)
	require.Contains(t, notes, `line 2: "prompt" is empty`)
	replies := objects[generateReply](t, out)
	require.Len(t, replies, 4)
	for i, r := range replies {
		require.Equal(t, []string{`"a"`, "3"}[i/2], string(r.ID))
		require.Equal(t, i%2, r.Sample)
		require.Len(t, r.LogProbs, len(r.IDs))
		require.Contains(t, []string{"stop", "length"}, r.Finish)
		require.Contains(t, r.Text, `\boxed{`)
	}
	_, again, _ := run(t, in, "generate", "--model", smudged, "--temperature", "1", "--samples", "2", "--max-new-tokens", "8")
	require.Equal(t, out, again, "a function of its arguments")

	prompts := promptIDs(t)
	var lines strings.Builder
	for i, r := range replies {
		line, err := json.Marshal(map[string]any{"id": i, "input_ids": append(prompts[i/2], r.IDs...)})
		require.NoError(t, err)
		lines.Write(append(line, '\n'))
	}
	code, out, notes = run(t, lines.String(), "logprobs", "--model", smudged)
	require.Zero(t, code, notes)
	for i, scored := range objects[logprobsReply](t, out) {
		require.Equal(t, fmt.Sprint(i), string(scored.ID))
		from := len(prompts[i/2]) - 1
		require.Len(t, scored.LogProbs, from+len(replies[i].IDs))
		require.InDeltaSlice(t, replies[i].LogProbs, scored.LogProbs[from:], 1e-4, "sampler and scorer")
	}
}

// TestComputeInBFloat16: generate and logprobs differ from float32 by rounding, and from one another by less.
func TestComputeInBFloat16(t *testing.T) {
	in := `{"id":1,"messages":[{"role":"system","content":"1"},{"role":"user","content":"47+? 2,5,9"}]}` + "\n"
	sample := func(compute string) generateReply {
		code, out, notes := run(t, in, "generate", "--model", smudged, "--max-new-tokens", "8", "--compute", compute)
		require.Zero(t, code, notes)
		return objects[generateReply](t, out)[0]
	}
	whole, half := sample("float32"), sample("bfloat16")
	require.Equal(t, whole.IDs, half.IDs, "greedy")
	require.NotEqual(t, whole.LogProbs, half.LogProbs)
	require.InDeltaSlice(t, whole.LogProbs, half.LogProbs, 0.3)

	prompt := promptIDs(t)[0]
	line, err := json.Marshal(map[string]any{"id": 1, "input_ids": append(prompt, half.IDs...)})
	require.NoError(t, err)
	code, out, notes := run(t, string(line)+"\n", "logprobs", "--model", smudged, "--compute", "bfloat16")
	require.Zero(t, code, notes)
	require.InDeltaSlice(t, half.LogProbs, objects[logprobsReply](t, out)[0].LogProbs[len(prompt)-1:], 1e-2)

	for _, command := range [][]string{
		{"generate", "--model", smudged}, {"chat", smudged}, {"logprobs", "--model", smudged}, {"model", "inspect", smudged}, {"eval", "--model", smudged},
	} {
		code, _, notes := run(t, "", append(command, "--compute", "half")...)
		require.Equal(t, exitWrongInput, code, notes)
		require.Contains(t, notes, `--compute is "half", must be float32 or bfloat16`)
	}
}

// promptIDs are the tokens of the two usable prompts of TestGenerateAndLogprobsAgree: a token a character, one before and
// one after each turn, and one that opens the answer.
func promptIDs(t *testing.T) [][]int32 {
	t.Helper()
	files, err := presets.Model("smudged-base")
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, files))
	text, err := os.ReadFile(filepath.Join(dir, "tokenizer.json"))
	require.NoError(t, err)
	var tokenizer struct {
		Model struct{ Vocab map[string]int32 }
	}
	require.NoError(t, json.Unmarshal(text, &tokenizer))
	const system, user, assistant, end = 2, 3, 4, 1
	var prompts [][]int32
	for _, p := range [][2]string{{"1", "47+? 2,5,9"}, {"2", "30+? 1,2"}} {
		ids := []int32{system, tokenizer.Model.Vocab[p[0]], end, user}
		for _, r := range strings.ReplaceAll(p[1], " ", "Ġ") {
			id, ok := tokenizer.Model.Vocab[string(r)]
			require.True(t, ok, "%q", r)
			ids = append(ids, id)
		}
		prompts = append(prompts, append(ids, end, assistant))
	}
	return prompts
}

func TestLogprobsRefusesLinesByNumber(t *testing.T) {
	long := make([]int32, 4097)
	text, err := json.Marshal(long)
	require.NoError(t, err)
	in := `{"id":1,"input_ids":[]}
{"id":2,"input_ids":[1,99999]}
{"input_ids":[1]}
{"id":4,"input_ids":[1],"more":true}
{"id":5,"input_ids":[7]}
{"id":6,"input_ids":` + string(text) + `}
`
	code, out, notes := run(t, in, "logprobs", "--model", smudged)
	require.Equal(t, exitWrongInput, code)
	require.Equal(t, `{"id":5,"logprobs":[]}`+"\n", out)
	for _, want := range []string{
		"line 1: ", "it is empty", "line 2: ", "expected an id below", "found 99999", `line 3: "id" is missing`, `line 4: json: unknown field "more"`,
		"line 6: ", "max_position_embeddings", "found 4097", "5 of 6 lines",
	} {
		require.Contains(t, notes, want)
	}
	code, _, notes = run(t, "", "logprobs", "--model", "no-such-folder")
	require.Equal(t, exitWrongInput, code)
	require.Contains(t, notes, "no-such-folder")
}

func TestChatThroughAPipe(t *testing.T) {
	in := "47+? 2,5,9\nwrong\n52\n\n30+? 1,2\nright\n40+? 3\n"
	code, out, notes := run(t, in, "chat", smudged, "--preset", "quickstart", "--attempts", "3", "--json", "--max-new-tokens", "20")
	require.Zero(t, code, notes)
	attempts := objects[chatAttempt](t, out)
	require.GreaterOrEqual(t, len(attempts), 4)
	require.Equal(t, []any{"47+? 2,5,9", 1, "wrong"}, []any{attempts[0].Question, attempts[0].Attempt, attempts[0].Outcome})
	require.Equal(t, 2, attempts[1].Attempt)
	require.Equal(t, "52", *attempts[1].Gold, "graded from here on")
	require.NotEqual(t, "unknown", attempts[1].Outcome)
	last := attempts[len(attempts)-2:]
	require.Equal(t, []any{"30+? 1,2", 1, "correct"}, []any{last[0].Question, last[0].Attempt, last[0].Outcome})
	require.Equal(t, []any{"40+? 3", 1, "unknown"}, []any{last[1].Question, last[1].Attempt, last[1].Outcome}, "the input ended")

	code, streamed, notes := run(t, in, "chat", smudged, "--preset", "quickstart", "--attempts", "3", "--max-new-tokens", "20")
	require.Zero(t, code, notes)
	var whole strings.Builder
	for _, a := range attempts {
		whole.WriteString(a.Text + "\n")
	}
	require.Equal(t, whole.String(), streamed)
	require.Contains(t, notes, "Attempt 2 of 3")

	code, _, notes = run(t, "é\n", "chat", smudged, "--preset", "quickstart")
	require.Equal(t, exitWrongInput, code)
	require.Contains(t, notes, "question 1")
}

func TestExportAndInspect(t *testing.T) {
	for _, dtype := range []string{"float32", "bfloat16", "float16"} {
		dir := filepath.Join(t.TempDir(), "out")
		code, out, notes := run(t, "", "export", smudged, dir, "--dtype", dtype)
		require.Zero(t, code, notes)
		require.Contains(t, out, "  model.safetensors\n")
		code, _, notes = run(t, "", "export", smudged, dir)
		require.Equal(t, exitWrongInput, code)
		require.Contains(t, notes, "holds files already")

		code, out, notes = run(t, "", "model", "inspect", dir, "--json")
		require.Zero(t, code, notes)
		var m inspected
		require.NoError(t, json.Unmarshal([]byte(out), &m))
		require.Equal(t, "llama", m.Family)
		require.Equal(t, map[string]int64{storedTypes[dtype]: m.Parameters}, m.DTypes)
		require.True(t, m.Template.Usable)
		require.Equal(t, []string{"<|end|>"}, m.Template.EndOfTurn)
		require.Equal(t, []string{"system", "user"}, m.Template.Feedback)
		require.Len(t, m.Training, 2)
		require.Less(t, m.Training[1].Optimizer, m.Training[0].Optimizer, "adapters spare moments")
	}
	code, out, _ := run(t, "", "model", "inspect", smudged)
	require.Zero(t, code)
	require.Contains(t, out, "File        model.safetensors")
	require.Contains(t, out, "to train all weights, micro-batches of 8 dialogues of")
	require.Contains(t, out, "to train adapters of rank 32")
	require.Contains(t, out, "to fine-tune all weights, micro-batches of")
	require.Contains(t, out, "to score a row of")
	code, _, notes := run(t, "", "export", smudged, t.TempDir(), "--dtype", "int8")
	require.Equal(t, exitWrongInput, code)
	require.Contains(t, notes, "--dtype")
}

func TestModelsOfTheHubThatCannotBeUsedAreNotFetched(t *testing.T) {
	server := hubtest.Start(t, "me/gemma", map[string][]byte{
		"config.json": []byte(`{"model_type":"gemma2"}`), "tokenizer.json": []byte("{}"), "model.safetensors": []byte("nine gigabytes"),
	})
	for _, args := range [][]string{
		{"model", "inspect", "hf:me/gemma"}, {"generate", "--model", "hf:me/gemma"}, {"logprobs", "--model", "hf:me/gemma"}, {"chat", "hf:me/gemma"},
		{"export", "hf:me/gemma", t.TempDir()},
	} {
		code, _, notes := run(t, "", args...)
		require.Equal(t, exitWrongInput, code, notes)
		require.Contains(t, notes, "gemma2", args)
	}
	for _, r := range server.Requests() {
		require.NotContains(t, r, "safetensors")
	}
}

// TestWhatCannotFitIsRefusedBeforeWeightsAreRead: the folder has none.
func TestWhatCannotFitIsRefusedBeforeWeightsAreRead(t *testing.T) {
	files, err := presets.Model("smudged-base")
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, files))
	config := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(config)
	require.NoError(t, err)
	huge := regexp.MustCompile(`"intermediate_size": *\d+`).ReplaceAll(text, []byte(`"intermediate_size": 100000000000`))
	require.NoError(t, os.WriteFile(config, huge, 0o644))
	require.NoError(t, os.Truncate(filepath.Join(dir, "model.safetensors"), 0))
	for _, command := range [][]string{{"generate", "--model", dir}, {"chat", dir}, {"logprobs", "--model", dir}} {
		code, _, notes := run(t, "", command...)
		require.Equal(t, exitWrongInput, code)
		require.Regexp(t, `not enough memory: .* takes \d+\.\d GB \(weights .*\), the device of go has \d+\.\d GB; .*choose a smaller model`, notes)
	}
}

func TestModelsFromTheHub(t *testing.T) {
	files, err := presets.Model("smudged-base")
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, files))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	served := map[string][]byte{}
	for _, e := range entries {
		served[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
	}
	server := hubtest.Start(t, "me/base", served)
	code, out, notes := run(t, "", "model", "inspect", "hf:me/base", "--json")
	require.Zero(t, code, notes)
	var m inspected
	require.NoError(t, json.Unmarshal([]byte(out), &m))
	require.Equal(t, "hf:me/base@"+hubtest.Commit, m.Model)
	weights := filepath.Join(m.Dir, "model.safetensors")
	require.NoError(t, os.WriteFile(weights, append([]byte{}, served["config.json"]...), 0o644)) // the cache changed since
	code, _, notes = run(t, "", "logprobs", "--model", "hf:me/base")
	require.NotZero(t, code)
	require.Contains(t, notes, "corrupt object "+weights)
	require.Contains(t, notes, "remove this file")
	code, _, notes = run(t, "", "model", "inspect", "hf:me/absent")
	require.Equal(t, exitWrongInput, code)
	require.Contains(t, notes, "me/absent")
	server.Down(true)
	code, _, _ = run(t, "", "model", "inspect", "hf:me/other")
	require.Equal(t, exitUnreachable, code)
}

func TestNamesOfRunsAmongModels(t *testing.T) {
	for _, name := range []string{"r", "r@best", "nightly-2026-11-26T02:17:00Z@12", "hfx"} {
		require.False(t, spec.NamesModel(name), name)
	}
	for _, name := range []string{"run:r@2", "ref:blobs/a@b:1", "builtin:smudged-base", "hf:Qwen/Qwen2.5-0.5B", "s3://bucket/model"} {
		require.True(t, spec.NamesModel(name), name)
	}
}
