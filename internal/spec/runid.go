package spec

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// runID is narrower than workflow ids and object keys are: a run's id is one segment of keys, of paths on disk and of pages'
// addresses, the first word of RUN@STEP, and what ids of evaluations begin with. Colons are in the ids that Temporal's
// schedules make; those that begin like the name of a model elsewhere are left to models.
var runID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$`)

// ValidRunID reports whether id can name a run.
func ValidRunID(id string) bool {
	return runID.MatchString(id) && !NamesModel(id)
}

// NamesModel reports whether a name says of itself what kind of model it names, and so cannot be a run's.
func NamesModel(name string) bool {
	kind, _, named := strings.Cut(name, ":")
	return named && slices.Contains(modelKinds, kind)
}

// modelKinds are what stands before the colon in names of models.
var modelKinds = []string{"builtin", "hf", "ref", "run", "s3"}

// CheckRunID refuses, with ErrInvalid, an id that cannot name a run.
func CheckRunID(id string) error {
	if !ValidRunID(id) {
		return fmt.Errorf("%w: run id %.120q: want at most 100 letters, digits, dots, dashes, underscores and colons, the first a letter or digit, and none of %s: before", ErrInvalid, id, strings.Join(modelKinds, ":, "))
	}
	return nil
}
