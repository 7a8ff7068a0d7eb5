package checkpoint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"multiattempt/internal/blob"
)

// Digest lists the regular files below dir (PolicyDir and StateDir) with sizes and digests, ascending by name; their keys
// are still empty.
func Digest(ctx context.Context, dir string) ([]blob.FolderFile, error) {
	var files []blob.FolderFile
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, blob.FolderFile{Name: name})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(files, func(a, b blob.FolderFile) int { return strings.Compare(a.Name, b.Name) })
	return files, eachPart(ctx, len(files), func(_ context.Context, i int) (err error) {
		files[i].Ref.SHA256, files[i].Ref.Size, err = blob.SumFile(filepath.Join(dir, filepath.FromSlash(files[i].Name)))
		return err
	})
}

// Put stores the files of dir, as Digest lists them, and then their manifest as a candidate: under a name that holds its
// digest, so that whoever computed another state stands in nobody's way. It is no checkpoint before Commit. It may be
// repeated: the same state gives the same reference.
func Put(ctx context.Context, s blob.Store, meta Meta, dir string, files []blob.FolderFile) (blob.Ref, Manifest, error) {
	m := Manifest{Version: FormatVersion, Meta: meta, Files: slices.Clone(files)}
	if len(files) == 0 {
		return blob.Ref{}, m, fmt.Errorf("checkpoint %s@%d: %s holds no files", meta.Run, meta.Step, dir)
	}
	// The parts' folder is named by their digests: what a fenced-off learner writes never mixes with this state's.
	list, err := json.Marshal(files)
	if err != nil {
		return blob.Ref{}, m, err
	}
	parts := stepPrefix(meta.Run, meta.Step) + "parts-" + blob.Sum(list).Short() + "/"
	err = eachPart(ctx, len(files), func(ctx context.Context, i int) error {
		m.Files[i].Ref.Key = parts + files[i].Name
		return blob.EnsureFile(ctx, s, m.Files[i].Ref, filepath.Join(dir, filepath.FromSlash(files[i].Name)))
	})
	if err != nil {
		return blob.Ref{}, m, fmt.Errorf("checkpoint %s@%d: %w", meta.Run, meta.Step, err)
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return blob.Ref{}, m, err
	}
	candidate, err := blob.PutAs(ctx, s, candidateKey(meta.Run, meta.Step, blob.Sum(b)), b)
	return candidate, m, err
}

// Commit makes a candidate that Put returned the checkpoint of its step, if there is none. It may be repeated. A step that
// has a checkpoint with other content is ErrDiffers, and keeps it.
func Commit(ctx context.Context, s blob.Store, run string, step int, candidate blob.Ref) (Ref, error) {
	ref := Ref{Run: run, Step: step, Ref: blob.Ref{Key: Key(run, step), SHA256: candidate.SHA256, Size: candidate.Size}}
	found, err := Find(ctx, s, run, step)
	if err == nil && found == ref {
		return ref, nil
	}
	if err == nil {
		return Ref{}, fmt.Errorf("checkpoint %s@%d: %w: sha256 %s, to be committed is %s", run, step, ErrDiffers, found.SHA256.Short(), ref.SHA256.Short())
	}
	if !errors.Is(err, ErrNone) {
		return Ref{}, err
	}
	b, err := blob.Load(ctx, s, candidate)
	if err != nil {
		return Ref{}, fmt.Errorf("commit checkpoint %s@%d: %w", run, step, err)
	}
	if _, err := parse(Ref{Run: run, Step: step, Ref: candidate}, b); err != nil {
		return Ref{}, err
	}
	if _, err = blob.PutAs(ctx, s, ref.Key, b); err != nil {
		if errors.Is(err, blob.ErrExists) {
			err = fmt.Errorf("%w: %w", ErrDiffers, err)
		}
		return Ref{}, fmt.Errorf("commit checkpoint %s@%d: %w", run, step, err)
	}
	// Whoever was halted before the write may have slept until the checkpoint was deleted. Deletions begin with the
	// candidate and go on with the manifest: while the candidate is there, a deletion still finds this manifest.
	if _, err := s.Stat(ctx, candidate.Key); err != nil {
		if errors.Is(err, blob.ErrNotFound) {
			err = errors.Join(err, s.Delete(ctx, ref.Key))
		}
		return Ref{}, fmt.Errorf("commit checkpoint %s@%d: %w", run, step, err)
	}
	return ref, nil
}

// Save is Digest, Put and Commit, for a state that nobody else may be about to save.
func Save(ctx context.Context, s blob.Store, meta Meta, dir string) (Ref, error) {
	files, err := Digest(ctx, dir)
	if err != nil {
		return Ref{}, fmt.Errorf("checkpoint %s@%d: %w", meta.Run, meta.Step, err)
	}
	candidate, _, err := Put(ctx, s, meta, dir, files)
	if err != nil {
		return Ref{}, err
	}
	return Commit(ctx, s, meta.Run, meta.Step, candidate)
}
