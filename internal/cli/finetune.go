package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"multiattempt/internal/blob"
	"multiattempt/internal/spec"
	"multiattempt/presets"
	"multiattempt/workflows"
)

func (a *app) newFinetune() *cobra.Command {
	var id, out string
	var again bool
	var p ports
	cmd := &cobra.Command{
		Use:   "finetune",
		Short: "Fine-tune a model on dialogues, or make a small one from nothing",
		Long: `Runs supervised fine-tuning and follows it to its end; --out writes the model as a Hugging Face folder. Interrupted, it
goes on when the same command is given again. Services are found or started as by train.`,
		Example: "  multiattempt finetune --preset quickstart-base --out my-base",
		Args:    cobra.NoArgs,
	}
	s := addSettings(cmd)
	cmd.Flags().StringVar(&id, "run", "", "the run's id (default PRESET-seedSEED)")
	cmd.Flags().StringVar(&out, "out", "", "folder for the finished model; it must not exist, or be empty")
	cmd.Flags().BoolVar(&again, "continue", false, "let a run that has ended go on from its newest part")
	addPorts(cmd, &p)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		doc, err := s.document(spec.Finetune{})
		if err != nil {
			return err
		}
		f, err := spec.ResolveFinetune(doc, presets.Finetune())
		if err != nil {
			return err
		}
		if id == "" {
			id = defaultRunID(f.Preset, "finetune", f.Seed)
		}
		if err := spec.CheckRunID(id); err != nil {
			return err
		}
		if out, err = emptyFolder(out); err != nil {
			return err
		}
		if file, ok := a.find(f.Data.Source); ok {
			if doc, err = spec.Override(doc, spec.Finetune{}, []string{"data.source=" + file}); err != nil {
				return err
			}
		}
		folder, err := a.modelFolder(f.Model.Source)
		if err != nil {
			return err
		}
		return a.withServices(cmd.Context(), p, func(svc *services, _ bool) error {
			if doc, err = a.upload(cmd.Context(), svc, doc, spec.Finetune{}, folder); err != nil {
				return err
			}
			return a.finetune(cmd.Context(), svc, order{id: id, kind: workflows.FinetuneName, input: input(doc), again: again, conflict: "choose another id with --run"}, doc, out)
		})
	}
	return cmd
}

// finetune runs one fine-tuning to its end and writes its model to folder, unless that is empty.
func (a *app) finetune(ctx context.Context, s *services, o order, doc []byte, folder string) error {
	f, err := spec.ResolveFinetune(doc, presets.Finetune())
	if err != nil {
		return err
	}
	if o.digest, err = f.Digest(); err != nil {
		return err
	}
	o.summary = fmt.Sprintf("%d steps of %d dialogues", f.Steps, f.Data.BatchSize)
	st, err := s.start(ctx, o)
	if err != nil {
		return err
	}
	if st.closed {
		a.notef("Run %s has ended already: this is its result. --continue lets it go on, --run with another id starts a new one\n", o.id)
	}
	var out workflows.FinetuneOutput
	if err := a.follow(ctx, s, stage{title: o.id}, st.run, workflows.FinetuneName, &out); err != nil {
		if st.closed && exitCode(err) == exitFailed {
			return fmt.Errorf("%w; --continue lets the run go on from its newest part", err)
		}
		return goesOn(err, o.id)
	}
	a.printf("Fine-tuning %s %s after step %d, loss %.4f nats per token\n", out.Run, out.Phase, out.Step, out.Loss)
	if folder == "" {
		a.printf("Model ref:%s@%s:%d\n", out.Policy.Folder.Key, out.Policy.Folder.SHA256, out.Policy.Folder.Size)
		return nil
	}
	if _, err := blob.Download(ctx, s.store, out.Policy.Folder, folder); err != nil {
		return err
	}
	a.printf("Model %s\n", folder)
	return nil
}

// defaultRunID names a run after its preset, or what it is, and its seed.
func defaultRunID(preset, otherwise string, seed uint64) string {
	if preset == "" {
		preset = otherwise
	}
	return fmt.Sprintf("%s-seed%d", preset, seed)
}

// emptyFolder returns dir made absolute, and refuses one that holds something; the empty name stays.
func emptyFolder(dir string) (string, error) {
	if dir == "" {
		return "", nil
	}
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		return "", usage("%s holds files already; name another folder or empty it", dir)
	}
	if err != nil && !os.IsNotExist(err) {
		return "", usage("%w", err)
	}
	return filepath.Abs(dir)
}
