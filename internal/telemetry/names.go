// Package telemetry holds the names by which people and machines see a run, and the process's structured log.
package telemetry

import "go.temporal.io/sdk/temporal"

// Queue is the task queue of workflows and CPU activities when the configuration names no other.
const Queue = "multiattempt"

// RolloutQueue returns the task queue of the workers that sample for workflows on queue base.
func RolloutQueue(base string) string { return base + "-rollout" }

// LearnerQueue returns the task queue that any learner of workflows on queue base serves.
func LearnerQueue(base string) string { return base + "-learner" }

// OwnLearnerQueue returns the task queue that, of the learners on queue learner, only the one called worker serves: the
// way back to resident state.
func OwnLearnerQueue(learner, worker string) string { return learner + "-" + worker }

// The search attributes of every workflow. A namespace must have them registered before a workflow starts.
var (
	RunName   = temporal.NewSearchAttributeKeyKeyword("RunName")
	Phase     = temporal.NewSearchAttributeKeyKeyword("Phase")
	Step      = temporal.NewSearchAttributeKeyInt64("Step")
	BestScore = temporal.NewSearchAttributeKeyFloat64("BestScore")
	Model     = temporal.NewSearchAttributeKeyKeyword("Model")
)

// SearchAttributes returns every search attribute, for registration.
func SearchAttributes() []temporal.SearchAttributeKey {
	return []temporal.SearchAttributeKey{RunName, Phase, Step, BestScore, Model}
}

// Attribute names of log records.
const (
	AttrRun        = "run"
	AttrStep       = "step"
	AttrShard      = "shard"
	AttrPolicy     = "policy"
	AttrQueue      = "queue"
	AttrWorker     = "worker"
	AttrDeployment = "deployment"
	AttrBuild      = "build"
	AttrBackend    = "backend"
	AttrError      = "error"
	AttrEpisodes   = "episodes"
	AttrSeconds    = "seconds"
)
