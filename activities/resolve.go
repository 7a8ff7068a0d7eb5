package activities

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"multiattempt/internal/blob"
	"multiattempt/internal/chat"
	"multiattempt/internal/dataset"
	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
)

// storeModel puts the model that a source names into the store, unless it is there.
func (d *Data) storeModel(ctx context.Context, source string) (Policy, error) {
	switch kind, name, _ := strings.Cut(source, ":"); kind {
	case "ref":
		ref, err := parseRef(name)
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
		return d.own(ctx, p)
	case "builtin":
		files, err := d.presets.Model(name)
		if err != nil {
			return Policy{}, fmt.Errorf("%w: %w", ErrModel, err)
		}
		return UploadModel(ctx, d.store, files)
	}
	dir := source
	if !filepath.IsAbs(dir) && d.dataDir != "" {
		dir = filepath.Join(d.dataDir, dir)
	}
	if _, err := os.Stat(filepath.Join(dir, "config.json")); errors.Is(err, fs.ErrNotExist) {
		return Policy{}, fmt.Errorf("%w: model.source = %q: no config.json in %s", ErrModel, source, dir)
	}
	return UploadModel(ctx, d.store, os.DirFS(dir))
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

// checkModel makes sure that the engine can run the model and that dialogues can be written in its tokens.
func (d *Data) checkModel(ctx context.Context, run spec.Run, p Policy) error {
	dir, err := os.MkdirTemp("", "multiattempt-model-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a leftover in the temporary folder hurts nobody
	if err := fetchSmall(ctx, d.store, p, dir); err != nil {
		return err
	}
	info, err := d.engine.Describe(dir)
	if err != nil {
		return err
	}
	if run.Model.MaxLength > info.MaxPositions {
		return fmt.Errorf("%w: model.max_length = %d: the model holds at most %d tokens", ErrModel, run.Model.MaxLength, info.MaxPositions)
	}
	template, err := chat.Load(dir)
	if err != nil {
		return err
	}
	train, err := d.train(ctx, run)
	if err != nil {
		return err
	}
	most := run.Attempts
	most.Min = most.Max
	shown, err := train.Present(run.Seed, 0, run.Data.ProblemsPerStep, most)
	if err != nil {
		return err
	}
	for _, s := range shown {
		if err := rollout.CheckPresentation(template, run.Prompt, s, maxLength(run, info)); err != nil {
			return err
		}
	}
	return nil
}

// maxLength is the most tokens a dialogue may hold.
func maxLength(run spec.Run, model ModelInfo) int {
	if run.Model.MaxLength > 0 {
		return min(run.Model.MaxLength, model.MaxPositions)
	}
	return model.MaxPositions
}

// fetchSmall writes a model folder's files into dir, all but the weights.
func fetchSmall(ctx context.Context, s blob.Store, p Policy, dir string) error {
	f, err := blob.LoadFolder(ctx, s, p.Folder)
	if err != nil {
		return err
	}
	for _, file := range f.Files {
		if path.Ext(file.Name) == ".safetensors" || path.Base(file.Name) != file.Name {
			continue
		}
		b, err := blob.Load(ctx, s, file.Ref)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file.Name), b, 0o644); err != nil {
			return err
		}
	}
	return nil
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
	if err := checkRun(in.Run); err != nil {
		return ResolveFinetuneOutput{}, err
	}
	if f.Name == "" {
		f.Name = in.Run
	}
	out := ResolveFinetuneOutput{Name: f.Name, Steps: f.Steps, StepsPerPart: f.StepsPerPart, ContinueAfter: f.ContinueAfter}
	if out.Digest, err = f.Digest(); err != nil {
		return out, err
	}
	dialogues, err := dataset.OpenDialogues(f.Data, f.Prompt)
	if err != nil {
		return out, missingIsBad(err)
	}
	pulse.report(Progress{What: "model"})
	if f.Model.Source == spec.SourceRandom {
		out.Base, err = d.create(ctx, f, dialogues.Alphabet())
	} else {
		out.Base, err = d.storeModel(ctx, f.Model.Source)
	}
	if err != nil {
		return out, err
	}
	if out.Checkpoint, out.Policy, err = d.standing(ctx, in.Run, out.Digest); err != nil {
		return out, err
	}
	out.Spec, err = putJSON(ctx, d.store, runKey(in.Run), "spec", f)
	return out, err
}

// create makes and stores a new model.
func (d *Data) create(ctx context.Context, f spec.Finetune, alphabet string) (Policy, error) {
	dir, err := os.MkdirTemp("", "multiattempt-model-")
	if err != nil {
		return Policy{}, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a leftover in the temporary folder hurts nobody
	if err := d.engine.Create(ctx, dir, f.Architecture, alphabet, f.Seed); err != nil {
		return Policy{}, err
	}
	return UploadModel(ctx, d.store, os.DirFS(dir))
}
