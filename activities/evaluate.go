package activities

import (
	"context"
	"encoding/hex"
	"fmt"
	"path"
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
		if err := mayFanOut(run, name, len(problems), len(in.Attempts)); err != nil {
			return OpenSetsOutput{}, err
		}
		ref, err := putJSON(ctx, d.store, evaluationKey(in.Run, in.Step), "problems-"+setName(name), problems)
		if err != nil {
			return OpenSetsOutput{}, err
		}
		out.Sets = append(out.Sets, EvaluationSet{
			Name: name, Problems: ref, Count: len(problems), Shards: shards(len(problems), run.Evaluation.ShardSize),
			Files: fileDigests(set),
		})
	}
	return out, nil
}

// maxFanOut bounds the shards of one set at all k together: their references travel in one payload.
const maxFanOut = 100

// mayFanOut refuses an evaluation of one set in too many shards.
func mayFanOut(run spec.Run, set string, problems, ks int) error {
	if n := shards(problems, run.Evaluation.ShardSize) * ks; n > maxFanOut {
		return &spec.InvalidError{What: "evaluation", Fields: []spec.FieldError{{Path: "evaluation.shard_size", Value: run.Evaluation.ShardSize,
			Allowed: fmt.Sprintf("at least %d for %s: %d problems at %d numbers of attempts may make at most %d shards",
				shards(problems, max(1, maxFanOut/max(1, ks))), set, problems, ks, maxFanOut)}}}
	}
	return nil
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
		if byAttempts[k], err = LoadEpisodes(ctx, d.store, in.Episodes[i]); err != nil {
			return ScoreOutput{}, err
		}
	}
	set, err := evaluate.NewSet(in.Set.Name, problems, byAttempts)
	if err != nil {
		return ScoreOutput{}, err
	}
	set.Files = in.Set.Files
	var out ScoreOutput
	for _, s := range set.Scores {
		out.Scores = append(out.Scores, Score{
			Set: set.Name, Attempts: s.Attempts, Problems: s.N, Accuracy: s.Accuracy, Low: s.Interval[0], High: s.Interval[1],
		})
	}
	out.Set, err = putJSON(ctx, d.store, evaluationKey(in.Task.Run, in.Task.Step), "set-"+setName(set.Name), set)
	return out, err
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
		Temperature: run.Evaluation.Temperature, MaxNewTokens: run.Evaluation.MaxNewTokens,
	}
	for _, ref := range in.Sets {
		set, err := loadJSON[evaluate.Set](ctx, d.store, ref)
		if err != nil {
			return ScoreTableOutput{}, err
		}
		result.Sets = append(result.Sets, set)
	}
	result.Finish()
	b, err := result.Encode()
	if err != nil {
		return ScoreTableOutput{}, err
	}
	ref, err := blob.PutAs(ctx, d.store, named(evaluationKey(in.Task.Run, in.Task.Step), "result", ".json", b), b)
	return ScoreTableOutput{Result: ref}, err
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
	if err := checkRun(task.Run); err != nil {
		return task, err
	}
	run, err := spec.Resolve(settings, d.presets.Train)
	if err != nil {
		return task, err
	}
	if run.Name == "" {
		run.Name = task.Run
	}
	task.Attempts = run.Evaluation.Final
	if len(run.Evaluation.Sets) == 0 || len(task.Attempts) == 0 {
		return task, fmt.Errorf("%w: evaluation.sets and evaluation.final_attempts say what to evaluate; one of them is empty", spec.ErrInvalid)
	}
	if task.Policy.IsZero() {
		if task.Policy, err = d.storeModel(ctx, run.Model.Source, pulse); err != nil {
			return task, err
		}
	}
	room, err := d.checkModel(ctx, run, task.Policy, false)
	if err != nil {
		return task, err
	}
	if err := d.checkEvaluation(ctx, run, room, pulse); err != nil {
		return task, err
	}
	task.Spec, err = putJSON(ctx, d.store, evaluationKey(task.Run, task.Step), "spec", run)
	return task, err
}
