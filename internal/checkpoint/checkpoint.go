// Package checkpoint keeps a run's full state so that it can be trusted: parts first, the manifest last, every byte
// verified on load, and nothing deleted that a run still needs.
//
// A checkpoint is the folder runs/RUN/checkpoints/STEP/. Put stores parts and a candidate; Commit gives the candidate the
// name manifest.json, last and once; without it there is no checkpoint. Equal states have equal manifests: they hold
// neither time nor place of their making.
package checkpoint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"multiattempt/internal/blob"
)

// FormatVersion is the version of the manifests that Put writes; docs/formats.md describes them.
const FormatVersion = 1

// Folders of a checkpoint.
const (
	PolicyDir = "policy" // opens in Hugging Face transformers as it lies
	StateDir  = "state"  // critic, optimiser moments, counts
)

// Errors; match them with errors.Is.
var (
	// ErrNone: the run has no checkpoint (of that step).
	ErrNone = errors.New("no checkpoint")
	// ErrForeign: a manifest that belongs to another run or step than its key says.
	ErrForeign = errors.New("checkpoint of another run")
	// ErrNewer: a manifest of a format that this program does not know.
	ErrNewer = errors.New("checkpoint of a newer format; use the program that wrote it, or a later one")
	// ErrDiffers: the step has a checkpoint already, with other content. Two learners computed different states.
	ErrDiffers = errors.New("the step has another checkpoint already")
)

// Meta says what state a checkpoint holds.
type Meta struct {
	Run    string `json:"run"`
	Step   int    `json:"step"`             // iterations done
	Spec   string `json:"spec"`             // digest of the resolved settings, 64 hexadecimal digits
	Parent *Ref   `json:"parent,omitempty"` // the checkpoint that a fork started from
}

// Manifest lists a checkpoint's parts.
type Manifest struct {
	Version int `json:"version"`
	Meta
	Files []blob.FolderFile `json:"files"` // ascending by name
}

// Folder returns the files below dir (PolicyDir or StateDir), their names without it.
func (m Manifest) Folder(dir string) blob.Folder {
	var f blob.Folder
	for _, file := range m.Files {
		if name, ok := strings.CutPrefix(file.Name, dir+"/"); ok {
			f.Files = append(f.Files, blob.FolderFile{Name: name, Ref: file.Ref})
		}
	}
	return f
}

// Ref names a checkpoint: its manifest.
type Ref struct {
	Run  string `json:"run"`
	Step int    `json:"step"`
	blob.Ref
}

// Prefix is where a run's checkpoints lie.
func Prefix(run string) string { return "runs/" + run + "/checkpoints/" }

// Key is where the manifest of a run's step lies.
func Key(run string, step int) string { return stepPrefix(run, step) + manifestName }

// ParseKey undoes Key.
func ParseKey(key string) (run string, step int, ok bool) {
	rest, ok := strings.CutPrefix(key, "runs/")
	rest, ok2 := strings.CutSuffix(rest, "/"+manifestName)
	run, digits, ok3 := strings.Cut(rest, "/checkpoints/")
	step, err := strconv.Atoi(digits)
	if !ok || !ok2 || !ok3 || err != nil || Key(run, step) != key {
		return "", 0, false
	}
	return run, step, true
}

const (
	manifestName    = "manifest.json"
	candidatePrefix = "manifest-"
)

// candidateKey is where a manifest lies from before it is committed until the checkpoint is deleted.
func candidateKey(run string, step int, digest blob.Digest) string {
	return stepPrefix(run, step) + candidatePrefix + digest.Short() + ".json"
}

func stepPrefix(run string, step int) string { return fmt.Sprintf("%s%06d/", Prefix(run), step) }

// Find returns the reference of a step's checkpoint as it lies in the store, ErrNone when there is none.
func Find(ctx context.Context, s blob.Store, run string, step int) (Ref, error) {
	key := Key(run, step)
	b, _, err := readSmall(ctx, s, key)
	if errors.Is(err, blob.ErrNotFound) {
		return Ref{}, fmt.Errorf("%w: %s@%d; `multiattempt checkpoints %s` lists those that there are", ErrNone, run, step, run)
	}
	if err != nil {
		return Ref{}, err
	}
	ref := Ref{Run: run, Step: step, Ref: blob.Ref{Key: key, SHA256: blob.Sum(b), Size: int64(len(b))}}
	_, err = parse(ref, b)
	return ref, err
}

