package activities

import (
	"encoding/json"
	"errors"
	"slices"

	"multiattempt/internal/blob"
	"multiattempt/internal/checkpoint"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
)

// Policy names a set of weights.
type Policy struct {
	// Folder is the model folder, as blob.PutFolder stores it.
	Folder blob.Ref `json:"folder"`
	// Digest is of the files' names and bytes, wherever they are kept: equal weights have equal digests.
	Digest blob.Digest `json:"digest"`
}

// IsZero reports whether the policy names nothing.
func (p Policy) IsZero() bool { return p.Folder.IsZero() }

// CheckpointRef names a checkpoint.
type CheckpointRef = checkpoint.Ref

// StepDone is an iteration that a learner can repeat: what it was given and what came out.
type StepDone struct {
	Experience blob.Ref      `json:"experience"`      // an Experience object
	Rates      *update.Rates `json:"rates,omitempty"` // peak learning rates in place of the spec's
	Policy     blob.Digest   `json:"policy"`          // after the step
}

// Position says which state a learner must hold, and how any learner gets there: load Checkpoint (or start from Base when
// there is none) and repeat the steps since.
type Position struct {
	Run        string        `json:"run"`
	Spec       blob.Ref      `json:"spec"` // the resolved spec.Run
	Base       Policy        `json:"base"` // the policy of step 0 and the frozen reference
	Checkpoint CheckpointRef `json:"checkpoint,omitzero"`
	Restored   blob.Digest   `json:"restored,omitzero"` // the checkpoint's policy
	Since      []StepDone    `json:"since,omitempty"`
	Policy     Policy        `json:"policy"` // after the last of them
}

// Step is the number of iterations that the position lies after.
func (p Position) Step() int { return p.Checkpoint.Step + len(p.Since) }

// After is the position one step later.
func (p Position) After(done StepDone, policy Policy) Position {
	p.Since = append(slices.Clip(p.Since), done)
	p.Policy = policy
	return p
}

// At is the same step, as the checkpoint that was made of it.
func (p Position) At(c CheckpointRef, policy Policy) Position {
	p.Checkpoint, p.Restored, p.Since, p.Policy = c, policy.Digest, nil, policy
	return p
}

// ResolveSpecInput is what a user asked for.
type ResolveSpecInput struct {
	Run  string          `json:"run"`
	Spec json.RawMessage `json:"spec"` // fields of spec.Run; a preset and the defaults fill in the rest
	Fork *Fork           `json:"fork,omitempty"`
}

// Fork names the checkpoint of an older run that a new run starts from.
type Fork struct {
	Run  string `json:"run"`
	Step int    `json:"step"` // 0: the run's latest checkpoint
}

// Plan holds the numbers of a resolved spec.Run that the workflow itself goes by.
type Plan struct {
	Iterations      int `json:"iterations"`
	ContinueAfter   int `json:"continue_after"`
	Episodes        int `json:"episodes"` // of one iteration, P·G
	Shards          int `json:"shards"`   // Rollout activities of one iteration
	CheckpointEvery int `json:"checkpoint_every"`
	// Retain says which checkpoints stay.
	Retain checkpoint.Retention `json:"retain"`
	// EvaluateEvery is 0 when the policy is evaluated only at the end, FinalAttempts empty when not even then.
	EvaluateEvery    int   `json:"evaluate_every"`
	EvaluateAttempts []int `json:"evaluate_attempts,omitempty"` // every k
	FinalAttempts    []int `json:"final_attempts,omitempty"`
	// Rates are the spec's peak learning rates.
	Rates update.Rates `json:"rates"`
	// Parallel is the number of independent single attempts of each problem that the final evaluation also samples.
	Parallel int `json:"parallel,omitempty"`
}

// ResolveSpecOutput is a run ready to begin, or to go on where its newest checkpoint is.
type ResolveSpecOutput struct {
	Name       string        `json:"name"`
	Model      string        `json:"model"`
	Digest     string        `json:"digest"` // of the settings
	Spec       blob.Ref      `json:"spec"`
	Data       blob.Ref      `json:"data,omitzero"`      // a dataset.Identity
	Warnings   []string      `json:"warnings,omitempty"` // about the data, sentences for people
	Plan       Plan          `json:"plan"`
	Base       Policy        `json:"base"`
	Checkpoint CheckpointRef `json:"checkpoint,omitzero"` // when the run exists already
	Restored   Policy        `json:"restored,omitzero"`   // its policy, or the branch's
	Branch     Branch        `json:"branch,omitzero"`     // of a fork that begins
	// Metric names the score that decides which checkpoint is the best; Best is the best one so far.
	Metric string             `json:"metric"`
	Best   *checkpoint.Target `json:"best,omitempty"`
}

// Branch names the copy of another run's checkpoint that a fork starts from. CommitCheckpoint makes it the run's first one.
type Branch struct {
	Step      int      `json:"step"`
	Candidate blob.Ref `json:"candidate"`
}

// SampleBatchInput asks for the problems of one iteration.
type SampleBatchInput struct {
	Run  string   `json:"run"`
	Spec blob.Ref `json:"spec"`
	Data blob.Ref `json:"data,omitzero"` // the dataset.Identity that the training set must have
	Step int      `json:"step"`          // iterations done before
}

