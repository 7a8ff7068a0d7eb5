package verify_test

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/verify"
)

// sharedFile opens a file of the data kept beside the repository.
func sharedFile(t *testing.T, path string) *bufio.Scanner {
	t.Helper()
	root := filepath.Join("..", "..", "..", "shared")
	if _, err := os.Stat(root); os.IsNotExist(err) && os.Getenv("CI") == "" {
		t.Skipf("%s is not there: these figures need the shared data", root)
	}
	f, err := os.Open(filepath.Join(root, path))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<24)
	return s
}

// documentedPolicies are the tags of cases on which graders differ by choice; docs/grading.md says how this
// one chooses.
var documentedPolicies = map[string]bool{
	"decimal comma": true, "order policy": true, "tolerance policy": true, "unreduced arithmetic policy": true, "percent policy": true,
	"units policy": true, "bracket type": true, "singleton set policy": true, "multiple-choice text policy": true, "function name policy": true,
}

// TestCases holds the figures promised for pairs that other graders' tests and issues state.
func TestCases(t *testing.T) {
	s := sharedFile(t, "grading/cases.jsonl")
	var total, agree, core, falseRejects, paper, paperAgree int
	for s.Scan() {
		var c struct {
			ID       string   `json:"id"`
			Gold     string   `json:"gold_answer"`
			Pred     string   `json:"pred_boxed"`
			Expected bool     `json:"expected"`
			Core     bool     `json:"core"`
			Tags     []string `json:"tags"`
			Paper    *bool    `json:"paper"`
		}
		require.NoError(t, json.Unmarshal(s.Bytes(), &c))
		v := verify.Grade(c.Gold, c.Pred, verify.Options{})
		total++
		switch {
		case v.Correct == c.Expected:
			agree++
		case c.Core:
			require.False(t, v.Correct, "false accept %s: gold %s answer %s", c.ID, c.Gold, v.Extracted)
			falseRejects++
		default:
			known := false
			for _, tag := range c.Tags {
				known = known || documentedPolicies[tag]
			}
			require.True(t, known, "disagreement %s, tags %v: gold %s answer %s", c.ID, c.Tags, c.Gold, v.Extracted)
		}
		if c.Core {
			core++
		}
		if c.Paper != nil {
			paper++
			if verify.Grade(c.Gold, c.Pred, verify.Options{Mode: verify.ModePaper}).Correct == *c.Paper {
				paperAgree++
			}
		}
	}
	require.NoError(t, s.Err())
	require.NotZero(t, core)
	require.LessOrEqual(t, falseRejects*100, 2*core, "false rejects of %d core pairs", core)
	require.GreaterOrEqual(t, agree*100, 92*total, "agreement on %d pairs", total)
	require.GreaterOrEqual(t, paperAgree*100, 97*paper, "paper mode's agreement on %d pairs", paper)
}

// goldAnswers returns every gold answer of a set.
func goldAnswers(t *testing.T, set string) []string {
	t.Helper()
	s := sharedFile(t, "benchmarks/"+set+".jsonl")
	var out []string
	for s.Scan() {
		var p struct {
			Answer      json.RawMessage `json:"answer"`
			FinalAnswer []string        `json:"final_answer"`
			Solution    json.RawMessage `json:"solution"`
		}
		require.NoError(t, json.Unmarshal(s.Bytes(), &p))
		var text string
		switch {
		case len(p.FinalAnswer) > 0:
			out = append(out, p.FinalAnswer...)
			continue
		case set == "gsm8k":
			require.NoError(t, json.Unmarshal(p.Answer, &text))
			_, text, _ = strings.Cut(text, "#### ")
		case len(p.Answer) > 0:
			if json.Unmarshal(p.Answer, &text) != nil {
				text = string(p.Answer)
			}
		default:
			require.NoError(t, json.Unmarshal(p.Solution, &text))
			text, _ = verify.Extract(text, verify.Options{})
		}
		require.NotEmpty(t, text)
		out = append(out, text)
	}
	require.NoError(t, s.Err())
	return out
}

// TestGoldAnswersEqualThemselves grades every gold answer of every set against itself, and counts the ones
// that cannot be parsed.
func TestGoldAnswersEqualThemselves(t *testing.T) {
	total, opaque := 0, 0
	for _, set := range []string{"aime24", "amc23", "math500", "minerva_math", "olympiadbench", "gsm8k"} {
		for _, gold := range goldAnswers(t, set) {
			v := verify.Grade(gold, `\boxed{`+gold+`}`, verify.Options{})
			require.True(t, v.Correct, "%s: %s: %s", set, gold, v.Rule)
			spaced := verify.Compare(gold, strings.ReplaceAll(gold, ",", " , "), verify.Options{})
			require.NotEqual(t, verify.StatusBounded, spaced.Status, gold)
			if set != "gsm8k" {
				total++
				if v.Opaque {
					opaque++
				}
			}
		}
	}
	require.Equal(t, 1517, total)
	require.Less(t, opaque*100, total, "opaque gold answers of %d", total)
}

// TestNeighbouringGoldAnswers checks that what is accepted between neighbours is accepted both ways, save
// for the policies that trust only the gold answer's form.
func TestNeighbouringGoldAnswers(t *testing.T) {
	oneWay := map[string]bool{"stated_value": true, "inequality_as_interval": true, "gold_rounding": true, "pred_rounding": true}
	for _, set := range []string{"math500", "minerva_math", "olympiadbench"} {
		golds := goldAnswers(t, set)
		for i := range golds {
			a, b := golds[i], golds[(i+1)%len(golds)]
			v, w := verify.Compare(a, b, verify.Options{}), verify.Compare(b, a, verify.Options{})
			require.NotEqual(t, verify.StatusBounded, v.Status, "%s against %s", a, b)
			if !oneWay[v.Rule] && !oneWay[w.Rule] {
				require.Equal(t, v.Correct, w.Correct, "%s against %s", a, b)
			}
		}
	}
}
