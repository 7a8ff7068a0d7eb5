package workflows

import (
	"slices"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/internal/update"
)

// Phase is what a run is doing, coarsely: the search attribute and the status have it.
type Phase string

// The phases.
const (
	PhaseStarting   Phase = "starting"   // settings, model and data are being checked
	PhaseTraining   Phase = "training"   // iterations, or parts of a fine-tuning
	PhaseEvaluating Phase = "evaluating" //
	PhasePaused     Phase = "paused"     // waiting for resume or stop
	PhaseStopped    Phase = "stopped"    // ended early, on request
	PhaseCompleted  Phase = "completed"  //
)

// Status is what the status query answers.
type Status struct {
	Run        string `json:"run"`
	Name       string `json:"name"`
	Model      string `json:"model"`
	Digest     string `json:"digest"` // of the settings
	Phase      Phase  `json:"phase"`
	Paused     bool   `json:"paused"`   // holds, or will after the iteration under way
	Stopping   bool   `json:"stopping"` // will end after the iteration under way
	Step       int    `json:"step"`     // iterations done
	Iterations int    `json:"iterations"`
	// RewardMean and Solved are of the newest iteration: mean per episode, share of episodes.
	RewardMean       float64                  `json:"reward_mean"`
	Solved           float64                  `json:"solved_share"`
	LatestCheckpoint activities.CheckpointRef `json:"latest_checkpoint,omitzero"`
	Policy           activities.Policy        `json:"policy,omitzero"`
	Rates            *update.Rates            `json:"rates,omitempty"`            // peak learning rates set while the run ran
	CheckpointEvery  int                      `json:"checkpoint_every,omitempty"` // iterations; set while the run ran, 0: as the settings say
	Best             *Best                    `json:"best,omitempty"`
	Evaluation       *EvaluateOutput          `json:"evaluation,omitempty"` // the newest
	Recent           []Iteration              `json:"recent,omitempty"`     // the newest iterations, oldest first
	Data             blob.Ref                 `json:"data,omitzero"`        // a dataset.Identity: what the run trains on
	Warnings         []string                 `json:"warnings,omitempty"`   // about the data, sentences for people
}

// Best is the checkpoint with the highest score.
type Best struct {
	Metric     string                   `json:"metric"` // the spec's checkpoint.best
	Score      float64                  `json:"score"`
	Checkpoint activities.CheckpointRef `json:"checkpoint"`
}

// Iteration is one line of the table of newest iterations.
type Iteration struct {
	Step       int      `json:"step"` // iterations done, this one included
	RewardMean float64  `json:"reward_mean_per_episode"`
	Solved     float64  `json:"solved_share"`
	KL         float64  `json:"kl_k3_mean_per_token"`
	PolicyLR   float64  `json:"policy_lr"`
	Record     blob.Ref `json:"record"` // every number of the iteration
}

// recentKept is the number of iterations that the table shows.
const recentKept = 8

// add appends one iteration to the newest ones.
func (s *Status) add(it Iteration) {
	s.Recent = append(s.Recent, it)
	if len(s.Recent) > recentKept {
		s.Recent = append([]Iteration(nil), s.Recent[len(s.Recent)-recentKept:]...)
	}
	s.Step, s.RewardMean, s.Solved = it.Step, it.RewardMean, it.Solved
}

// TrainState is everything that Train carries from one part of its history to the next.
type TrainState struct {
	Status   Status                       `json:"status"`
	Resolved activities.ResolveSpecOutput `json:"resolved"`
	At       activities.Position          `json:"at"`                  // of the learner
	Own      string                       `json:"own_queue,omitempty"` // of the learner that holds the state
}

// TrainOutput is the result of a run.
type TrainOutput struct {
	Run              string                   `json:"run"`
	Phase            Phase                    `json:"phase"` // completed or stopped
	Step             int                      `json:"step"`
	RewardMean       float64                  `json:"reward_mean"`
	LatestCheckpoint activities.CheckpointRef `json:"latest_checkpoint,omitzero"`
	Policy           activities.Policy        `json:"policy"`
	Best             *Best                    `json:"best,omitempty"`
	Evaluation       *EvaluateOutput          `json:"evaluation,omitempty"`
}

// EvaluateOutput is the result of an evaluation.
type EvaluateOutput struct {
	Run    string             `json:"run"`
	Step   int                `json:"step"`
	Policy blob.Digest        `json:"policy"`
	Result blob.Ref           `json:"result"` // an evaluate.Result
	Scores []activities.Score `json:"scores"`
	// Metric is the number that decides which checkpoint is the best; nil when this evaluation does not have it.
	Metric *float64 `json:"metric,omitempty"`
	// Timing says where the time went; nil when an earlier evaluation was taken over.
	Timing *EvaluationTiming `json:"timing,omitempty"`
}

// covers reports whether the scores include every k of attempts.
func (o EvaluateOutput) covers(attempts []int) bool {
	return !slices.ContainsFunc(attempts, func(k int) bool {
		_, ok := o.At(k)
		return !ok
	})
}

// At returns the unweighted mean over sets of the accuracy at k attempts; ok is false when a set lacks it.
func (o EvaluateOutput) At(k int) (accuracy float64, ok bool) {
	sets, n := map[string]bool{}, 0
	for _, s := range o.Scores {
		sets[s.Set] = true
		if s.Attempts == k {
			accuracy += s.Accuracy
			n++
		}
	}
	if n == 0 || n != len(sets) {
		return 0, false
	}
	return accuracy / float64(n), true
}

// EvaluationTiming says where an evaluation's time went, in seconds. Rollouts that overlap in time each count.
type EvaluationTiming struct {
	Whole    float64 `json:"seconds"`          // from start to end, as the workflow's clock shows it
	Rollouts float64 `json:"rollout_seconds"`  // inside rollout activities
	Sampling float64 `json:"sampling_seconds"` // of that, in the sampler
	Grading  float64 `json:"grading_seconds"`  // of that, in the grader
	// SamplingShare is Sampling by Whole: of one evaluation by itself on one worker, the sampler's share of its time.
	SamplingShare float64 `json:"sampling_share"`
	Tokens        int     `json:"tokens_sampled"`
}

// FinetuneState is everything that Finetune carries from one part of its history to the next, and its status.
type FinetuneState struct {
	Run        string                           `json:"run"`
	Phase      Phase                            `json:"phase"`
	Stopping   bool                             `json:"stopping"`
	Step       int                              `json:"step"` // optimiser steps done
	Loss       float64                          `json:"loss_mean_per_token"`
	Resolved   activities.ResolveFinetuneOutput `json:"resolved"`
	Checkpoint activities.CheckpointRef         `json:"latest_checkpoint,omitzero"`
	Policy     activities.Policy                `json:"policy,omitzero"`
	Own        string                           `json:"own_queue,omitempty"`
}

// FinetuneOutput is the result of a fine-tuning.
type FinetuneOutput struct {
	Run        string                   `json:"run"`
	Phase      Phase                    `json:"phase"`
	Step       int                      `json:"step"`
	Loss       float64                  `json:"loss_mean_per_token"`
	Checkpoint activities.CheckpointRef `json:"latest_checkpoint"`
	Policy     activities.Policy        `json:"policy"`
}
