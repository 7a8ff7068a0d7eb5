package activities

import (
	"fmt"

	"multiattempt/internal/blob"
)

// Objects of a run lie below runs/RUN/. Everything of one iteration has a key that ends in its own digest: a repeated
// activity finds its object, and what a worker writes that was given up for dead has a key that nothing refers to.

// runKey is where everything of a run lies.
func runKey(run string) string { return "runs/" + run }

// stepKey is where everything of a run's step lies; steps count from 1, the first iteration's artefacts being of step 1.
func stepKey(run string, step int) string { return fmt.Sprintf("%s/steps/%06d", runKey(run), step) }

// evaluationKey is where everything of an evaluation after step iterations lies.
func evaluationKey(run string, step int) string {
	return fmt.Sprintf("%s/evaluations/%06d", runKey(run), step)
}

// weightsKey is where the weights published after a step lie, until a checkpoint holds them.
func weightsKey(run string, step int) string { return stepKey(run, step) + "/policy" }

// RecordKey is where the numbers of a step lie: the one object of a step that is found by its name.
func RecordKey(run string, step int) string {
	return fmt.Sprintf("%s/records/%06d.json", runKey(run), step)
}

// RecordPrefix lists a run's records in the order of steps.
func RecordPrefix(run string) string { return runKey(run) + "/records/" }

// SpecPrefix lists the resolved settings that a run was started with: one object, unless other settings continued it.
func SpecPrefix(run string) string { return runKey(run) + "/spec-" }

// EvaluationPrefix lists a run's evaluations; results end in resultSuffix.
func EvaluationPrefix(run string) string { return runKey(run) + "/evaluations/" }

// named puts the digest of an object's bytes into its name: dir/name-0123456789ab.ext.
func named(dir, name, ext string, b []byte) string {
	return fmt.Sprintf("%s/%s-%s%s", dir, name, blob.Sum(b).Short(), ext)
}

// EvaluationEpisodesPrefix lists the shards of an evaluation's episodes on one set at k attempts, in their order.
func EvaluationEpisodesPrefix(run string, step int, set string, k int) string {
	return fmt.Sprintf("%s/episodes-%s-%d-", evaluationKey(run, step), setName(set), k)
}

// DataPrefix lists what a run's problems are, a dataset.Identity each.
func DataPrefix(run string) string { return runKey(run) + "/" + dataName + "-" }
