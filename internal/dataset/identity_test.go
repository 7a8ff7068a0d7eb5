package dataset_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
	"multiattempt/internal/dataset"
)

// sums are questions first to last in a file's form, their answers the same numbers.
func sums(first, last int) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	for i := first; i <= last; i++ {
		if err := e.Encode(map[string]any{"question": strings.Repeat("1+", i) + "0", "answer": i}); err != nil {
			panic(err)
		}
	}
	return b.String()
}

func TestIdentifySaysWhatARunsDataAre(t *testing.T) {
	dir := t.TempDir()
	content := sums(1, 4)
	train := open(t, write(t, filepath.Join(dir, "train.jsonl"), content), dataset.Options{Split: dataset.Train})
	test := open(t, write(t, filepath.Join(dir, "test.jsonl"), sums(4, 6)), dataset.Options{})
	id := dataset.Identify(train, []*dataset.Set{test, open(t, dataset.Smudged, dataset.Options{})})
	require.Equal(t, []dataset.Origin{{Source: train.Name, SHA256: blob.Sum([]byte(content))}}, id.Train.Files)
	require.Equal(t, 4, id.Train.Problems)
	require.Equal(t, train.Digest(), id.Train.Digest)
	require.Equal(t, 1, id.Evaluation[0].Shared)
	require.Empty(t, id.Evaluation[1].Files, "generated")
	require.Zero(t, id.Evaluation[1].Shared)

	b, err := json.Marshal(id)
	require.NoError(t, err)
	var again dataset.Identity
	require.NoError(t, json.Unmarshal(b, &again))
	require.Equal(t, id, again)
}

func TestAnEndlessSetHasAnIdentity(t *testing.T) {
	endless := open(t, dataset.Smudged, dataset.Options{Split: dataset.Train})
	id := dataset.Identify(endless, []*dataset.Set{open(t, dataset.Smudged, dataset.Options{})})
	require.Equal(t, -1, id.Train.Problems)
	require.Empty(t, id.Warnings())
	b, err := json.Marshal(id)
	require.NoError(t, err)
	var again dataset.Identity
	require.NoError(t, json.Unmarshal(b, &again))
	require.NoError(t, again.Train.Check(endless.Identity()))
}

func TestWarnings(t *testing.T) {
	const cannot = `{"id":"x","question":"why?","answer":"because \\sqrt{"}` + "\n"
	for name, c := range map[string]struct {
		train, test string
		limit       int // of the evaluation set
		want        []string
	}{
		"nothing":       {sums(1, 3), sums(4, 5), 0, nil},
		"some shared":   {sums(1, 3), sums(3, 1004), 0, []string{"1 of 1,002 problems of the evaluation set {test} are in the training set: its scores say nothing about generalisation"}},
		"same problems": {sums(1, 3), sums(1, 3), 0, []string{"EVALUATION ON THE TRAINING SET: the evaluation set {test} and the training set {train} are the same 3 problems: its scores say nothing about generalisation"}},
		"part of it":    {sums(1, 3), sums(1, 3), 2, []string{"EVALUATION ON THE TRAINING SET: all 2 problems of the evaluation set {test} are in the training set: its scores say nothing about generalisation"}},
		"opaque":        {sums(1, 3), cannot, 0, []string{`set {test}: 1 of 1 gold answers cannot be parsed and are compared as text only, e.g. x: "because \\sqrt{"`}},
		"opaque, both":  {cannot, cannot, 0, []string{`set {train}: 1 of 1 gold answers`, `EVALUATION ON THE TRAINING SET`}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			train := open(t, write(t, filepath.Join(dir, "train.jsonl"), c.train), dataset.Options{Split: dataset.Train})
			test := open(t, write(t, filepath.Join(dir, "test.jsonl"), c.test), dataset.Options{Limit: c.limit})
			warnings := dataset.Identify(train, []*dataset.Set{test}).Warnings()
			require.Len(t, warnings, len(c.want))
			names := strings.NewReplacer("{train}", train.Name, "{test}", test.Name)
			for i, want := range c.want {
				require.Contains(t, warnings[i], names.Replace(want))
			}
		})
	}
}

func TestWarningsShortenLongAnswers(t *testing.T) {
	r := dataset.Report{Problems: 2000, Opaque: 1, Examples: []dataset.Problem{{ID: "a", Answer: strings.Repeat("ü", 500)}}}
	require.Equal(t, `1 of 2,000 gold answers cannot be parsed and are compared as text only, e.g. a: "`+strings.Repeat("ü", 60)+`…"`, r.String())
}

func TestCheckRefusesOtherProblems(t *testing.T) {
	path := filepath.Join(t.TempDir(), "train.jsonl")
	before := open(t, write(t, path, sums(1, 4)), dataset.Options{}).Identity()
	require.NoError(t, before.Check(before))
	after := open(t, write(t, path, sums(1, 5)), dataset.Options{}).Identity()
	err := before.Check(after)
	require.ErrorIs(t, err, dataset.ErrData)
	for _, part := range []string{path, before.Digest.String(), after.Digest.String()} {
		require.ErrorContains(t, err, part)
	}
}
