package dataset

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"multiattempt/internal/seed"
)

// Smudged names the generated task: a sum with one digit that cannot be read, and the values it may have.
//
//	47+? 2,5,9
//
// The hidden digit fixes the answer (52 if it is 5). No reader can know it at the first attempt, but whoever is told
// "incorrect" can try the next value: with m values, k attempts solve min(k, m)/m of the problems at best. The hidden
// digit is drawn by SHA-256 from seed, question and presentation, so that a model can neither learn nor memorise it.
const Smudged = "smudged"

// SmudgedAlphabet holds every character of the task's questions and answers, box included.
const SmudgedAlphabet = "0123456789+?, \\boxed{}"

// A question is an addend of two digits, whose sum with any digit has two digits too, and m ascending digits.
const (
	minAddend, maxAddend   = 10, 90
	minChoices, maxChoices = 2, 4
)

// testShare: one question in testShare belongs to the test split.
const testShare = 5

// smudgedQuestion is a question before a digit was hidden.
type smudgedQuestion struct {
	addend int
	digits []int // ascending, the values that the smudged digit may have
}

func (q smudgedQuestion) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d+? ", q.addend)
	for i, d := range q.digits {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(d))
	}
	return b.String()
}

// answers returns the sums that the question leaves open, [m], in the order of its digits.
func (q smudgedQuestion) answers() []string {
	sums := make([]string, len(q.digits))
	for i, d := range q.digits {
		sums[i] = strconv.Itoa(q.addend + d)
	}
	return sums
}

// attempt is what an assistant writes who supposes digit i: the digit, then the sum in a box.
func (q smudgedQuestion) attempt(i int) string {
	return fmt.Sprintf(`%d \boxed{%d}`, q.digits[i], q.addend+q.digits[i])
}

// test reports whether the question belongs to the test split: a function of its text alone, so that no text is ever in
// both splits, whatever the seeds.
func (q smudgedQuestion) test() bool {
	return seed.Uint64("smudged/split", seed.Text(q.String()))%testShare == 0
}

// hide draws the smudged digit for one presentation and returns the problem.
func (q smudgedQuestion) hide(id string, at ...uint64) Problem {
	text := q.String()
	hidden := seed.Uint64("smudged/hidden", append([]uint64{seed.Text(text)}, at...)...) % uint64(len(q.digits))
	return Problem{ID: id, Question: text, Answer: q.answers()[hidden], Choices: len(q.digits)}
}

// smudgedLevels are the task's levels: the numbers of values that a smudged digit may have.
func smudgedLevels() []int {
	levels := []int{}
	for m := minChoices; m <= maxChoices; m++ {
		levels = append(levels, m)
	}
	return levels
}

// drawQuestion draws a question of the training split, with m uniform over levels (nil: all), as a function of domain and
// position.
func drawQuestion(domain string, levels []int, at ...uint64) smudgedQuestion {
	r := seed.Rand(domain, at...)
	for {
		m := minChoices + r.IntN(maxChoices-minChoices+1)
		q := smudgedQuestion{addend: minAddend + r.IntN(maxAddend-minAddend+1), digits: r.Perm(10)[:m]}
		slices.Sort(q.digits)
		if !q.test() && (levels == nil || slices.Contains(levels, m)) {
			return q
		}
	}
}

// SmudgedTrain returns problem p of a step of training: never a question of the test split. Its id names the
// presentation, because the same question may come back with another hidden digit.
func SmudgedTrain(runSeed uint64, step, p int) Problem { return smudgedTrain(runSeed, step, p, nil) }

// smudgedTrain is SmudgedTrain with some levels only.
func smudgedTrain(runSeed uint64, step, p int, levels []int) Problem {
	at := []uint64{runSeed, uint64(step), uint64(p)}
	return drawQuestion("smudged/train", levels, at...).hide(fmt.Sprintf("smudged-%d-%d", step, p), at...)
}

// SmudgedTest returns the test split, the same for every run so that runs can be compared problem by problem: distinct
// questions in a fixed shuffled order, m taking the values 2, 3, 4 in turn.
func SmudgedTest() []Problem {
	var byChoices [maxChoices + 1][]smudgedQuestion
	for addend := minAddend; addend <= maxAddend; addend++ {
		for subset := range 1 << 10 {
			q := smudgedQuestion{addend: addend}
			for d := range 10 {
				if subset>>d&1 == 1 {
					q.digits = append(q.digits, d)
				}
			}
			if m := len(q.digits); m >= minChoices && m <= maxChoices && q.test() {
				byChoices[m] = append(byChoices[m], q)
			}
		}
	}
	rounds := len(byChoices[minChoices])
	for m := minChoices; m <= maxChoices; m++ {
		qs := byChoices[m]
		seed.Rand("smudged/test", uint64(m)).Shuffle(len(qs), func(i, j int) { qs[i], qs[j] = qs[j], qs[i] })
		rounds = min(rounds, len(qs))
	}
	var problems []Problem
	for i := range rounds {
		for m := minChoices; m <= maxChoices; m++ {
			problems = append(problems, byChoices[m][i].hide(fmt.Sprintf("smudged-test-%d", len(problems))))
		}
	}
	return problems
}
