package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"multiattempt/internal/engine"
	"multiattempt/internal/source"
	"multiattempt/internal/spec"
)

// settings are the flags by which a command is told what to compute.
type settings struct {
	preset string
	file   string
	set    []string
	seed   uint64
	cmd    *cobra.Command
}

func addSettings(cmd *cobra.Command) *settings {
	s := &settings{cmd: cmd}
	f := cmd.Flags()
	f.StringVar(&s.preset, "preset", "", "settings to start from; an unknown name lists them all")
	f.StringVarP(&s.file, "file", "f", "", "YAML or JSON file with settings; - reads standard input")
	f.StringArrayVar(&s.set, "set", nil, "one setting, as in --set attempts.max=3; may be repeated")
	f.Uint64Var(&s.seed, "seed", 1, "seed of every random draw")
	return s
}

// document merges the flags into one JSON document: the file, then --preset and --seed, then each --set. target, a Run or
// Finetune value, says what the settings hold.
func (s *settings) document(target any) ([]byte, error) {
	doc := []byte("{}")
	if s.file != "" {
		text, err := readInput(s.cmd.InOrStdin(), s.file)
		if err != nil {
			return nil, usage("%w", err)
		}
		if doc, err = spec.FromYAML(text); err != nil {
			return nil, fmt.Errorf("%s: %w", s.file, err)
		}
	}
	var flags []string
	if s.preset != "" {
		flags = append(flags, "preset="+s.preset)
	}
	if s.cmd.Flags().Changed("seed") {
		flags = append(flags, "seed="+strconv.FormatUint(s.seed, 10))
	}
	return spec.Override(doc, target, append(flags, s.set...))
}

func readInput(stdin io.Reader, file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(file)
}

// anchor returns assignments that make the data files of doc absolute: workers, and this process once its services run,
// have another working directory. Names that are no existing files are left to the worker.
func (a *app) anchor(r spec.Run) ([]string, error) {
	var changed []string
	if file, ok := a.find(r.Data.Train); ok {
		changed = append(changed, "data.train="+file)
	}
	sets, moved := append([]string{}, r.Evaluation.Sets...), false
	for i, set := range sets {
		if file, ok := a.find(set); ok {
			sets[i], moved = file, true
		}
	}
	if !moved {
		return changed, nil
	}
	list, err := json.Marshal(sets)
	if err != nil {
		return nil, err
	}
	return append(changed, "evaluation.sets="+string(list)), nil
}

// find looks for a data file where a person may mean it: in the working directory, then in the data directory.
func (a *app) find(name string) (string, bool) {
	if ext := filepath.Ext(name); ext != ".jsonl" && ext != ".parquet" {
		return "", false
	}
	return firstExisting(name, filepath.Join(a.cfg.DataDir, name))
}

// modelFolder finds the folder that a model's source names: in the working directory, the data directory, or among the
// models that this user's cache holds; and refuses one whose weights cannot be used. Models that are no folders, and
// folders that are not on this machine, are left to the worker: the name is empty.
func (a *app) modelFolder(name string) (string, error) {
	if name == "" || name == spec.SourceRandom || strings.HasPrefix(name, "builtin:") || strings.HasPrefix(name, "ref:") ||
		strings.HasPrefix(name, source.HubPrefix) || strings.HasPrefix(name, source.S3Prefix) {
		return "", nil
	}
	m, err := a.sources(canCompute).Find(context.Background(), name)
	if errors.Is(err, source.ErrNoFolder) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return m.Dir, engine.CheckFolder(m.Dir)
}

// firstExisting returns the first of the paths that exists, absolute.
func firstExisting(paths ...string) (string, bool) {
	for _, p := range paths {
		if _, err := os.Stat(p); err == nil {
			abs, err := filepath.Abs(p)
			return abs, err == nil
		}
	}
	return "", false
}
