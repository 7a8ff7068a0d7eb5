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
	endless  func(runSeed uint64, step, p int) Problem
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

// Present returns the count problems of a training step, [P], each with its number of attempts N, uniform over
// attempts.Min…attempts.Max. It is a function of its arguments: a list is passed through in a new seeded order in each
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
		n := seed.Uint64("dataset/attempts", runSeed, uint64(step), uint64(i)) % uint64(attempts.Max-attempts.Min+1)
		presentations[i] = Presentation{Problem: p, Index: i, Attempts: attempts.Min + int(n)}
	}
	return presentations, nil
}

// batch returns the problems of a step, [P].
func (s *Set) batch(runSeed uint64, step, count int) ([]Problem, error) {
	batch := make([]Problem, count)
	if s.endless != nil {
		for i := range batch {
			batch[i] = s.endless(runSeed, step, i)
		}
		return batch, nil
	}
	perEpoch := len(s.problems) / count
	if perEpoch == 0 {
		return nil, fmt.Errorf("%w: set %s has %d problems, fewer than the %d of one step; lower data.problems_per_step",
			ErrData, s.Name, len(s.problems), count)
	}
	epoch, at := step/perEpoch, step%perEpoch*count
	order := seed.Rand("dataset/order", runSeed, uint64(epoch)).Perm(len(s.problems))
	for i := range batch {
		batch[i] = s.problems[order[at+i]]
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
