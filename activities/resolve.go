package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"multiattempt/internal/blob"
	"multiattempt/internal/chat"
	"multiattempt/internal/checkpoint"
	"multiattempt/internal/dataset"
	"multiattempt/internal/imitation"
	"multiattempt/internal/rollout"
	"multiattempt/internal/source"
	"multiattempt/internal/spec"
)

// storeModel puts the model that a source names into the store, unless it is there. check is shown a folder of all but the
// weights, once, before weights are fetched or read; weights that cannot be used are refused here, before anything is sampled.
func (d *Data) storeModel(ctx context.Context, name string, check func(dir string) error, pulse *pulse) (Policy, error) {
	pulse.report(Progress{What: "model"})
	switch kind, rest, _ := strings.Cut(name, ":"); kind {
	case "ref":
		return d.ownStored(ctx, rest, check)
	case "builtin":
		files, err := d.presets.Model(rest)
		if err != nil {
			return Policy{}, fmt.Errorf("%w: %w", ErrModel, err)
		}
		p, err := UploadModel(ctx, d.store, files)
		if err != nil {
			return Policy{}, err
		}
		return p, d.withSmall(ctx, p, check)
	}
	finder := d.sources
	finder.Progress = func(what string, done int64) {
		pulse.report(Progress{What: "fetch " + what, Done: int(done >> 20)})
	}
	finder.Check = check
	m, err := finder.Find(ctx, name)
	if err != nil {
		return Policy{}, fmt.Errorf("model.source = %q: %w", name, err)
	}
	if err := d.engine.Check(m.Dir); err != nil {
		return Policy{}, err
	}
	ref, err := m.Store(ctx, d.store, func(name string) { pulse.report(Progress{What: "store " + name}) })
	if err != nil {
		return Policy{}, err
	}
	return policyOf(ctx, d.store, ref)
}

// ownStored is storeModel for a folder of the store, KEY@SHA256:SIZE.
func (d *Data) ownStored(ctx context.Context, name string, check func(dir string) error) (Policy, error) {
	ref, err := ParseRef(name)
	if err != nil {
		return Policy{}, err
	}
	p, err := policyOf(ctx, d.store, ref)
	if errors.Is(err, blob.ErrNotFound) {
		return Policy{}, fmt.Errorf("%w: %w", ErrModel, err)
	}
	if err != nil {
		return Policy{}, err
	}
	if err := d.withSmall(ctx, p, check); err != nil {
		return Policy{}, err
	}
	if err := d.checkStored(ctx, p); err != nil {
		return Policy{}, err
	}
	return d.own(ctx, p)
}

// checkStored refuses a model in the store whose weights cannot be used.
func (d *Data) checkStored(ctx context.Context, p Policy) error {
	dir, release, err := d.models.Use(ctx, p)
	if err != nil {
		return err
	}
	defer release()
	return d.engine.Check(dir)
}

// own stores a model's files content-addressed, so that the run does not lose what it starts from when another run's
// checkpoints are deleted.
func (d *Data) own(ctx context.Context, p Policy) (Policy, error) {
	f, err := blob.LoadFolder(ctx, d.store, p.Folder)
	if err != nil {
		return Policy{}, err
	}
	for _, file := range f.Files {
		if file.Ref.Key == blob.ContentKey(file.Ref.SHA256) {
			if err := blob.Renew(ctx, d.store, file.Ref); err != nil {
				return Policy{}, err
			}
			continue
		}
		b, err := blob.Load(ctx, d.store, file.Ref)
		if err != nil {
			return Policy{}, err
		}
		ref, err := blob.Put(ctx, d.store, b)
		if err != nil {
			return Policy{}, err
		}
		f = f.With(file.Name, ref)
	}
	return storeFolder(ctx, d.store, f)
}

