package dataset_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
	"multiattempt/internal/dataset"
)

func write(t *testing.T, path, content string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	return path
}

func open(t *testing.T, name string, o dataset.Options) *dataset.Set {
	t.Helper()
	if o.Split == "" {
		o.Split = dataset.Test
	}
	set, err := dataset.Open(context.Background(), name, o)
	require.NoError(t, err)
	return set
}

func TestOpenMapsRowsToProblems(t *testing.T) {
	cases := map[string]struct {
		row  string
		want dataset.Problem
	}{
		"plain":                   {`{"question":" How many? ","answer":"12"}`, dataset.Problem{ID: "0", Question: "How many?", Answer: "12"}},
		"problem before question": {`{"problem":"P","question":"Q","answer":1}`, dataset.Problem{ID: "0", Question: "P", Answer: "1"}},
		"whole float":             {`{"id":3,"problem":"P","answer":27.0}`, dataset.Problem{ID: "3", Question: "P", Answer: "27"}},
		"leading zero":            {`{"problem":"P","answer":"025"}`, dataset.Problem{ID: "0", Question: "P", Answer: "025"}},
		"gsm8k":                   {`{"question":"Q","answer":"1+1=<<1+1=2>>2\n#### 70,000"}`, dataset.Problem{ID: "0", Question: "Q", Answer: "70000"}},
		"boxed solution":          {`{"problem":"P","solution":"so \\boxed{\\frac{1}{2}} m","level":"Level 4"}`, dataset.Problem{ID: "0", Question: "P", Answer: `\frac{1}{2}`, Level: 4}},
		"final answer, unit":      {`{"id":7,"context":null,"question":"Q","solution":["no box"],"final_answer":["$\\frac{3}{2}$"],"unit":"cm"}`, dataset.Problem{ID: "7", Question: "Q", Answer: `\frac{3}{2}`, Unit: "cm"}},
		"several answers":         {`{"question":"Q","final_answer":["$1$,$2$"]}`, dataset.Problem{ID: "0", Question: "Q", Answer: "1,2"}},
		"several strings":         {`{"question":"Q","final_answer":["1","2"]}`, dataset.Problem{ID: "0", Question: "Q", Answer: "1, 2"}},
		"money keeps its sign":    {`{"question":"Q","answer":"\\$5"}`, dataset.Problem{ID: "0", Question: "Q", Answer: `\$5`}},
		"context first":           {`{"context":"Let x=1.","question":"Q","answer":"1","unique_id":"a/b","level":5}`, dataset.Problem{ID: "a/b", Question: "Let x=1.\n\nQ", Answer: "1", Level: 5}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			set := open(t, write(t, filepath.Join(t.TempDir(), "p.jsonl"), c.row+"\n\n"), dataset.Options{})
			require.Equal(t, []dataset.Problem{c.want}, set.Problems())
		})
	}
}

func TestOpenTakesTheUsersColumns(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "p.jsonl"), `{"prompt":"Q","question":"not this","target":"4"}`)
	set := open(t, path, dataset.Options{FieldQuestion: "prompt", FieldAnswer: "target"})
	require.Equal(t, []dataset.Problem{{ID: "0", Question: "Q", Answer: "4"}}, set.Problems())
	require.Equal(t, []dataset.File{{Path: path, Source: path, SHA256: blob.Sum([]byte(`{"prompt":"Q","question":"not this","target":"4"}`))}}, set.Files)
}

func TestOpenReadsHints(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "p.jsonl"),
		`{"question":"Q","answer":"4","help":["look"," again "]}`+"\n"+`{"question":"R","answer":"5","help":"count"}`+"\n"+`{"question":"S","answer":"6"}`)
	hints := [][]string{}
	for _, p := range open(t, path, dataset.Options{FieldHint: "help"}).Problems() {
		hints = append(hints, p.Hints)
	}
	require.Equal(t, [][]string{{"look", "again"}, {"count"}, nil}, hints)
	require.Nil(t, open(t, path, dataset.Options{}).Problems()[0].Hints)

	path = write(t, filepath.Join(t.TempDir(), "p.jsonl"), `{"question":"Q","answer":"4","help":{"a":1}}`)
	_, err := dataset.Open(t.Context(), path, dataset.Options{Split: dataset.Train, FieldHint: "help"})
	require.ErrorIs(t, err, dataset.ErrData)
	require.ErrorContains(t, err, `column "help" holds neither a text nor a list of texts`)
}

