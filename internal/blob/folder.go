package blob

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// FolderFile is one file of a Folder.
type FolderFile struct {
	Name string `json:"name"` // slash-separated, relative
	Ref  Ref    `json:"ref"`
}

// Folder is a list of files kept as objects: how a model (config.json, tokenizer.json, model.safetensors …) is named by
// one reference. Two folders with equal files have equal bytes, hence equal references.
type Folder struct {
	Files []FolderFile `json:"files"` // ascending by name, names unique
}

// File returns the reference of the file called name.
func (f Folder) File(name string) (Ref, bool) {
	i, ok := slices.BinarySearchFunc(f.Files, name, func(e FolderFile, n string) int { return strings.Compare(e.Name, n) })
	if !ok {
		return Ref{}, false
	}
	return f.Files[i].Ref, true
}

// With returns a copy of f in which name refers to ref.
func (f Folder) With(name string, ref Ref) Folder {
	files := slices.DeleteFunc(slices.Clone(f.Files), func(e FolderFile) bool { return e.Name == name })
	files = append(files, FolderFile{Name: name, Ref: ref})
	slices.SortFunc(files, func(a, b FolderFile) int { return strings.Compare(a.Name, b.Name) })
	return Folder{Files: files}
}

// PutFolder stores the list itself, content-addressed.
func PutFolder(ctx context.Context, s Store, f Folder) (Ref, error) {
	b, err := json.Marshal(f)
	if err != nil {
		return Ref{}, err
	}
	return Put(ctx, s, b)
}

// Key is where PutFolder stores the list.
func (f Folder) Key() (string, error) {
	b, err := json.Marshal(f)
	return ContentKey(Sum(b)), err
}

// LoadFolder reads a list stored by PutFolder.
func LoadFolder(ctx context.Context, s Store, ref Ref) (Folder, error) {
	b, err := Load(ctx, s, ref)
	if err != nil {
		return Folder{}, err
	}
	var f Folder
	if err := json.Unmarshal(b, &f); err != nil {
		return Folder{}, fmt.Errorf("folder %s: %w", ref.Key, err)
	}
	return f, nil
}

// Upload stores every regular file below fsys and returns the reference of their folder.
func Upload(ctx context.Context, s Store, fsys fs.FS) (Ref, error) {
	var f Folder
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		ref, err := putFile(ctx, s, fsys, name)
		if err != nil {
			return err
		}
		f = f.With(name, ref)
		return nil
	})
	if err != nil {
		return Ref{}, fmt.Errorf("upload folder: %w", err)
	}
	return PutFolder(ctx, s, f)
}

func putFile(ctx context.Context, s Store, fsys fs.FS, name string) (ref Ref, err error) {
	file, err := fsys.Open(name)
	if err != nil {
		return Ref{}, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if body, ok := file.(io.ReadSeeker); ok {
		return PutStream(ctx, s, body)
	}
	b, err := io.ReadAll(file)
	if err != nil {
		return Ref{}, err
	}
	return Put(ctx, s, b)
}

// Download writes the folder that ref names below dir, verifying each file, and returns the list.
func Download(ctx context.Context, s Store, ref Ref, dir string) (Folder, error) {
	f, err := LoadFolder(ctx, s, ref)
	if err != nil {
		return Folder{}, err
	}
	if err := f.Download(ctx, s, dir, func(string) bool { return true }); err != nil {
		return Folder{}, fmt.Errorf("folder %s: %w", ref.Key, err)
	}
	return f, nil
}

// Download writes the files whose names are wanted below dir, verifying each.
func (f Folder) Download(ctx context.Context, s Store, dir string, wanted func(name string) bool) error {
	for _, file := range f.Files {
		if !filepath.IsLocal(filepath.FromSlash(file.Name)) || path.Clean(file.Name) != file.Name {
			return fmt.Errorf("%w: file name %q leaves the folder", ErrCorrupt, file.Name)
		}
		if !wanted(file.Name) {
			continue
		}
		if err := LoadFile(ctx, s, file.Ref, filepath.Join(dir, filepath.FromSlash(file.Name))); err != nil {
			return err
		}
	}
	return nil
}