// SampleBatchOutput names the problems of one iteration.
type SampleBatchOutput struct {
	Problems blob.Ref `json:"problems"` // []dataset.Presentation, [P]
}

// RolloutInput is one shard: a run of consecutive presentations, each with its whole group.
type RolloutInput struct {
	Run      string   `json:"run"`
	Spec     blob.Ref `json:"spec"`
	Policy   Policy   `json:"policy"`
	Problems blob.Ref `json:"problems"`
	Step     int      `json:"step"`
	Shard    int      `json:"shard"`
	Shards   int      `json:"shards"`
	// Evaluate samples as the spec's evaluation says, in place of its training.
	Evaluate bool `json:"evaluate,omitempty"`
	// Set names the evaluated set, and Attempts is the k it is evaluated at; Problems are []dataset.Problem then.
	Set      string `json:"set,omitempty"`
	Attempts int    `json:"attempts,omitempty"`
	// Parallel samples independent single attempts in place of dialogues.
	Parallel bool `json:"parallel,omitempty"`
}

// RolloutOutput names a shard's episodes.
type RolloutOutput struct {
	Episodes blob.Ref `json:"episodes"`
	Count    int      `json:"count"`
	Tokens   int      `json:"tokens"` // sampled
	// Seconds is what the activity took, Sampling the part of it in which the sampler was at work, without Grading.
	Seconds  float64 `json:"seconds"`
	Sampling float64 `json:"sampling_seconds"`
	Grading  float64 `json:"grading_seconds"`
}

// RewardInput names an iteration's episodes, shard by shard.
type RewardInput struct {
	Run      string     `json:"run"`
	Spec     blob.Ref   `json:"spec"`
	Step     int        `json:"step"`
	Episodes []blob.Ref `json:"episodes"`
}

// RewardOutput names what an update learns from.
type RewardOutput struct {
	Experience blob.Ref `json:"experience"` // an Experience object
	RewardMean float64  `json:"reward_mean_per_episode"`
	Solved     float64  `json:"solved_share"` // of episodes
}

// UpdateInput says what a learner learns from, and the state it must start in.
type UpdateInput struct {
	At         Position      `json:"at"`
	Experience blob.Ref      `json:"experience"`
	Rates      *update.Rates `json:"rates,omitempty"` // peak learning rates in place of the spec's
	Spent      Spent         `json:"spent,omitzero"`  // on the stages before
}

// UpdateOutput names the new policy. Own is the queue of the learner that holds the state.
type UpdateOutput struct {
	Policy   Policy   `json:"policy"`
	Record   blob.Ref `json:"record"` // a StepRecord object
	KL       float64  `json:"kl_k3_mean_per_token"`
	PolicyLR float64  `json:"policy_lr"`
	Own      string   `json:"own_queue"`
}

// CommitInput names the record of a step that the workflow has accepted.
type CommitInput struct {
	Run    string   `json:"run"`
	Step   int      `json:"step"` // iterations done, this one included
	Record blob.Ref `json:"record"`
}

// CheckpointInput says which state to keep.
type CheckpointInput struct {
	At Position `json:"at"`
}

// CheckpointOutput names a candidate for a checkpoint and the policy in it. Own is the queue of the learner that holds the
// state.
type CheckpointOutput struct {
	Candidate blob.Ref `json:"candidate"` // a checkpoint.Manifest
	Policy    Policy   `json:"policy"`
	Own       string   `json:"own_queue"`
}

// CommitCheckpointInput names a candidate that the workflow has accepted.
type CommitCheckpointInput struct {
	Run       string               `json:"run"`
	Step      int                  `json:"step"` // iterations done
	Candidate blob.Ref             `json:"candidate"`
	Retain    checkpoint.Retention `json:"retain"`
	// Before is the step of the checkpoint before it, 0 when there is none: the published weights from there on go, but
	// for the step's own, which may be being rolled out.
	Before int `json:"before"`
}

// UnpublishInput names a step whose published weights are needed no more: its checkpoint holds them.
type UnpublishInput struct {
	Run  string `json:"run"`
	Step int    `json:"step"` // iterations done
}

// MarkBestInput makes a checkpoint the run's best.
type MarkBestInput struct {
	Run        string        `json:"run"`
	Checkpoint CheckpointRef `json:"checkpoint"`
	Score      float64       `json:"score"`
}

// EvaluationTask is an evaluation whose settings are resolved already.
type EvaluationTask struct {
	Run      string   `json:"run"`
	Step     int      `json:"step"`
	Spec     blob.Ref `json:"spec"`
	Data     blob.Ref `json:"data,omitzero"` // the dataset.Identity that the sets must have; zero for evaluations by themselves
	Policy   Policy   `json:"policy"`
	Attempts []int    `json:"attempts"` // every k
	// Parallel is the number of independent single attempts of each problem beside them.
	Parallel int `json:"parallel,omitempty"`
	// Reuse takes over what an earlier evaluation with the same settings of the same weights came to, if there is one.
	Reuse bool `json:"reuse,omitempty"`
}

