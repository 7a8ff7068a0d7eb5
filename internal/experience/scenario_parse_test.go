package experience_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"multiattempt/internal/spec"
)

// scenario is one or more episodes that make an iteration together, and what must come of them. The files under testdata
// hold them in lines of a keyword and its text:
//
//	set PATH=VALUE            a setting of spec.Run; before the first scenario, for all of the file
//	context N                 the most tokens of a dialogue
//	scenario NAME
//	problem Q -> A in N attempts    begins an episode
//	again                     begins another episode of the problem before
//	says WORDS                what the model wants to write in its next attempt; a word is a token, w×3 is w w w
//	values, old, ref, sampler NUMBERS    of the critic, the policy before its update, the reference, while sampling: one
//	                          for each sampled token, or one for all of them; 0 and −1 when left out
//
// and the expectations
//
//	forced WORDS              tokens with mask 0, in the order of the dialogue with
//	sampled WORDS -> OUTCOME  tokens with mask 1: an attempt
//	reward NUMBER
//	advantage, return, weight NUMBERS    for each sampled token
type scenario struct {
	name     string
	at       string // file and line
	run      spec.Run
	context  int
	episodes []*script
}

// script is one episode: what goes in, and what is expected.
type script struct {
	question, gold string
	attempts       int
	again          bool // of the same group as the episode before
	says           []string
	given          map[string][]float64
	spans          []span
	reward         float64
	expected       map[string][]float64
}

// span is a stretch of the dialogue with one mask.
type span struct {
	words   string
	sampled bool
	outcome string
}

// readScenarios reads a file of scenarios.
func readScenarios(path string) ([]*scenario, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read from
	common := &scenario{run: spec.Default(), context: 1000}
	current, list := common, []*scenario{}
	lines := bufio.NewScanner(f)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		keyword, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimSpace(rest)
		at := fmt.Sprintf("%s:%d", path, number)
		if keyword == "scenario" {
			current = &scenario{name: rest, at: at, run: common.run, context: common.context}
			list = append(list, current)
			continue
		}
		if err := current.read(keyword, rest); err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
	}
	return list, lines.Err()
}

// read takes in one line.
func (s *scenario) read(keyword, rest string) (err error) {
	switch keyword {
	case "set":
		return s.set(rest)
	case "context":
		s.context, err = strconv.Atoi(rest)
		return err
	case "problem":
		e := &script{given: map[string][]float64{}, expected: map[string][]float64{}}
		s.episodes = append(s.episodes, e)
		question, answer, ok := strings.Cut(rest, " -> ")
		e.question = question
		if _, err := fmt.Sscanf(answer, "%s in %d attempts", &e.gold, &e.attempts); !ok || err != nil {
			return fmt.Errorf("problem %q: want QUESTION -> ANSWER in N attempts", rest)
		}
		return nil
	}
	if len(s.episodes) == 0 {
		return fmt.Errorf("%s before the first problem", keyword)
	}
	last := s.episodes[len(s.episodes)-1]
	if keyword == "again" {
		s.episodes = append(s.episodes, &script{
			question: last.question, gold: last.gold, attempts: last.attempts, again: true,
			given: map[string][]float64{}, expected: map[string][]float64{},
		})
		return nil
	}
	return last.read(keyword, rest)
}

func (s *scenario) set(assignment string) error {
	doc, err := json.Marshal(s.run)
	if err != nil {
		return err
	}
	if doc, err = spec.Override(doc, spec.Run{}, []string{assignment}); err != nil {
		return err
	}
	return json.Unmarshal(doc, &s.run)
}

func (e *script) read(keyword, rest string) (err error) {
	switch keyword {
	case "says":
		e.says = append(e.says, repeated(rest))
	case "forced":
		e.spans = append(e.spans, span{words: repeated(rest)})
	case "sampled":
		words, outcome, _ := strings.Cut(rest, " -> ")
		e.spans = append(e.spans, span{words: repeated(words), sampled: true, outcome: outcome})
	case "reward":
		e.reward, err = strconv.ParseFloat(rest, 64)
	case "values", "old", "ref", "sampler":
		e.given[keyword], err = numbers(rest)
	case "advantage", "return", "weight":
		e.expected[keyword], err = numbers(rest)
	default:
		err = fmt.Errorf("unknown keyword %q", keyword)
	}
	return err
}

// repeated writes words such as w×3 out.
func repeated(text string) string {
	words := []string{}
	for _, w := range strings.Fields(text) {
		word, count, found := strings.Cut(w, "×")
		n, err := strconv.Atoi(count)
		if !found || err != nil {
			word, n = w, 1
		}
		words = append(words, slices.Repeat([]string{word}, n)...)
	}
	return strings.Join(words, " ")
}

func numbers(text string) ([]float64, error) {
	list := []float64{}
	for _, field := range strings.Fields(text) {
		x, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return nil, err
		}
		list = append(list, x)
	}
	return list, nil
}
