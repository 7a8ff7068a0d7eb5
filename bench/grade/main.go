// Command grade measures the time to grade one pair of answers: this project's grader beside Math-Verify, on the same pairs.
//
// It is run by run.sh: with -write it writes the pairs, with -compare it times them, reads Math-Verify's times and prints
// both. A pair's time is the best of several repetitions in a warm process, which keeps other work of the machine out of it.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"multiattempt/internal/verify"
)

// pair is a gold answer and the answer that is graded against it.
type pair struct {
	Set  string `json:"set"`
	Gold string `json:"gold"`
	Pred string `json:"pred"`
}

// timing is a peer's result for the pair of the same position.
type timing struct {
	Seconds float64 `json:"seconds"`
	Correct bool    `json:"correct"`
}

func main() {
	data := flag.String("data", "", "folder with math500.jsonl, olympiadbench.jsonl and minerva_math.jsonl")
	write := flag.String("write", "", "write the pairs to this file")
	compare := flag.String("compare", "", "print our times beside the peer's times in this file")
	repeat := flag.Int("repeat", 3, "repetitions of each pair, of which the best counts")
	flag.Parse()
	if err := run(*data, *write, *compare, *repeat); err != nil {
		fmt.Fprintf(os.Stderr, "bench-grade: %v\n", err)
		os.Exit(1)
	}
}

func run(data, write, compare string, repeat int) error {
	pairs, err := allPairs(data)
	if err != nil {
		return err
	}
	switch {
	case write != "":
		return writePairs(write, pairs)
	case compare != "":
		peer, err := readTimings(compare, len(pairs))
		if err != nil {
			return err
		}
		return report(os.Stdout, pairs, timings(pairs, repeat), peer)
	}
	return errors.New("say -write or -compare")
}

// allPairs returns every gold answer against itself and against its neighbour, set by set.
func allPairs(folder string) ([]pair, error) {
	var pairs []pair
	for _, set := range []string{"math500", "olympiadbench", "minerva_math"} {
		golds, err := goldAnswers(filepath.Join(folder, set+".jsonl"))
		if err != nil {
			return nil, err
		}
		for _, g := range golds {
			pairs = append(pairs, pair{Set: set + " itself", Gold: g, Pred: g})
		}
		for i, g := range golds {
			pairs = append(pairs, pair{Set: set + " next", Gold: g, Pred: golds[(i+1)%len(golds)]})
		}
	}
	return pairs, nil
}

// goldAnswers reads the answers of a set: "answer", "final_answer", or the box of "solution".
func goldAnswers(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w (give the folder of the evaluation sets as argument)", err)
	}
	defer f.Close() //nolint:errcheck // only read from
	decoder := json.NewDecoder(bufio.NewReader(f))
	var golds []string
	for {
		var p struct {
			Answer      string          `json:"answer"`
			FinalAnswer []string        `json:"final_answer"`
			Solution    json.RawMessage `json:"solution"`
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return golds, nil
		} else if err != nil {
			return nil, fmt.Errorf("problem %d of %s: %w", len(golds)+1, path, err)
		}
		switch {
		case len(p.FinalAnswer) > 0:
			golds = append(golds, strings.Trim(p.FinalAnswer[0], "$"))
		case p.Answer != "":
			golds = append(golds, p.Answer)
		default:
			var solution string
			if err := json.Unmarshal(p.Solution, &solution); err != nil {
				return nil, fmt.Errorf("problem %d of %s: %w", len(golds)+1, path, err)
			}
			answer, _ := verify.Extract(solution, verify.Options{})
			golds = append(golds, answer)
		}
	}
}

func writePairs(path string, pairs []pair) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(f)
	for _, p := range pairs {
		if err := encoder.Encode(p); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return f.Close()
}

func readTimings(path string, want int) ([]timing, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read from
	decoder := json.NewDecoder(bufio.NewReader(f))
	var out []timing
	for decoder.More() {
		var t timing
		if err := decoder.Decode(&t); err != nil {
			return nil, fmt.Errorf("line %d of %s: %w", len(out)+1, path, err)
		}
		out = append(out, t)
	}
	if len(out) != want {
		return nil, fmt.Errorf("%s has %d times, want %d", path, len(out), want)
	}
	return out, nil
}

// timings grades every pair in this process, after one round to warm it up.
func timings(pairs []pair, repeat int) []timing {
	out := make([]timing, len(pairs))
	for round := range repeat + 1 {
		for i, p := range pairs {
			response := `\boxed{` + p.Pred + "}"
			start := time.Now()
			v := verify.Grade(p.Gold, response, verify.Options{})
			took := time.Since(start).Seconds()
			if round <= 1 || took < out[i].Seconds {
				out[i] = timing{Seconds: took, Correct: v.Correct}
			}
		}
	}
	return out
}

// report prints a table of both graders' times per set, in milliseconds, and the ratio of medians.
func report(w io.Writer, pairs []pair, ours, peer []timing) error {
	fmt.Fprintf(w, "milliseconds per pair: median / 99th percentile / worst\n%-22s %6s  %-26s %-30s %s\n",
		"pairs", "count", "multiattempt", "Math-Verify", "ratio of medians")
	var sets []string
	for _, p := range pairs {
		if !slices.Contains(sets, p.Set) {
			sets = append(sets, p.Set)
		}
	}
	for _, set := range append(sets, "all") {
		var a, b []float64
		for i, p := range pairs {
			if set == "all" || p.Set == set {
				a, b = append(a, ours[i].Seconds*1e3), append(b, peer[i].Seconds*1e3)
			}
		}
		slices.Sort(a)
		slices.Sort(b)
		if _, err := fmt.Fprintf(w, "%-22s %6d  %-26s %-30s %.0fx\n", set, len(a), quantiles(a), quantiles(b), b[len(b)/2]/a[len(a)/2]); err != nil {
			return err
		}
	}
	accepted := func(t []timing) (n int) {
		for i, p := range pairs {
			if strings.HasSuffix(p.Set, "itself") && t[i].Correct {
				n++
			}
		}
		return n
	}
	_, err := fmt.Fprintf(w, "gold answers accepted as equal to themselves: multiattempt %d, Math-Verify %d of %d\n",
		accepted(ours), accepted(peer), len(pairs)/2)
	return err
}

func quantiles(sorted []float64) string {
	n := len(sorted)
	return fmt.Sprintf("%.4f / %.3f / %.3f", sorted[n/2], sorted[min(n-1, n*99/100)], sorted[n-1])
}
