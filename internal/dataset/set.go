package dataset

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"multiattempt/internal/blob"
	"multiattempt/internal/seed"
	"multiattempt/internal/spec"
)

// ErrData: a data source cannot be used as it is. The message says where and why; repeating the call does not help.
var ErrData = errors.New("bad data")

// Set is a source of problems: a fixed list, or an endless generator (the smudged task's training split).
type Set struct {
	// Name is the set's name as it was asked for.
	Name string
	// Files are the files that the problems were read from, none for generated sets.
	Files []File
	// Report says what is worth knowing about the gold answers.
	Report Report

	problems []Problem
	endless  func(runSeed uint64, step, p int, levels []int) Problem // levels: nil for any
	// levels, ascending, are those that Arrange left in; nil: all, known or not. They open over the steps of a curriculum.
	levels     []int
	curriculum int
}

// File is one file that a set was read from.
type File struct {
	Path   string      `json:"path"`   // local path or cache path
	Source string      `json:"source"` // where it came from: the path again, or hub repository, revision and file
	SHA256 blob.Digest `json:"sha256"`
}

// Len is the number of problems, or −1 when there is no end of them.
func (s *Set) Len() int {
	if s.endless != nil {
		return -1
	}
	return len(s.problems)
}

// Problems returns the list, in the order of its source; nil for an endless set. The caller must not change it.
func (s *Set) Problems() []Problem { return s.problems }

// Digest is the SHA-256 of all problems in their order: two evaluations are comparable when their digests are equal.
// An endless set has the zero digest.
func (s *Set) Digest() blob.Digest { return Digest(s.problems) }

// Digest is the SHA-256 of the problems' canonical JSON, one line each; zero for none.
func Digest(problems []Problem) blob.Digest {
	if len(problems) == 0 {
		return blob.Digest{}
	}
	h := sha256.New()
	e := json.NewEncoder(h)
	for _, p := range problems {
		if err := e.Encode(p); err != nil {
			panic(err) // strings and integers always encode, a hash always accepts
		}
	}
	return blob.Digest(h.Sum(nil))
}

// Present returns the count problems of a training step, [P], each with its number of attempts N out of
// attempts.Min…attempts.Max, uniform or as attempts.Weights has it. It is a function of its arguments: a list is passed through in a new seeded order in each
// epoch, an epoch's remainder of less than count problems is dropped (it returns in other epochs); an endless set draws
// new problems each step. step counts from 0.
func (s *Set) Present(runSeed uint64, step, count int, attempts spec.Attempts) ([]Presentation, error) {
	if count < 1 || step < 0 || attempts.Min < 1 || attempts.Max < attempts.Min {
		return nil, fmt.Errorf("present %d problems of %s at step %d with %d to %d attempts: out of range",
			count, s.Name, step, attempts.Min, attempts.Max)
	}
	batch, err := s.batch(runSeed, step, count)
	if err != nil {
		return nil, err
	}
	presentations := make([]Presentation, count)
	for i, p := range batch {
		presentations[i] = Presentation{Problem: p, Index: i, Attempts: drawAttempts(attempts, runSeed, uint64(step), uint64(i))}
	}
	return presentations, nil
}

// drawAttempts draws N as a function of its position.
func drawAttempts(a spec.Attempts, at ...uint64) int {
	if len(a.Weights) == 0 {
		return a.Min + int(seed.Uint64("dataset/attempts", at...)%uint64(a.Max-a.Min+1))
	}
	total := 0.0
	for _, w := range a.Weights {
		total += w
	}
	rest, n := seed.Uniform("dataset/attempts", at...)*total, a.Min
	for i, w := range a.Weights {
		if w > 0 {
			n = a.Min + i // the last possible one, should rounding leave a rest
		}
		if rest < w {
			break
		}
		rest -= w
	}
	return n
}

// batch returns the problems of a step, [P].
func (s *Set) batch(runSeed uint64, step, count int) ([]Problem, error) {
	batch, now := make([]Problem, count), s.stage(step)
	if s.endless != nil {
		for i := range batch {
			batch[i] = s.endless(runSeed, step, i, now.levels)
		}
		return batch, nil
	}
	pool, at := s.problems, []uint64{runSeed}
	if s.curriculum > 0 {
		pool, at = ofLevels(s.problems, now.levels), append(at, uint64(now.number))
	}
	perEpoch := len(pool) / count
	if perEpoch == 0 {
		what := "problems"
		if s.curriculum > 0 {
			what = fmt.Sprintf("problems of levels %v, open from step %d on", now.levels, now.begin)
		}
		return nil, fmt.Errorf("%w: set %s has %d %s, fewer than the %d of one step; lower data.problems_per_step",
			ErrData, s.Name, len(pool), what, count)
	}
	since := step - now.begin
	epoch, first := since/perEpoch, since%perEpoch*count
	order := seed.Rand("dataset/order", append(at, uint64(epoch))...).Perm(len(pool))
	for i := range batch {
		batch[i] = pool[order[first+i]]
	}
	return batch, nil
}

// Examine returns every problem once, in order, with k attempts each: an evaluation's presentations.
func Examine(problems []Problem, k int) []Presentation {
	presentations := make([]Presentation, len(problems))
	for i, p := range problems {
		presentations[i] = Presentation{Problem: p, Index: i, Attempts: k}
	}
	return presentations
}
