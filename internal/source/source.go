// Package source finds a model by its name: a folder, s3://bucket/prefix, or hf:organisation/name[@revision]. It gives a
// list of local files, with the digests that the source vouches for.
package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"multiattempt/internal/blob"
	"multiattempt/internal/hub"
)

// ErrSource: a name that no model has, or a place that holds no model that can be used. Repeating does not help.
var ErrSource = errors.New("no usable model")

// ErrNoFolder: no folder of this name is on this machine. It matches ErrSource.
var ErrNoFolder = fmt.Errorf("%w: there is no such folder", ErrSource)

// Prefixes of names that are no folders on this machine.
const (
	HubPrefix = "hf:"
	S3Prefix  = "s3://"
)

// Names of a model folder's files, in Hugging Face's layout.
const (
	ConfigFile  = "config.json"
	WeightsFile = "model.safetensors"
	IndexFile   = "model.safetensors.index.json" // names the shards when there are several
)

// IsWeights tells a model folder's weights from its small files, by which a model can be judged before any are fetched.
func IsWeights(name string) bool { return path.Ext(name) == path.Ext(WeightsFile) }

// companions travel with the weights: tokenizer, chat template, end-of-turn ids.
var companions = []string{
	"tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja", "special_tokens_map.json",
}

// Companions lists the files that may travel with configuration and weights.
func Companions() []string { return slices.Clone(companions) }

// File is one file of a model.
type File struct {
	Name   string       // in the model's folder
	Path   string       // on this machine
	SHA256 *blob.Digest // what the source says, nil when it does not say
}

// Model is a model whose files lie on this machine.
type Model struct {
	Origin string // where it was found: the folder, or the name with the commit
	Dir    string // holds every file under its name
	Files  []File // ascending by name; only what belongs to the model
}

// Finder looks for models.
type Finder struct {
	Roots []string // where relative folders are looked for, in order
	Cache string   // what comes from buckets is kept here
	Hub   hub.Client
	// Bucket opens a bucket for reading.
	Bucket func(ctx context.Context, name string) (blob.Store, error)
	// Check, when not nil, is shown a folder that holds all of the model but its weights, before any of these is asked for.
	// Its error, returned as it is, ends the search.
	Check func(dir string) error
	// Progress, when not nil, is told what is being fetched, and how many bytes of it are here.
	Progress func(what string, done int64)
}

// Find returns the model called name.
func (f Finder) Find(ctx context.Context, name string) (*Model, error) {
	switch {
	case strings.HasPrefix(name, HubPrefix):
		return f.fromHub(ctx, strings.TrimPrefix(name, HubPrefix))
	case strings.HasPrefix(name, S3Prefix):
		return f.fromBucket(ctx, strings.TrimPrefix(name, S3Prefix))
	case name == "":
		return nil, fmt.Errorf("%w: the name is empty; name a folder, hf:ORGANISATION/NAME or s3://BUCKET/PREFIX", ErrSource)
	}
	dir, err := f.folder(name)
	if err != nil {
		return nil, err
	}
	return inFolder(dir, f.Check)
}

// folder finds a folder by its path, absolute or below one of the roots.
func (f Finder) folder(name string) (string, error) {
	looked := []string{name}
	if !filepath.IsAbs(name) {
		looked = nil
		for _, root := range f.Roots {
			looked = append(looked, filepath.Join(root, name))
		}
	}
	for _, dir := range looked {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return filepath.Abs(dir)
		}
	}
	return "", fmt.Errorf("%w: neither %s; a model of the Hugging Face Hub is named hf:ORGANISATION/NAME", ErrNoFolder, strings.Join(looked, " nor "))
}

// Folder returns the model in a folder on this machine.
func Folder(dir string) (*Model, error) { return inFolder(dir, nil) }

func inFolder(dir string, check func(dir string) error) (*Model, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSource, err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	m := &Model{Origin: dir}
	err = m.gather(names, check, func(name string) (File, error) {
		return File{Name: name, Path: filepath.Join(dir, name)}, nil
	})
	return m, err
}

