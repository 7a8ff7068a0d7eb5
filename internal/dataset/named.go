package dataset

import (
	"maps"
	"slices"
	"strings"
)

// named is a public data set that can be asked for by name.
type named struct {
	repository string // data set repository on the Hugging Face Hub
	config     string // folder of the repository that holds the wanted configuration; empty: all of them
	train      string // the Hub's name of the training split; empty: an evaluation set
	test       string
	mapping    mapping
	problems   int // of the test split, as published
}

// sets are the data sets known by name: the five evaluation sets of Chung, Du and Fu (arXiv 2503.04808), GSM8K
// (arXiv 2110.14168) and MATH (arXiv 2103.03874). docs/datasets.md describes each.
var sets = map[string]named{
	"aime24":        {repository: "HuggingFaceH4/aime_2024", test: "train", mapping: usual, problems: 30},
	"amc23":         {repository: "math-ai/amc23", test: "test", mapping: usual, problems: 40},
	"math500":       {repository: "HuggingFaceH4/MATH-500", test: "test", mapping: usual, problems: 500},
	"minerva_math":  {repository: "math-ai/minervamath", test: "test", mapping: usual, problems: 272},
	"olympiadbench": {repository: "math-ai/olympiadbench", test: "test", mapping: usual, problems: 675},
	"gsm8k":         {repository: "openai/gsm8k", config: "main", train: "train", test: "test", mapping: usual, problems: 1319},
	"math":          {repository: "EleutherAI/hendrycks_math", train: "train", test: "test", mapping: usual, problems: 5000},
}

// aliases are other names in use for sets.
var aliases = map[string]string{
	"aime2024": "aime24", "amc2023": "amc23", "math-500": "math500", "minerva": "minerva_math", "minerva-math": "minerva_math",
}

// MathHard names the training problems of the paper: MATH's training and test problems of level 3 to 5, those of
// MATH-500 left out; about 8,500.
const MathHard = "math-3to5"

// mathHardLevel is the lowest level in MathHard.
const mathHardLevel = 3

// Names returns every name that Open knows, in ascending order.
func Names() []string {
	names := append(slices.Collect(maps.Keys(sets)), Smudged, MathHard)
	slices.Sort(names)
	return names
}

// TestProblems is how many problems the set called name has for evaluation, as published; 0 when that is not known here.
func TestProblems(name string) int {
	if canonical, ok := aliases[name]; ok {
		name = canonical
	}
	return sets[name].problems
}

// mathHard selects from all MATH problems those of level 3 to 5 whose question is not in held.
func mathHard(all, held []Problem) []Problem {
	taken := map[string]bool{}
	for _, p := range held {
		taken[questionKey(p.Question)] = true
	}
	var kept []Problem
	for _, p := range all {
		key := questionKey(p.Question)
		if p.Level < mathHardLevel || taken[key] {
			continue
		}
		taken[key] = true
		kept = append(kept, p)
	}
	return kept
}

// Overlap returns the problems of a whose question, spaces and case aside, is also asked in b: what a training set must
// not share with an evaluation set.
func Overlap(a, b []Problem) []Problem {
	asked := map[string]bool{}
	for _, p := range b {
		asked[questionKey(p.Question)] = true
	}
	var shared []Problem
	for _, p := range a {
		if asked[questionKey(p.Question)] {
			shared = append(shared, p)
		}
	}
	return shared
}

// questionKey is equal for questions that differ in white space and case only.
func questionKey(q string) string { return strings.ToLower(strings.Join(strings.Fields(q), "")) }
