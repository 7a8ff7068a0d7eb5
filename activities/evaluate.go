package activities

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"multiattempt/internal/blob"
	"multiattempt/internal/dataset"
	"multiattempt/internal/evaluate"
	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
)

// OpenSets stores the problems of every set that an evaluation asks for.
func (d *Data) OpenSets(ctx context.Context, in EvaluationTask) (OpenSetsOutput, error) {
	return alive(ctx, func(*pulse) (OpenSetsOutput, error) { return d.openSets(ctx, in) })
}

func (d *Data) openSets(ctx context.Context, in EvaluationTask) (OpenSetsOutput, error) {
	run, err := loadRun(ctx, d.store, in.Spec)
	if err != nil {
		return OpenSetsOutput{}, err
	}
	recorded, err := d.recordedSets(ctx, in.Data)
	if err != nil {
		return OpenSetsOutput{}, err
	}
	var out OpenSetsOutput
	if in.Reuse {
		if out.Finished, err = d.finished(ctx, in); err != nil || out.Finished != nil {
			return out, err
		}
	}
	for _, name := range run.Evaluation.Sets {
		set, err := d.test(ctx, run, name)
		if err != nil {
			return OpenSetsOutput{}, err
		}
		if id, ok := recorded[set.Name]; ok {
			if err := id.Check(set.Identity()); err != nil {
				return OpenSetsOutput{}, err
			}
		}
		problems := set.Problems()
		opened := inShards(run, in, name, len(problems))
		opened.Files = fileDigests(set)
		if err := mayFanOut(run, opened, in); err != nil {
			return OpenSetsOutput{}, err
		}
		opened.Problems, err = putJSON(ctx, d.store, evaluationKey(in.Run, in.Step), "problems-"+setName(name), problems)
		if err != nil {
			return OpenSetsOutput{}, err
		}
		out.Sets = append(out.Sets, opened)
	}
	return out, nil
}

// maxFanOut bounds the shards of one set at all k together: their references travel in one payload.
const maxFanOut = 100

// mayFanOut refuses an evaluation of one set in too many shards.
func mayFanOut(run spec.Run, set EvaluationSet, in EvaluationTask) error {
	if n := set.Shards*len(in.Attempts) + set.ParallelShards; n > maxFanOut {
		episodes := set.Count * (run.Evaluation.Samples*len(in.Attempts) + in.Parallel)
		spare := maxFanOut - len(in.Attempts) // each k may leave one shard half empty
		return &spec.InvalidError{What: "evaluation", Fields: []spec.FieldError{{Path: "evaluation.shard_size", Value: run.Evaluation.ShardSize,
			Allowed: fmt.Sprintf("at least %d for %s: %d problems at %d numbers of attempts may make at most %d shards",
				shards(episodes, max(1, spare)), set.Name, set.Count, len(in.Attempts), maxFanOut)}}}
	}
	return nil
}

// inShards is a set of so many problems, dealt to shards.
func inShards(run spec.Run, in EvaluationTask, name string, problems int) EvaluationSet {
	return EvaluationSet{
		Name: name, Count: problems,
		Shards:         evaluationShards(problems, run.Evaluation.Samples, run.Evaluation.ShardSize),
		ParallelShards: evaluationShards(problems, in.Parallel, run.Evaluation.ShardSize),
	}
}

// evaluationShards is the number of shards of about size episodes when each problem, which stays whole, has so many.
func evaluationShards(problems, episodes, size int) int {
	return min(problems, shards(problems*episodes, size))
}

// finishedKey is where an evaluation that may be reused says what it came to: a function of the weights and of all that
// decides about the scores.
func finishedKey(task EvaluationTask) (string, error) {
	key := evaluationKey(task.Run, task.Step)
	task.Policy.Folder, task.Reuse = blob.Ref{}, false
	b, err := json.Marshal(task)
	return fmt.Sprintf("%s/finished-%s.json", key, blob.Sum(b).Short()), err
}