// ResolveEvaluationInput is what a user asked for: settings as for a run, or the name of a run.
type ResolveEvaluationInput struct {
	ID   string          `json:"id"` // of the workflow
	Spec json.RawMessage `json:"spec,omitempty"`
	Run  string          `json:"run,omitempty"`
	Step int             `json:"step,omitempty"` // 0: the run's latest checkpoint
}

// EvaluationSet is one set of problems.
type EvaluationSet struct {
	Name     string   `json:"name"`
	Problems blob.Ref `json:"problems"` // []dataset.Problem, [P]
	Count    int      `json:"count"`
	Shards   int      `json:"shards"` // Rollout activities of one k
	// ParallelShards is the number of Rollout activities of the single attempts beside them.
	ParallelShards int `json:"parallel_shards,omitempty"`
	// Files are the SHA-256 of the files that the problems were read from; none for generated sets.
	Files []blob.Digest `json:"files_sha256,omitempty"`
}

// OpenSetsOutput names the problems of an evaluation, in the spec's order of sets.
type OpenSetsOutput struct {
	Sets []EvaluationSet `json:"sets"`
	// Finished is set when the task may be, and is, answered by an earlier evaluation.
	Finished *FinishedEvaluation `json:"finished,omitempty"`
}

// ScoreTableInput names the scores of all sets, in the spec's order.
type ScoreTableInput struct {
	Task EvaluationTask `json:"task"`
	Sets []blob.Ref     `json:"sets"` // evaluate.Set objects
}

// ScoreTableOutput names the evaluation's artefact.
type ScoreTableOutput struct {
	Result blob.Ref `json:"result"` // an evaluate.Result
	// Metric is the number that decides which checkpoint is the best; nil when this evaluation does not have it.
	Metric *float64 `json:"metric,omitempty"`
}

// FinishedEvaluation is what an evaluation came to.
type FinishedEvaluation struct {
	ScoreTableOutput
	Scores []Score `json:"scores"`
}

// ScoreInput names the episodes of one evaluated set: for each k of the task, in order, its shards.
type ScoreInput struct {
	Task     EvaluationTask `json:"task"`
	Set      EvaluationSet  `json:"set"`
	Episodes [][]blob.Ref   `json:"episodes"`           // [k][shard]
	Parallel []blob.Ref     `json:"parallel,omitempty"` // [shard]
}

// Score is one number of an evaluation's table.
type Score struct {
	Set      string  `json:"set"`
	Attempts int     `json:"attempts"`
	Problems int     `json:"problems"`
	Accuracy float64 `json:"accuracy"` // share of episodes that end correct
	Low      float64 `json:"low"`      // 95 % interval
	High     float64 `json:"high"`
}

// ScoreOutput names one set's scores and repeats their numbers.
type ScoreOutput struct {
	Set    blob.Ref `json:"set"`    // an evaluate.Set
	Scores []Score  `json:"scores"` // one a k
}

// TuneInput asks for the next part of a fine-tuning.
type TuneInput struct {
	Run        string        `json:"run"`
	Spec       blob.Ref      `json:"spec"`                // the resolved spec.Finetune
	Base       Policy        `json:"base"`                // the model to start from
	Checkpoint CheckpointRef `json:"checkpoint,omitzero"` // the parts before
	Steps      int           `json:"steps"`               // optimiser steps of this part
	Longest    int           `json:"longest_dialogue"`    // tokens
}

// TuneOutput names the state after a part, a candidate for a checkpoint.
type TuneOutput struct {
	Candidate blob.Ref `json:"candidate"` // a checkpoint.Manifest
	Policy    Policy   `json:"policy"`
	Loss      float64  `json:"loss_mean_per_token"` // of the part's last step, nats
	Own       string   `json:"own_queue"`
}

// ResolveFinetuneOutput is a fine-tuning ready to begin, or to go on where its newest checkpoint is.
type ResolveFinetuneOutput struct {
	Name          string        `json:"name"`
	Digest        string        `json:"digest"`
	Spec          blob.Ref      `json:"spec"`
	Steps         int           `json:"steps"`
	StepsPerPart  int           `json:"steps_per_part"`
	ContinueAfter int           `json:"continue_after"`
	Longest       int           `json:"longest_dialogue"` // tokens
	Base          Policy        `json:"base"`
	Checkpoint    CheckpointRef `json:"checkpoint,omitzero"`
	Policy        Policy        `json:"policy,omitzero"` // of the checkpoint
	// Retain says which checkpoints stay.
	Retain checkpoint.Retention `json:"retain"`
}

// ResolveExperimentInput is what a user asked for: fields of spec.Experiment, the settings of its runs among them.
type ResolveExperimentInput struct {
	ID       string          `json:"id"` // of the workflow
	Settings json.RawMessage `json:"settings"`
}

// ResolveExperimentOutput is an experiment as spec.Experiment.Plan returns it: what its runs have in common stands there once.
type ResolveExperimentOutput struct {
	Experiment spec.Experiment `json:"experiment"`
}

// errShard: a shard number outside its plan. Only a bug makes one.
var errShard = errors.New("no such shard")