// withSmall shows a folder of a stored model's files, all but the weights.
func (d *Data) withSmall(ctx context.Context, p Policy, show func(dir string) error) error {
	dir, err := os.MkdirTemp("", "multiattempt-model-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a leftover in the temporary folder hurts nobody
	f, err := blob.LoadFolder(ctx, d.store, p.Folder)
	if err != nil {
		return err
	}
	if err := f.Download(ctx, d.store, dir, func(name string) bool { return !source.IsWeights(name) }); err != nil {
		return err
	}
	return show(dir)
}

// checkModel makes sure that the engine can run the model in dir, that it can train it where the run does, and that dialogues
// can be written in its tokens. The weights need not be there.
func (d *Data) checkModel(ctx context.Context, run spec.Run, dir string, trains bool) (roomCheck, error) {
	info, err := d.engine.Describe(dir)
	if err != nil {
		return roomCheck{}, err
	}
	fits := d.engine.FitsEvaluation
	if trains {
		fits = d.engine.FitsTraining
	}
	if err := fits(ctx, dir, run); err != nil {
		return roomCheck{}, err
	}
	if err := checkLength(run.Model, info); err != nil {
		return roomCheck{}, err
	}
	template, err := chat.Load(dir)
	return roomCheck{template: template, limit: maxLength(run.Model, info)}, err
}

// roomCheck refuses problems that cannot be rolled out with a model: turns that its template does not take, prompts that
// leave no room for an answer.
type roomCheck struct {
	template *chat.Template
	limit    int // tokens of a dialogue
}

// all checks presentations and names the first that cannot be used.
func (c roomCheck) all(prompt spec.Prompt, shown []dataset.Presentation, pulse *pulse) error {
	for i, s := range shown {
		if err := rollout.CheckPresentation(c.template, prompt, s, c.limit); err != nil {
			return err
		}
		if i%checkedAtOnce == 0 {
			pulse.report(Progress{What: "check problems", Done: i, Of: len(shown)})
		}
	}
	return nil
}

// checkedAtOnce is the number of problems between two reports.
const checkedAtOnce = 256

// checkTraining checks every problem that a run may present while it trains.
func (d *Data) checkTraining(ctx context.Context, run spec.Run, c roomCheck, pulse *pulse) error {
	shown, err := d.training(ctx, run)
	if err != nil {
		return err
	}
	if err := c.all(run.Prompt, shown, pulse); err != nil {
		return fmt.Errorf("data.train: %w", err)
	}
	return nil
}

// training lists what a run may present while it trains, with the most attempts: every problem of a list, the first
// step's of an endless set.
func (d *Data) training(ctx context.Context, run spec.Run) ([]dataset.Presentation, error) {
	train, err := d.train(ctx, run)
	if err != nil {
		return nil, err
	}
	if train.Len() >= 0 {
		return dataset.Examine(train.Problems(), run.Attempts.Max), nil
	}
	most := run.Attempts
	most.Min = most.Max
	return train.Present(run.Seed, 0, run.Data.ProblemsPerStep, most)
}

// checkEvaluation checks every problem of the run's evaluation.
func (d *Data) checkEvaluation(ctx context.Context, run spec.Run, c roomCheck, pulse *pulse) error {
	most := 0
	for _, k := range slices.Concat(run.Evaluation.Attempts, run.Evaluation.Final) {
		most = max(most, k)
	}
	if most == 0 {
		return nil
	}
	prompt := run.Prompt
	prompt.SingleAttempt = false
	for _, name := range run.Evaluation.Sets {
		set, err := d.test(ctx, run, name)
		if err != nil {
			return err
		}
		if err := c.all(prompt, dataset.Examine(set.Problems(), most), pulse); err != nil {
			return fmt.Errorf("evaluation.sets %s: %w", name, err)
		}
	}
	return nil
}

// maxLength is the most tokens a dialogue may hold.
func maxLength(m spec.Model, info ModelInfo) int {
	if m.MaxLength > 0 {
		return min(m.MaxLength, info.MaxPositions)
	}
	return info.MaxPositions
}

// checkLength refuses a limit of dialogues that the model cannot hold.
func checkLength(m spec.Model, info ModelInfo) error {
	if m.MaxLength > info.MaxPositions {
		return fmt.Errorf("%w: model.max_length = %d: the model holds at most %d tokens", ErrModel, m.MaxLength, info.MaxPositions)
	}
	return nil
}

// ResolveExperiment checks the settings of an experiment's runs and names each. Models and data are checked by the runs.
func (d *Data) ResolveExperiment(ctx context.Context, in ResolveExperimentInput) (ResolveExperimentOutput, error) {
	return alive(ctx, func(*pulse) (ResolveExperimentOutput, error) {
		var e spec.Experiment
		if err := json.Unmarshal(in.Settings, &e); err != nil {
			return ResolveExperimentOutput{}, err
		}
		e, err := e.Plan(d.presets.Train)
		if err != nil {
			return ResolveExperimentOutput{}, err
		}
		members, err := e.Runs(in.ID)
		if err != nil {
			return ResolveExperimentOutput{}, err
		}
		for _, m := range members {
			if err := spec.CheckRunID(m.Run); err != nil {
				return ResolveExperimentOutput{}, err
			}
		}
		return ResolveExperimentOutput{Experiment: e}, nil
	})
}

// ResolveFinetune is ResolveSpec for a fine-tuning; it also makes the model when there is none to start from.
func (d *Data) ResolveFinetune(ctx context.Context, in ResolveSpecInput) (ResolveFinetuneOutput, error) {
	return alive(ctx, func(p *pulse) (ResolveFinetuneOutput, error) { return d.resolveFinetune(ctx, in, p) })
}

func (d *Data) resolveFinetune(ctx context.Context, in ResolveSpecInput, pulse *pulse) (ResolveFinetuneOutput, error) {
	f, err := spec.ResolveFinetune(in.Spec, d.presets.Finetune)
	if err != nil {
		return ResolveFinetuneOutput{}, err
	}
	if err := spec.CheckRunID(in.Run); err != nil {
		return ResolveFinetuneOutput{}, err
	}
	if f.Name == "" {
		f.Name = in.Run
	}
	out := ResolveFinetuneOutput{
		Name: f.Name, Steps: f.Steps, StepsPerPart: f.StepsPerPart, ContinueAfter: f.ContinueAfter,
		Retain: checkpoint.Retention{Keep: tuningCheckpoints},
	}
	if out.Digest, err = f.Digest(); err != nil {
		return out, err
	}
	dialogues, err := dataset.OpenDialogues(f.Data, f.Prompt)
	if err != nil {
		return out, missingIsBad(err)
	}
	check := func(dir string) (err error) {
		out.Longest, err = d.checkTuning(ctx, f, dialogues, dir, pulse)
		return err
	}
	if f.Model.Source == spec.SourceRandom {
		out.Base, err = d.create(ctx, f, dialogues.Alphabet(), check)
	} else {
		out.Base, err = d.storeModel(ctx, f.Model.Source, check, pulse)
	}
	if err != nil {
		return out, err
	}
	begun, err := d.standing(ctx, in.Run, out.Digest)
	if err != nil {
		return out, err
	}
	out.Checkpoint, out.Policy = begun.checkpoint, begun.policy
	if _, err = putJSON(ctx, d.store, runKey(in.Run), "base", out.Base); err != nil {
		return out, err
	}
	out.Spec, err = putJSON(ctx, d.store, runKey(in.Run), "spec", f)
	return out, err
}

// checkTuning makes sure that the engine can run the model in dir, whose weights need not be there, that every dialogue can be
// written in its tokens and is not too long, and that the fine-tuning fits the device. It returns the longest dialogue's tokens.
func (d *Data) checkTuning(ctx context.Context, f spec.Finetune, dialogues *dataset.Dialogues, dir string, pulse *pulse) (longest int, err error) {
	info, err := d.engine.Describe(dir)
	if err != nil {
		return 0, err
	}
	if err := checkLength(f.Model, info); err != nil {
		return 0, err
	}
	template, err := chat.Load(dir)
	if err != nil {
		return 0, err
	}
	longest, err = imitation.Check(template, dialogues.Examine(f.Seed), maxLength(f.Model, info), func(seen int) {
		if seen%checkedAtOnce == 0 {
			pulse.report(Progress{What: "check dialogues", Done: seen})
		}
	})
	if err != nil {
		return 0, err
	}
	return longest, d.engine.FitsTuning(ctx, dir, f, longest)
}

// create makes, checks and stores a new model.
func (d *Data) create(ctx context.Context, f spec.Finetune, alphabet string, check func(dir string) error) (Policy, error) {
	dir, err := os.MkdirTemp("", "multiattempt-model-")
	if err != nil {
		return Policy{}, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a leftover in the temporary folder hurts nobody
	if err := d.engine.Create(ctx, dir, f.Architecture, alphabet, f.Seed); err != nil {
		return Policy{}, err
	}
	if err := check(dir); err != nil {
		return Policy{}, err
	}
	return UploadModel(ctx, d.store, os.DirFS(dir))
}