// LoadManifest reads and checks a checkpoint's manifest.
func LoadManifest(ctx context.Context, s blob.Store, ref Ref) (Manifest, error) {
	b, err := blob.Load(ctx, s, ref.Ref)
	if errors.Is(err, blob.ErrNotFound) {
		return Manifest{}, fmt.Errorf("%w: %s@%d: %w; `multiattempt checkpoints %s` lists those that there are", ErrNone, ref.Run, ref.Step, err, ref.Run)
	}
	if err != nil {
		return Manifest{}, err
	}
	return parse(ref, b)
}

func parse(ref Ref, b []byte) (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return Manifest{}, fmt.Errorf("%w: %s is no manifest: %w", blob.ErrCorrupt, ref.Key, err)
	}
	if m.Version > FormatVersion {
		return Manifest{}, fmt.Errorf("%w: %s has version %d, this program knows %d", ErrNewer, ref.Key, m.Version, FormatVersion)
	}
	if m.Version < 1 {
		return Manifest{}, fmt.Errorf("%w: %s has no version", blob.ErrCorrupt, ref.Key)
	}
	if m.Run != ref.Run || m.Step != ref.Step {
		return Manifest{}, fmt.Errorf("%w: %s says %s@%d: it was copied to the wrong place; restore this one from a replica, or move it away and go on from an earlier checkpoint",
			ErrForeign, ref.Key, m.Run, m.Step)
	}
	return m, nil
}

// Load writes a checkpoint's files below dir, each verified against the manifest.
func Load(ctx context.Context, s blob.Store, ref Ref, dir string) (Manifest, error) {
	m, err := LoadManifest(ctx, s, ref)
	if err != nil {
		return Manifest{}, err
	}
	for _, f := range m.Files {
		if !filepath.IsLocal(filepath.FromSlash(f.Name)) || path.Clean(f.Name) != f.Name {
			return Manifest{}, fmt.Errorf("%w: %s lists the file %q", blob.ErrCorrupt, ref.Key, f.Name)
		}
	}
	return m, m.read(ctx, s, ref, func(name string) string { return filepath.Join(dir, filepath.FromSlash(name)) })
}

// Verify reads every part of a checkpoint and compares it with the manifest; it keeps nothing.
func Verify(ctx context.Context, s blob.Store, ref Ref) error {
	m, err := LoadManifest(ctx, s, ref)
	if err != nil {
		return err
	}
	return m.read(ctx, s, ref, func(string) string { return os.DevNull })
}

// read writes every part of the checkpoint to the file that to names, each verified.
func (m Manifest) read(ctx context.Context, s blob.Store, ref Ref, to func(name string) string) error {
	err := eachPart(ctx, len(m.Files), func(ctx context.Context, i int) error {
		return getFile(ctx, s, m.Files[i].Ref, to(m.Files[i].Name))
	})
	if err != nil {
		return fmt.Errorf("checkpoint %s@%d: %w", ref.Run, ref.Step, err)
	}
	return nil
}

// Steps returns the steps that have a manifest, ascending, whether it can be read or not.
func Steps(ctx context.Context, s blob.Store, run string) ([]int, error) {
	var steps []int
	err := s.List(ctx, Prefix(run), func(o blob.Info) error {
		if r, step, ok := ParseKey(o.Key); ok && r == run {
			steps = append(steps, step)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list checkpoints of %s: %w", run, err)
	}
	slices.Sort(steps)
	return steps, nil
}

// List returns the run's checkpoints, ascending by step.
func List(ctx context.Context, s blob.Store, run string) ([]Ref, error) {
	steps, err := Steps(ctx, s, run)
	if err != nil {
		return nil, err
	}
	refs := make([]Ref, 0, len(steps))
	for _, step := range steps {
		ref, err := Find(ctx, s, run, step)
		if errors.Is(err, ErrNone) {
			continue // deleted since it was listed
		}
		if err != nil {
			return nil, err
		}
		refs = append(refs, ref)
	}
	return refs, nil
}