func TestOpenReadsParquet(t *testing.T) {
	type row struct {
		ID     int64    `parquet:"id"`
		Q      string   `parquet:"question"`
		Answer []string `parquet:"final_answer,list"`
		Score  float64  `parquet:"score"`
		Unit   *string  `parquet:"unit,optional"`
	}
	cm := "cm"
	path := filepath.Join(t.TempDir(), "p.parquet")
	require.NoError(t, parquet.WriteFile(path, []row{
		{ID: 5, Q: "Q1", Answer: []string{"1", "2"}, Score: 27},
		{ID: 6, Q: "Q2", Answer: []string{"3"}, Score: 0.5, Unit: &cm},
	}))
	require.Equal(t, []dataset.Problem{
		{ID: "5", Question: "Q1", Answer: "1, 2"}, {ID: "6", Question: "Q2", Answer: "3", Unit: "cm"},
	}, open(t, path, dataset.Options{}).Problems())
	scores := open(t, path, dataset.Options{FieldAnswer: "score"}).Problems()
	require.Equal(t, "27", scores[0].Answer)
	require.Equal(t, "0.5", scores[1].Answer)
}

func TestOpenNamesEveryFault(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "bad.jsonl"), strings.Join([]string{
		`{"id":1,"question":"Q","answer":"1"}`,
		`{"id":1,"question":"Q","answer":"2"}`,
		`{"id":2,"question":"  ","answer":"2"}`,
		`{"id":3,"question":"Q"}`,
		`{"id":4,"question":"Q","answer":"2"`,
		`[1]`,
		`{"id":5,"question":"Q","solution":"no box"}`,
		`{"id":6,"question":{"a":1},"answer":"2"}`,
		`{"id":7,"question":"Q","answer":null}`,
		`{"id":8,"question":"Q","answer":"2"} {}`,
		"{\"id\":9,\"question\":\"\xff\",\"answer\":\"2\"}",
	}, "\n"))
	_, err := dataset.Open(context.Background(), path, dataset.Options{Split: dataset.Train})
	require.ErrorIs(t, err, dataset.ErrData)
	require.EqualError(t, err, strings.ReplaceAll(`bad data, 10 faults:
  F:5: broken JSON: the line ends in the middle of a value
  F:6: broken JSON: want an object, got array
  F:10: something follows the JSON object
  F:11: not valid UTF-8
  F:2: id "1" was used before, at F:1
  F:3: the question is empty (column "question")
  F:4: no answer: want a column "answer" or "final_answer" or "solution", it has "id", "question"
  F:7: column "solution" has no answer: want one in \boxed{…}, after "####", or alone
  F:8: column "question" holds neither text, number nor a list of these
  F:9: no answer: want a column "answer" or "final_answer" or "solution", it has "answer", "id", "question"`, "F:", path+":"))
}

func TestOpenLimitsTheFaultsItSpellsOut(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "bad.jsonl"), strings.Repeat("{\n", 50))
	_, err := dataset.Open(context.Background(), path, dataset.Options{Split: dataset.Train})
	require.ErrorContains(t, err, "50 faults")
	require.ErrorContains(t, err, "and 30 more")
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	cases := map[string]struct {
		name string
		o    dataset.Options
		want string
	}{
		"unknown name":     {"gsm9k", dataset.Options{Split: dataset.Train}, `no data set is called "gsm9k"; name a .jsonl or .parquet file or one of aime24, amc23, gsm8k`},
		"evaluation only":  {"aime24", dataset.Options{Split: dataset.Train}, "has no training problems"},
		"training only":    {"math-3to5", dataset.Options{Split: dataset.Test}, "evaluate on math500"},
		"no split":         {"gsm8k", dataset.Options{}, `split ""`},
		"other kind":       {write(t, filepath.Join(dir, "x.csv"), "a,b"), dataset.Options{Split: dataset.Train}, `x.csv: a data file ends in .jsonl or .parquet, not in ".csv"`},
		"empty file":       {write(t, filepath.Join(dir, "x.jsonl"), "\n"), dataset.Options{Split: dataset.Train}, "x.jsonl: holds no problem"},
		"broken parquet":   {write(t, filepath.Join(dir, "x.parquet"), "PAR1 no"), dataset.Options{Split: dataset.Train}, "x.parquet: broken Parquet file"},
		"truncated column": {"", dataset.Options{Split: dataset.Train}, "no data set is called"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := dataset.Open(context.Background(), c.name, c.o)
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err := dataset.Open(context.Background(), filepath.Join(dir, "absent.jsonl"), dataset.Options{Split: dataset.Train})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestOpenNamedPrefersTheSplitOfTheDataFolder(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "gsm8k.jsonl"), `{"question":"any","answer":"#### 1"}`)
	require.Equal(t, "any", open(t, "gsm8k", dataset.Options{DataDir: dir, Split: dataset.Train}).Problems()[0].Question)
	write(t, filepath.Join(dir, "gsm8k", "train.jsonl"), `{"question":"train","answer":"#### 1"}`)
	require.Equal(t, "train", open(t, "gsm8k", dataset.Options{DataDir: dir, Split: dataset.Train}).Problems()[0].Question)
	require.Equal(t, "any", open(t, "gsm8k", dataset.Options{DataDir: dir, Split: dataset.Test}).Problems()[0].Question)
}