// finished finds what an earlier evaluation of the task came to; nil when there is none.
func (d *Data) finished(ctx context.Context, task EvaluationTask) (*FinishedEvaluation, error) {
	key, err := finishedKey(task)
	if err != nil {
		return nil, err
	}
	b, err := read(ctx, d.store, key)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var f FinishedEvaluation
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("decode %s: %w", key, err)
	}
	return &f, nil
}

// setName is a set's name as part of a key: readable, and its own for every name.
func setName(name string) string {
	short := strings.Map(func(r rune) rune {
		if r < 0x80 && (r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') {
			return r
		}
		return '_'
	}, strings.TrimSuffix(path.Base(name), path.Ext(name)))
	if short == name {
		return name
	}
	sum := blob.Sum([]byte(name))
	return fmt.Sprintf("%.40s-%s", short, hex.EncodeToString(sum[:4]))
}

// Score counts the episodes of one set.
func (d *Data) Score(ctx context.Context, in ScoreInput) (ScoreOutput, error) {
	_, stop := beat(ctx)
	defer stop()
	return alive(ctx, func(*pulse) (ScoreOutput, error) { return d.score(ctx, in) })
}

func (d *Data) score(ctx context.Context, in ScoreInput) (ScoreOutput, error) {
	problems, err := loadJSON[[]dataset.Problem](ctx, d.store, in.Set.Problems)
	if err != nil {
		return ScoreOutput{}, err
	}
	byAttempts := map[int][]rollout.Episode{}
	for i, k := range in.Task.Attempts {
		if byAttempts[k], err = d.recent.load(ctx, d.store, in.Task.Run, in.Task.Step, in.Episodes[i]); err != nil {
			return ScoreOutput{}, err
		}
	}
	set, err := evaluate.NewSet(in.Set.Name, problems, byAttempts)
	if err != nil {
		return ScoreOutput{}, err
	}
	set.Files = in.Set.Files
	for i := range set.Scores {
		set.Scores[i].Episodes = in.Episodes[slices.Index(in.Task.Attempts, set.Scores[i].Attempts)]
	}
	if len(in.Parallel) > 0 {
		samples, err := d.recent.load(ctx, d.store, in.Task.Run, in.Task.Step, in.Parallel)
		if err != nil {
			return ScoreOutput{}, err
		}
		if err := set.AddParallel(problems, samples); err != nil {
			return ScoreOutput{}, err
		}
		set.Parallel.Episodes = in.Parallel
	}
	out := ScoreOutput{Scores: scoresOf(set)}
	out.Set, err = putJSON(ctx, d.store, evaluationKey(in.Task.Run, in.Task.Step), "set-"+setName(set.Name), set)
	return out, err
}

// scoresOf repeats a set's accuracies.
func scoresOf(set evaluate.Set) []Score {
	var scores []Score
	for _, s := range set.Scores {
		scores = append(scores, Score{
			Set: set.Name, Attempts: s.Attempts, Problems: s.N, Accuracy: s.Accuracy, Low: s.Interval[0], High: s.Interval[1],
		})
	}
	return scores
}

// ScoreTable stores the evaluation's artefact, an evaluate.Result.
func (d *Data) ScoreTable(ctx context.Context, in ScoreTableInput) (ScoreTableOutput, error) {
	_, stop := beat(ctx)
	defer stop()
	return alive(ctx, func(*pulse) (ScoreTableOutput, error) { return d.scoreTable(ctx, in) })
}

