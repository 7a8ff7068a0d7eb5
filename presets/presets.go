// Package presets embeds the run specifications that have a name, and the models that lie in the binary.
package presets

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

//go:embed train/*.yaml finetune/*.yaml models
var files embed.FS

// ErrNoModel: no built-in model has that name.
var ErrNoModel = errors.New("no such built-in model")

// Train returns the presets of spec.Run as NAME.yaml files.
func Train() fs.FS { return sub("train") }

// Finetune returns the presets of spec.Finetune as NAME.yaml files.
func Finetune() fs.FS { return sub("finetune") }

// Model returns the folder, in Hugging Face layout, of the built-in model called name; a wrong name gives ErrNoModel.
func Model(name string) (fs.FS, error) {
	dir := path.Join("models", name)
	if !fs.ValidPath(dir) || path.Dir(dir) != "models" {
		return nil, fmt.Errorf("%w: %q", ErrNoModel, name)
	}
	if _, err := fs.Stat(files, path.Join(dir, "config.json")); err != nil {
		return nil, fmt.Errorf("%w: %q; there are: %s", ErrNoModel, name, strings.Join(Models(), ", "))
	}
	return sub(dir), nil
}

// Models lists the built-in models, ascending.
func Models() []string {
	configs, err := fs.Glob(files, "models/*/config.json")
	if err != nil {
		panic(err) // only a malformed pattern fails
	}
	for i, c := range configs {
		configs[i] = path.Base(path.Dir(c))
	}
	return configs
}

func sub(dir string) fs.FS {
	s, err := fs.Sub(files, dir)
	if err != nil {
		panic(err) // only an invalid path fails, and callers checked theirs
	}
	return s
}
