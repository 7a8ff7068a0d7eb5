package dataset

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gomlx/go-huggingface/hub"

	"multiattempt/internal/blob"
)

// ErrHub: the Hugging Face Hub could not be reached or does not have what was asked for. Repeating the call may help.
var ErrHub = errors.New("data set not available from the Hugging Face Hub")

// hubFile is one file of a repository, in the local cache.
type hubFile struct {
	local  string
	source string       // "hf:repository@revision/path"
	want   *blob.Digest // what the Hub says the file's digest is, nil when it does not say
}

// fetch returns the data files of one split, in ascending order of their paths. What the cache holds is used without
// asking the network, so a run keeps its revision; HF_TOKEN and HF_ENDPOINT are honoured, the cache is the one that all
// Hugging Face tools share.
func (n named) fetch(ctx context.Context, split string) ([]hubFile, error) {
	repo := hub.New(n.repository).WithType(hub.RepoTypeDataset).WithAuth(os.Getenv("HF_TOKEN"))
	repo.Verbosity = 0
	if err := repo.DownloadInfo(false); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrHub, n.repository, err)
	}
	cache, err := repo.CacheDir()
	if err != nil {
		return nil, fmt.Errorf("%w: cache of %s: %w", ErrHub, n.repository, err)
	}
	var names []string
	digests := map[string]*blob.Digest{}
	for file, err := range repo.IterFileInfos() {
		if err != nil {
			return nil, fmt.Errorf("%w: files of %s: %w", ErrHub, n.repository, err)
		}
		names = append(names, file.Name)
		if file.LFS != nil {
			d, err := blob.ParseDigest(file.LFS.SHA256)
			if err != nil {
				return nil, fmt.Errorf("%w: %s of %s: %w", ErrHub, file.Name, n.repository, err)
			}
			digests[file.Name] = &d
		}
	}
	chosen := chooseFiles(names, n.config, split)
	if len(chosen) == 0 {
		return nil, fmt.Errorf("%w: %s has no .parquet or .jsonl file for split %q among %d files",
			ErrHub, n.repository, split, len(names))
	}
	revision := repo.Info().CommitHash
	files := make([]hubFile, len(chosen))
	for i, name := range chosen {
		local := filepath.Join(cache, "snapshots", revision, filepath.FromSlash(name))
		if _, err := os.Stat(local); err != nil {
			if local, err = repo.DownloadFileCtx(ctx, name); err != nil {
				return nil, fmt.Errorf("%w: download %s of %s: %w", ErrHub, name, n.repository, err)
			}
		}
		files[i] = hubFile{local: local, source: fmt.Sprintf("hf:%s@%s/%s", n.repository, revision, name), want: digests[name]}
	}
	return files, nil
}

// chooseFiles picks a split's data files: those below the folder config (when given) whose file or folder name has the
// split as a word, Parquet before JSONL. A repository with one data file has it for every split.
func chooseFiles(names []string, config, split string) []string {
	for _, ext := range []string{".parquet", ".jsonl"} {
		var all, chosen []string
		for _, name := range names {
			folders := strings.Split(path.Dir(name), "/")
			if path.Ext(name) != ext || config != "" && !slices.Contains(folders, config) {
				continue
			}
			all = append(all, name)
			if slices.Contains(folders, split) || slices.Contains(words(path.Base(name)), split) {
				chosen = append(chosen, name)
			}
		}
		if len(chosen) == 0 && len(all) == 1 {
			chosen = all
		}
		if len(chosen) > 0 {
			slices.Sort(chosen)
			return chosen
		}
	}
	return nil
}

// words splits a file's name at everything that is neither letter nor digit.
func words(name string) []string {
	return strings.FieldsFunc(strings.ToLower(name), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
}
