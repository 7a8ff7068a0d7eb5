package dataset

import (
	"fmt"

	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"multiattempt/internal/blob"
)

// Identity says which problems a run trains on and which it is evaluated on.
type Identity struct {
	Train      SetIdentity   `json:"train"`
	Evaluation []SetIdentity `json:"evaluation,omitempty"` // in the spec's order
}

// SetIdentity says which problems a set holds and where they came from.
type SetIdentity struct {
	Name     string      `json:"set"`
	Files    []Origin    `json:"files,omitempty"`          // none for generated sets
	Problems int         `json:"problems"`                 // −1: there is no end of them
	Digest   blob.Digest `json:"problems_sha256,omitzero"` // Set.Digest
	Gold     Report      `json:"gold_answers"`
	// Shared is the number of an evaluation set's problems that the training set asks, too; 0 where that one is endless.
	Shared int `json:"shared_with_training,omitempty"`
}

// Origin is where a file came from and what was in it.
type Origin struct {
	Source string      `json:"source"` // as in File
	SHA256 blob.Digest `json:"sha256"`
}

// Identity describes the set by itself.
func (s *Set) Identity() SetIdentity {
	id := SetIdentity{Name: s.Name, Problems: s.Len(), Digest: s.Digest(), Gold: s.Report}
	for _, f := range s.Files {
		id.Files = append(id.Files, Origin{Source: f.Source, SHA256: f.SHA256})
	}
	return id
}

// Identify describes the sets of a run and counts what evaluation and training share.
func Identify(train *Set, evaluation []*Set) Identity {
	id := Identity{Train: train.Identity()}
	for _, s := range evaluation {
		e := s.Identity()
		e.Shared = len(Overlap(s.Problems(), train.Problems()))
		id.Evaluation = append(id.Evaluation, e)
	}
	return id
}

// Check refuses a set, as it is found now, that holds other problems than when id was recorded: the error matches
// ErrData. Endless sets pass: their problems follow from the seed.
func (id SetIdentity) Check(found SetIdentity) error {
	if found.Digest == id.Digest {
		return nil
	}
	return fmt.Errorf("%w: set %s is not what it was when the run began: the digest of its %d problems was %s, that of the %d found now is %s; put the data back, or start another run",
		ErrData, id.Name, id.Problems, inWords(id.Digest), found.Problems, inWords(found.Digest))
}

// inWords is a digest for people; an endless set has none.
func inWords(d blob.Digest) string {
	if d.IsZero() {
		return "none"
	}
	return d.String()
}

// Warnings are sentences for a person about what the data do to a run's scores; none when nothing is the matter.
func (id Identity) Warnings() []string {
	var warnings []string
	for i, s := range append([]SetIdentity{id.Train}, id.Evaluation...) {
		if s.Gold.Opaque > 0 && (i == 0 || s.Digest != id.Train.Digest) {
			warnings = append(warnings, fmt.Sprintf("set %s: %s", s.Name, s.Gold))
		}
	}
	english := message.NewPrinter(language.English)
	for _, s := range id.Evaluation {
		switch {
		case s.Shared == 0:
		case s.Digest == id.Train.Digest:
			warnings = append(warnings, english.Sprintf("EVALUATION ON THE TRAINING SET: the evaluation set %s and the training set %s are the same %d problems: its scores say nothing about generalisation",
				s.Name, id.Train.Name, s.Problems))
		case s.Shared == s.Problems:
			warnings = append(warnings, english.Sprintf("EVALUATION ON THE TRAINING SET: all %d problems of the evaluation set %s are in the training set: its scores say nothing about generalisation",
				s.Problems, s.Name))
		default:
			warnings = append(warnings, english.Sprintf("%d of %d problems of the evaluation set %s are in the training set: its scores say nothing about generalisation",
				s.Shared, s.Problems, s.Name))
		}
	}
	return warnings
}