// gather chooses the model's files among the names that its place holds, and fetches each: the weights come last, after
// check has seen all the others.
func (m *Model) gather(names []string, check func(dir string) error, fetch func(name string) (File, error)) error {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s: %w", ErrSource, m.Origin, fmt.Errorf(format, args...))
	}
	take := func(name string) error {
		file, err := fetch(name)
		if err == nil {
			m.Files = append(m.Files, file)
			m.Dir = filepath.Dir(file.Path)
		}
		return err
	}
	if !slices.Contains(names, ConfigFile) {
		return wrong("expected %s, found %s", ConfigFile, some(names))
	}
	weights := []string{WeightsFile}
	for _, name := range append([]string{ConfigFile, IndexFile}, companions...) {
		if !slices.Contains(names, name) {
			continue
		}
		if err := take(name); err != nil {
			return err
		}
		if name == IndexFile {
			var err error
			if weights, err = shards(filepath.Join(m.Dir, IndexFile)); err != nil {
				return wrong("%w", err)
			}
		}
	}
	for _, name := range weights {
		if !slices.Contains(names, name) {
			return wrong("expected %s, found %s; weights must be safetensors (`multiattempt model import` makes them of a GGUF file)", name, some(names))
		}
	}
	if check != nil {
		if err := check(m.Dir); err != nil {
			return err
		}
	}
	for _, name := range weights {
		if err := take(name); err != nil {
			return err
		}
	}
	slices.SortFunc(m.Files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

// some lists a few names for a person.
func some(names []string) string {
	const most = 8
	switch {
	case len(names) == 0:
		return "nothing"
	case len(names) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// WeightFiles names a folder's files of weights, ascending: model.safetensors, or the shards that the index names.
func WeightFiles(dir string) ([]string, error) {
	names, err := shards(filepath.Join(dir, IndexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return []string{WeightsFile}, nil
	}
	return names, err
}

// shards names the files that an index of weights refers to.
func shards(index string) ([]string, error) {
	text, err := os.ReadFile(index)
	if err != nil {
		return nil, err
	}
	var content struct {
		Map map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(text, &content); err != nil {
		return nil, fmt.Errorf("%s: %w", IndexFile, err)
	}
	names := slices.Compact(slices.Sorted(maps.Values(content.Map)))
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: expected a weight_map of shards, found none", IndexFile)
	}
	for _, name := range names {
		if path.Base(name) != name {
			return nil, fmt.Errorf("%s: expected shards in the folder itself, found %q", IndexFile, name)
		}
	}
	return names, nil
}

// Store puts the model's files into a store, content-addressed, and returns the reference of their folder. A file that is
// not what its source vouched for is a *blob.CorruptError.
func (m *Model) Store(ctx context.Context, s blob.Store, progress func(name string)) (blob.Ref, error) {
	var f blob.Folder
	for _, file := range m.Files {
		if progress != nil {
			progress(file.Name)
		}
		ref, err := storeFile(ctx, s, file)
		if err != nil {
			return blob.Ref{}, fmt.Errorf("store %s of %s: %w", file.Name, m.Origin, err)
		}
		f = f.With(file.Name, ref)
	}
	return blob.PutFolder(ctx, s, f)
}

// Verify reads every file that the source vouched for, as Store does on the way. One that is not what it was when it was fetched
// is a *blob.CorruptError.
func (m *Model) Verify(ctx context.Context) error {
	for _, file := range m.Files {
		if file.SHA256 == nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := file.verify(); err != nil {
			return fmt.Errorf("%s of %s: %w", file.Name, m.Origin, err)
		}
	}
	return nil
}

func (f File) verify() error {
	body, err := os.Open(f.Path)
	if err != nil {
		return err
	}
	defer body.Close() //nolint:errcheck // only read from
	digest, size, err := blob.SumStream(body)
	if err == nil && digest != *f.SHA256 {
		err = fmt.Errorf("%w; remove this file, and it is fetched again", &blob.CorruptError{Key: f.Path, Want: *f.SHA256, Got: digest, WantSize: size, GotSize: size})
	}
	return err
}

func storeFile(ctx context.Context, s blob.Store, file File) (ref blob.Ref, err error) {
	body, err := os.Open(file.Path)
	if err != nil {
		return blob.Ref{}, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	ref, err = blob.PutStream(ctx, s, body)
	if err != nil {
		return blob.Ref{}, err
	}
	if file.SHA256 != nil && *file.SHA256 != ref.SHA256 {
		return blob.Ref{}, &blob.CorruptError{Key: file.Path, Want: *file.SHA256, Got: ref.SHA256, WantSize: ref.Size, GotSize: ref.Size}
	}
	return ref, nil
}

// fromHub fetches what the cache lacks of a model on the Hub.
func (f Finder) fromHub(ctx context.Context, name string) (*Model, error) {
	id, revision, _ := strings.Cut(name, "@")
	repository, err := f.Hub.Open(ctx, id, revision)
	if err != nil {
		return nil, err
	}
	m := &Model{Origin: HubPrefix + id + "@" + repository.Commit}
	err = m.gather(repository.Names(), f.Check, func(name string) (File, error) {
		local, err := repository.Fetch(ctx, name, f.watch(name))
		known, _ := repository.File(name)
		return File{Name: name, Path: local, SHA256: known.SHA256}, err
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

func (f Finder) watch(name string) func(int64) {
	if f.Progress == nil {
		return nil
	}
	return func(done int64) { f.Progress(name, done) }
}

// fromBucket fetches a model below a prefix of a bucket. A file is fetched once for each version of its object.
func (f Finder) fromBucket(ctx context.Context, name string) (*Model, error) {
	bucket, prefix, _ := strings.Cut(name, "/")
	prefix = strings.Trim(prefix, "/")
	if bucket == "" || prefix == "" || f.Bucket == nil {
		return nil, fmt.Errorf("%w: %s%s: expected s3://BUCKET/PREFIX", ErrSource, S3Prefix, name)
	}
	store, err := f.Bucket(ctx, bucket)
	if err != nil {
		return nil, err
	}
	objects := map[string]blob.Info{}
	var names []string
	err = store.List(ctx, prefix+"/", func(o blob.Info) error {
		if rest := strings.TrimPrefix(o.Key, prefix+"/"); path.Base(rest) == rest {
			objects[rest] = o
			names = append(names, rest)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list %s%s: %w", S3Prefix, name, err)
	}
	place := blob.Sum([]byte(bucket + "/" + prefix)).Short()
	m := &Model{Origin: S3Prefix + bucket + "/" + prefix}
	dir := filepath.Join(f.Cache, "buckets", place)
	err = m.gather(names, f.Check, func(name string) (File, error) { return f.fromObject(ctx, store, objects[name], dir, name) })
	if err != nil {
		return nil, err
	}
	return m, nil
}

// fromObject writes one object to dir/name, unless that version of it is there.
func (f Finder) fromObject(ctx context.Context, store blob.Store, o blob.Info, dir, name string) (File, error) {
	stat, err := store.Stat(ctx, o.Key) // a listing has no digests
	if err != nil {
		return File{}, err
	}
	file := File{Name: name, Path: filepath.Join(dir, name)}
	if !stat.SHA256.IsZero() {
		file.SHA256 = &stat.SHA256
	}
	stamp := filepath.Join(dir, ".versions", name)
	version := fmt.Sprintf("%s %d\n", stat.ETag, stat.Size)
	if known, err := os.ReadFile(stamp); err == nil && string(known) == version {
		if info, err := os.Stat(file.Path); err == nil && info.Size() == stat.Size {
			return file, nil
		}
	}
	if err := f.copyObject(ctx, store, stat, file); err != nil {
		return File{}, err
	}
	if err := os.MkdirAll(filepath.Dir(stamp), 0o755); err != nil {
		return File{}, err
	}
	return file, os.WriteFile(stamp, []byte(version), 0o644)
}

func (f Finder) copyObject(ctx context.Context, store blob.Store, o blob.Info, file File) error {
	if f.Progress != nil {
		f.Progress(file.Name, 0)
	}
	if file.SHA256 != nil {
		return blob.LoadFile(ctx, store, blob.Ref{Key: o.Key, SHA256: *file.SHA256, Size: o.Size}, file.Path)
	}
	body, _, err := store.Get(ctx, o.Key)
	if err != nil {
		return err
	}
	defer body.Close() //nolint:errcheck // only read from
	return writeBody(file.Path, body, o.Size)
}

// writeBody replaces a file by size bytes of body.
func writeBody(to string, body io.Reader, size int64) (err error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(to), ".fetch-*")
	if err != nil {
		return err
	}
	n, err := io.Copy(file, body)
	if err == nil && n != size {
		err = fmt.Errorf("%w: expected %d bytes, found %d", io.ErrUnexpectedEOF, size, n)
	}
	if err = errors.Join(err, file.Chmod(0o644), file.Close()); err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return os.Rename(file.Name(), to)
}