func (d *Data) scoreTable(ctx context.Context, in ScoreTableInput) (ScoreTableOutput, error) {
	run, err := loadRun(ctx, d.store, in.Task.Spec)
	if err != nil {
		return ScoreTableOutput{}, err
	}
	result := evaluate.Result{
		Run: in.Task.Run, Step: in.Task.Step, Policy: in.Task.Policy.Digest.String(), Seed: run.Seed,
		Mode: run.Grading.Mode, Unboxed: run.Grading.Unboxed,
		Temperature: run.Evaluation.Temperature, TopP: run.Evaluation.TopP, NoRepeat: run.Evaluation.NoRepeat,
		Budget: string(run.Attempts.Budget), MaxNewTokens: run.Evaluation.MaxNewTokens,
	}
	if in.Task.Parallel > 0 {
		result.ParallelTemperature = run.Evaluation.ParallelTemperature
	}
	var out FinishedEvaluation
	for _, ref := range in.Sets {
		set, err := loadJSON[evaluate.Set](ctx, d.store, ref)
		if err != nil {
			return ScoreTableOutput{}, err
		}
		result.Sets = append(result.Sets, set)
		out.Scores = append(out.Scores, scoresOf(set)...)
	}
	result.Finish()
	b, err := result.Encode()
	if err != nil {
		return ScoreTableOutput{}, err
	}
	if out.Result, err = blob.PutAs(ctx, d.store, named(evaluationKey(in.Task.Run, in.Task.Step), "result", ".json", b), b); err != nil {
		return ScoreTableOutput{}, err
	}
	metric, err := spec.ParseMetric(run.Checkpoint.Best)
	if err != nil {
		return ScoreTableOutput{}, err
	}
	if value, ok := result.Metric(metric); ok {
		out.Metric = &value
	}
	return out.ScoreTableOutput, d.finish(ctx, in.Task, out)
}

// finish makes the evaluation known to later ones of the same task.
func (d *Data) finish(ctx context.Context, task EvaluationTask, out FinishedEvaluation) error {
	key, err := finishedKey(task)
	if err != nil {
		return err
	}
	b, err := json.Marshal(out)
	if err != nil {
		return err
	}
	_, err = d.store.Put(ctx, key, bytes.NewReader(b), int64(len(b)), blob.PutOptions{})
	return err
}

// ResolveEvaluation finds the policy and the settings of an evaluation that a user asked for: a model and settings, or a
// run's checkpoint with the run's own settings, changed where the user says so.
func (d *Data) ResolveEvaluation(ctx context.Context, in ResolveEvaluationInput) (EvaluationTask, error) {
	return alive(ctx, func(p *pulse) (EvaluationTask, error) { return d.resolveEvaluation(ctx, in, p) })
}

func (d *Data) resolveEvaluation(ctx context.Context, in ResolveEvaluationInput, pulse *pulse) (EvaluationTask, error) {
	task := EvaluationTask{Run: in.ID}
	settings := in.Spec
	if in.Run != "" {
		task.Run = in.Run
		var err error
		if task, settings, err = d.evaluationOf(ctx, in); err != nil {
			return task, err
		}
	}
	if err := spec.CheckRunID(task.Run); err != nil {
		return task, err
	}
	run, err := spec.Resolve(settings, d.presets.Train)
	if err != nil {
		return task, err
	}
	if run.Name == "" {
		run.Name = task.Run
	}
	task.Attempts, task.Parallel = run.Evaluation.Final, run.Evaluation.Parallel
	if len(run.Evaluation.Sets) == 0 || len(task.Attempts) == 0 {
		return task, fmt.Errorf("%w: evaluation.sets and evaluation.final_attempts say what to evaluate; one of them is empty", spec.ErrInvalid)
	}
	var room roomCheck
	check := func(dir string) (err error) {
		room, err = d.checkModel(ctx, run, dir, false)
		return err
	}
	if task.Policy.IsZero() {
		if task.Policy, err = d.storeModel(ctx, run.Model.Source, check, pulse); err != nil {
			return task, err
		}
		// A collection must not take what an evaluation that is under way refers to.
		if _, err = putJSON(ctx, d.store, evaluationKey(task.Run, task.Step), "model", task.Policy); err != nil {
			return task, err
		}
	} else if err := d.withSmall(ctx, task.Policy, check); err != nil {
		return task, err
	}
	if err := d.checkEvaluation(ctx, run, room, pulse); err != nil {
		return task, err
	}
	task.Spec, err = putJSON(ctx, d.store, evaluationKey(task.Run, task.Step), "spec", run)
	return task, err
}
