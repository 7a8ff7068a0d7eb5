package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"multiattempt/internal/blob"
	"multiattempt/internal/engine"
	"multiattempt/internal/source"
	"multiattempt/internal/spec"
)

// storedTypes maps the names of number types on the command line to those of safetensors.
var storedTypes = map[string]string{"float32": "F32", "bfloat16": "BF16", "float16": "F16"}

func (a *app) newExport() *cobra.Command {
	var dtype string
	var asJSON bool
	var p ports
	cmd := &cobra.Command{
		Use:   "export CHECKPOINT DIR",
		Short: "Write a checkpoint's policy as a Hugging Face folder",
		Long: `CHECKPOINT is RUN, RUN@STEP, RUN@latest or RUN@best; any MODEL is taken, too, to write it anew. DIR must not exist, or be
empty. The folder opens in transformers and everything that reads its format; tools/export/check.py shows that it computes
the same there. Weights are float32 unless --dtype says otherwise. Low-rank adapters are merged into them, and lie beside them in
the folder adapter, in PEFT's format.

` + modelNames,
		Example: `  multiattempt export quickstart-seed1@best out/policy
  multiattempt export run:gsm8k-smollm2-seed1 out/policy --dtype bfloat16`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			stored, ok := storedTypes[dtype]
			if !ok {
				return usage("--dtype is %q, must be float32, bfloat16 or float16", dtype)
			}
			dir, err := emptyFolder(args[1])
			if err != nil {
				return err
			}
			return a.withCheckpoint(cmd.Context(), args[0], p, func(o *opened) error {
				if err := export(o.Dir, dir, stored); err != nil {
					return err
				}
				return a.printExport(o.Origin, dir, asJSON)
			})
		},
	}
	cmd.Flags().StringVar(&dtype, "dtype", "float32", "number type of the weights: float32, bfloat16 or float16")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was written as JSON")
	addPorts(cmd, &p)
	return cmd
}

// withCheckpoint opens a run's checkpoint, starting services where none run, or any model.
func (a *app) withCheckpoint(ctx context.Context, name string, p ports, do func(o *opened) error) error {
	use := func(o *opened, err error) error {
		if err != nil {
			return err
		}
		return errors.Join(do(o), o.Close())
	}
	if _, err := os.Stat(filepath.Join(name, source.ConfigFile)); err != nil && !spec.NamesModel(name) {
		name = runPrefix + name
	}
	if !strings.HasPrefix(name, runPrefix) && !strings.HasPrefix(name, "ref:") {
		return use(a.openModel(ctx, name, canCompute))
	}
	return a.withServices(ctx, p, func(s *services, _ bool) error { return use(a.openStored(ctx, s.store, name, canCompute)) })
}

// export writes the model in from anew into dir.
func export(from, dir, stored string) error {
	m, err := engine.LoadFolder(from)
	if err != nil {
		return err
	}
	if err := errors.Join(m.WriteFolderAs(dir, stored), m.Close()); err != nil {
		return err
	}
	adapter := filepath.Join(from, engine.AdapterDir)
	if _, err := os.Stat(adapter); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return os.CopyFS(filepath.Join(dir, engine.AdapterDir), os.DirFS(adapter))
}

// exported is what export wrote.
type exported struct {
	Model string      `json:"model"`
	Dir   string      `json:"dir"`
	Files []foundFile `json:"files"`
}

// foundFile is one file of a model folder.
type foundFile struct {
	Name   string      `json:"name"`
	Bytes  int64       `json:"bytes"`
	SHA256 blob.Digest `json:"sha256"`
}

func (a *app) printExport(model, dir string, asJSON bool) error {
	written, err := source.Folder(dir)
	if err != nil {
		return err
	}
	e := exported{Model: model, Dir: dir}
	if e.Files, err = digests(written.Files); err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(e)
	}
	for _, f := range e.Files {
		a.printf("%s  %s\n", f.SHA256, f.Name)
	}
	a.printf("Model %s\n", dir)
	return nil
}

// digests reads a model's files.
func digests(files []source.File) ([]foundFile, error) {
	list := make([]foundFile, 0, len(files))
	for _, f := range files {
		d, n, err := blob.SumFile(f.Path)
		if err != nil {
			return nil, err
		}
		if f.SHA256 != nil && *f.SHA256 != d {
			return nil, fmt.Errorf("%w: %s: the source says sha256 %s, found %s", source.ErrSource, f.Path, *f.SHA256, d)
		}
		list = append(list, foundFile{f.Name, n, d})
	}
	return list, nil
}