func TestOpenKnowsOtherNames(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "aime24.jsonl"), `{"problem":"P","answer":"025"}`)
	set := open(t, "aime2024", dataset.Options{DataDir: dir})
	require.Equal(t, "aime24", set.Name)
	require.Equal(t, 30, dataset.TestProblems("aime2024"))
	require.Zero(t, dataset.TestProblems("mine.jsonl"))
}

func TestOpenMathHardLeavesOutMATH500(t *testing.T) {
	dir := t.TempDir()
	problem := func(q, level string) string {
		return fmt.Sprintf(`{"problem":%q,"level":%q,"solution":"\\boxed{1}"}`+"\n", q, level)
	}
	write(t, filepath.Join(dir, "math-train.jsonl"), problem("A", "Level 2")+problem("B", "Level 3")+problem("C", "Level ?"))
	write(t, filepath.Join(dir, "math-test.jsonl"), problem("D", "Level 5")+problem("E  held", "Level 5"))
	write(t, filepath.Join(dir, "math500.jsonl"), problem("e held", "Level 5"))
	set := open(t, dataset.MathHard, dataset.Options{DataDir: dir, Split: dataset.Train})
	require.Equal(t, []dataset.Problem{
		{ID: "train/1", Question: "B", Answer: "1", Level: 3}, {ID: "test/0", Question: "D", Answer: "1", Level: 5},
	}, set.Problems())
	require.Len(t, set.Files, 3)
}

func TestOverlap(t *testing.T) {
	a := []dataset.Problem{{ID: "1", Question: "What is  1+1?"}, {ID: "2", Question: "Other"}}
	b := []dataset.Problem{{ID: "x", Question: "what is 1 + 1?"}}
	require.Equal(t, a[:1], dataset.Overlap(a, b))
}

// TestOpenBenchmarks reads the real sets where a copy lies beside the repository.
func TestOpenBenchmarks(t *testing.T) {
	dir := filepath.Join("..", "..", "..", "shared", "benchmarks")
	if _, err := os.Stat(dir); err != nil && os.Getenv("CI") == "" {
		t.Skip("no copy of the benchmarks beside the repository: ../shared/benchmarks")
	}
	for name, want := range map[string]struct {
		n          int
		id, answer string // of the first problem
	}{
		"aime24":        {30, "60", "204"},
		"amc23":         {40, "0", "27"},
		"math500":       {500, "test/precalculus/807.json", `\left( 3, \frac{\pi}{2} \right)`},
		"minerva_math":  {272, "0", "1.6"},
		"olympiadbench": {675, "1606", "2"},
		"gsm8k":         {1319, "0", "18"},
	} {
		set := open(t, name, dataset.Options{DataDir: dir})
		require.Equal(t, want.n, set.Len(), name)
		require.Equal(t, want.n, dataset.TestProblems(name))
		first := set.Problems()[0]
		require.Equal(t, want.id, first.ID)
		require.Equal(t, want.answer, first.Answer)
		require.NotZero(t, set.Digest())
		t.Log(name, set.Report)
	}
}

func TestLibraryReadsASetOnceUntilItsFileChanges(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "p.jsonl"), `{"question":"Q","answer":"4"}`)
	var library dataset.Library
	first, err := library.Open(context.Background(), path, dataset.Options{Split: dataset.Train})
	require.NoError(t, err)
	again, err := library.Open(context.Background(), path, dataset.Options{Split: dataset.Train})
	require.NoError(t, err)
	require.Same(t, first, again)

	write(t, path, `{"question":"Q","answer":"42"}`)
	changed, err := library.Open(context.Background(), path, dataset.Options{Split: dataset.Train})
	require.NoError(t, err)
	require.Equal(t, "42", changed.Problems()[0].Answer)

	require.NoError(t, os.Remove(path))
	_, err = library.Open(context.Background(), path, dataset.Options{Split: dataset.Train})
	require.ErrorIs(t, err, os.ErrNotExist)
}
