package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/internal/checkpoint"
	"multiattempt/internal/engine"
	"multiattempt/internal/source"
	"multiattempt/presets"
	"multiattempt/worker"
)

// modelNames explains how commands name a model.
const modelNames = `MODEL is a folder in Hugging Face layout, hf:ORGANISATION/NAME[@REVISION], s3://BUCKET/PREFIX, builtin:NAME,
run:RUN[@STEP|@latest|@best] (a run's checkpoint) or ref:KEY@SHA256:SIZE (a folder in the store).`

// runPrefix begins the name of a run's checkpoint.
const runPrefix = "run:"

// opened is a model whose files lie in a folder.
type opened struct {
	*source.Model
	remove func() error // what was made for this command
}

// Close removes what was made for the command.
func (o *opened) Close() error {
	if o.remove == nil {
		return nil
	}
	return o.remove()
}

// sources finds models as workers do, and first in the working directory. check is shown a model before its weights are
// fetched.
func (a *app) sources(check func(dir string) error) source.Finder {
	f := worker.Sources(a.cfg)
	f.Roots = append([]string{"."}, f.Roots...)
	f.Check = check
	told := ""
	f.Progress = func(what string, _ int64) {
		if what != told {
			a.notef("Fetching %s\n", what)
			told = what
		}
	}
	return f
}

// canCompute refuses a model, whose weights need not be there, that the engine cannot compute.
func canCompute(dir string) error {
	_, err := engine.ReadConfig(dir)
	return err
}

// openModel finds the model called name; the caller closes it. check is shown a folder of it once, where the weights need not
// be: before any are fetched from elsewhere.
func (a *app) openModel(ctx context.Context, name string, check func(dir string) error) (*opened, error) {
	kind, rest, _ := strings.Cut(name, ":")
	switch kind + ":" {
	case "builtin:":
		files, err := presets.Model(rest)
		if err != nil {
			return nil, err
		}
		return inTemporary(name, func(dir string) error {
			if err := os.CopyFS(dir, files); err != nil {
				return err
			}
			return check(dir)
		})
	case runPrefix, "ref:":
		s, err := a.connect(ctx)
		if err != nil {
			return nil, err
		}
		defer s.Close()
		return a.openStored(ctx, s.store, name, check)
	}
	m, err := a.sources(check).Find(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := m.Verify(ctx); err != nil {
		return nil, err
	}
	return &opened{Model: m}, nil
}

// openStored fetches a model of the store: run:RUN[@STEP] or ref:…; check as for openModel.
func (a *app) openStored(ctx context.Context, s blob.Store, name string, check func(dir string) error) (*opened, error) {
	var folder blob.Folder
	if run, ok := strings.CutPrefix(name, runPrefix); ok {
		ref, err := findCheckpoint(ctx, s, run)
		if err != nil {
			return nil, err
		}
		m, err := checkpoint.LoadManifest(ctx, s, ref)
		if err != nil {
			return nil, err
		}
		name, folder = fmt.Sprintf("%s%s@%d", runPrefix, ref.Run, ref.Step), m.Folder(checkpoint.PolicyDir)
	} else {
		ref, err := activities.ParseRef(strings.TrimPrefix(name, "ref:"))
		if err != nil {
			return nil, usage("%w", err)
		}
		if folder, err = blob.LoadFolder(ctx, s, ref); err != nil {
			return nil, err
		}
	}
	return inTemporary(name, func(dir string) error {
		if err := folder.Download(ctx, s, dir, func(name string) bool { return !source.IsWeights(name) }); err != nil {
			return err
		}
		if err := check(dir); err != nil {
			return err
		}
		return folder.Download(ctx, s, dir, source.IsWeights)
	})
}

// findCheckpoint reads RUN, RUN@STEP, RUN@latest or RUN@best.
func findCheckpoint(ctx context.Context, s blob.Store, name string) (checkpoint.Ref, error) {
	run, which := name, "latest"
	if at := strings.LastIndexByte(name, '@'); at >= 0 {
		run, which = name[:at], name[at+1:]
	}
	if which == "latest" || which == "best" {
		pointer := checkpoint.Latest
		if which == "best" {
			pointer = checkpoint.Best
		}
		t, err := checkpoint.Resolve(ctx, s, run, pointer)
		return t.Checkpoint, err
	}
	step, err := strconv.Atoi(which)
	if err != nil {
		return checkpoint.Ref{}, usage("checkpoint %s: %q is neither a step, latest nor best", name, which)
	}
	return checkpoint.Find(ctx, s, run, step)
}

// inTemporary lets fill write a model's files into a folder that lasts until the model is closed.
func inTemporary(name string, fill func(dir string) error) (*opened, error) {
	dir, err := os.MkdirTemp("", "multiattempt-model-")
	if err != nil {
		return nil, err
	}
	o := &opened{remove: func() error { return os.RemoveAll(dir) }}
	if err := fill(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), o.Close())
	}
	if o.Model, err = source.Folder(dir); err != nil {
		return nil, errors.Join(err, o.Close())
	}
	o.Origin = name
	return o, nil
}
