// Package hub keeps model repositories of the Hugging Face Hub in the cache that all of its tools share.
//
// What the cache holds is used without asking the network, so a branch keeps the commit that it had when it was first
// asked for. Every file is checked when it is downloaded: size, and the SHA-256 or Git hash that the Hub gives.
package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"multiattempt/internal/blob"
)

var (
	// ErrMissing: the Hub has no such repository, revision or file, or does not show it to this user. Repeating the call
	// does not help.
	ErrMissing = errors.New("not on the Hugging Face Hub")
	// ErrOffline: the cache lacks what was asked for, and HF_HUB_OFFLINE forbids to fetch it.
	ErrOffline = errors.New("not in the cache, and HF_HUB_OFFLINE is set")
	// ErrUnavailable: the Hub cannot be reached or failed. Repeating the call may help.
	ErrUnavailable = errors.New("the Hugging Face Hub is not available")
	// ErrCorrupt: a downloaded file is not what the Hub says. It is not kept; repeating the call may help.
	ErrCorrupt = errors.New("the downloaded file is not what the Hub says")
)

// Client reaches one Hub and one cache.
type Client struct {
	Endpoint string // without a slash at its end
	Token    string // empty: anonymous
	Cache    string // directory with the layout of huggingface_hub
	Offline  bool
	HTTP     *http.Client
}

// FromEnvironment follows the variables of Hugging Face's tools: HF_ENDPOINT, HF_TOKEN or the token file of
// `hf auth login` (HF_TOKEN_PATH), HF_HUB_CACHE or HF_HOME or XDG_CACHE_HOME, HF_HUB_OFFLINE.
func FromEnvironment() Client {
	home := firstSet(os.Getenv("HF_HOME"), filepath.Join(firstSet(os.Getenv("XDG_CACHE_HOME"), filepath.Join(os.Getenv("HOME"), ".cache")), "huggingface"))
	token := os.Getenv("HF_TOKEN")
	if token == "" {
		text, err := os.ReadFile(firstSet(os.Getenv("HF_TOKEN_PATH"), filepath.Join(home, "token")))
		if err == nil { // without a token file, public repositories can still be had
			token = strings.TrimSpace(string(text))
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = time.Minute
	return Client{
		Endpoint: strings.TrimSuffix(firstSet(os.Getenv("HF_ENDPOINT"), "https://huggingface.co"), "/"),
		Token:    token,
		Cache:    firstSet(os.Getenv("HF_HUB_CACHE"), filepath.Join(home, "hub")),
		Offline:  slices.Contains([]string{"1", "true", "yes", "on"}, strings.ToLower(os.Getenv("HF_HUB_OFFLINE"))),
		HTTP:     &http.Client{Transport: transport},
	}
}

func firstSet(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// Repository is one commit of a model repository.
type Repository struct {
	ID     string
	Commit string

	client Client
	files  map[string]File
}

// File is what the Hub says of a file.
type File struct {
	Size   int64        `json:"size"` // -1: unknown
	SHA256 *blob.Digest `json:"sha256,omitempty"`
	Git    string       `json:"git,omitempty"` // hash of Git's blob object, 40 hexadecimal digits
}

var (
	commitPattern = regexp.MustCompile(`^[0-9a-f]{40}$`)
	idPattern     = regexp.MustCompile(`^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9_][\w.-]*)?$`)
)

// Open finds a repository's commit and its list of files, in the cache or on the Hub. revision is a branch, a tag or a
// commit; empty means main.
func (c Client) Open(ctx context.Context, id, revision string) (*Repository, error) {
	if revision == "" {
		revision = "main"
	}
	if !idPattern.MatchString(id) || strings.Contains(id, "..") || strings.Contains(revision, "..") {
		return nil, fmt.Errorf("%w: %q at revision %q is no repository's name; expected ORGANISATION/NAME", ErrMissing, id, revision)
	}
	r := &Repository{ID: id, client: c, Commit: revision}
	if !commitPattern.MatchString(revision) {
		text, err := os.ReadFile(r.dir("refs", filepath.FromSlash(revision)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		r.Commit = strings.TrimSpace(string(text))
	}
	if r.Commit != "" {
		if text, err := os.ReadFile(r.listFile()); err == nil && json.Unmarshal(text, &r.files) == nil {
			return r, nil
		}
	}
	if c.Offline {
		return r, r.cached(revision)
	}
	return r, r.ask(ctx, revision)
}

// dir is a path in the repository's part of the cache.
func (r *Repository) dir(parts ...string) string {
	return filepath.Join(append([]string{r.client.Cache, "models--" + strings.ReplaceAll(r.ID, "/", "--")}, parts...)...)
}

// listFile keeps the list of a commit's files, beside what huggingface_hub keeps.
func (r *Repository) listFile() string { return r.dir("info", r.Commit+".json") }

// cached lists the files of a snapshot that another tool made.
func (r *Repository) cached(revision string) error {
	root := r.dir("snapshots", r.Commit)
	r.files = map[string]File{}
	if r.Commit != "" {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			name, err := filepath.Rel(root, path)
			f := File{Size: -1}
			if to, linkErr := os.Readlink(path); linkErr == nil { // huggingface_hub names large files by their digest
				if d, parseErr := blob.ParseDigest(filepath.Base(to)); parseErr == nil {
					f.SHA256 = &d
				}
			}
			r.files[filepath.ToSlash(name)] = f
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if len(r.files) == 0 {
		return fmt.Errorf("%w: %s at revision %s in %s", ErrOffline, r.ID, revision, r.client.Cache)
	}
	return nil
}

// ask gets commit and list of files from the Hub and keeps both.
func (r *Repository) ask(ctx context.Context, revision string) error {
	address := fmt.Sprintf("%s/api/models/%s/revision/%s?blobs=true", r.client.Endpoint, r.ID, url.PathEscape(revision))
	body, err := r.client.get(ctx, address, 0)
	if err != nil {
		return fmt.Errorf("%s at revision %s: %w", r.ID, revision, err)
	}
	defer body.Close() //nolint:errcheck // only read from
	var answer struct {
		SHA      string `json:"sha"`
		Siblings []struct {
			Name string `json:"rfilename"`
			Size *int64 `json:"size"`
			Git  string `json:"blobId"`
			LFS  *struct {
				SHA256 string `json:"sha256"`
			} `json:"lfs"`
		} `json:"siblings"`
	}
	if err := json.NewDecoder(io.LimitReader(body, 64<<20)).Decode(&answer); err != nil {
		return fmt.Errorf("%w: list of files of %s: %w", ErrUnavailable, r.ID, err)
	}
	if !commitPattern.MatchString(answer.SHA) {
		return fmt.Errorf("%w: %s: the Hub names the commit %q", ErrUnavailable, r.ID, answer.SHA)
	}
	r.Commit, r.files = answer.SHA, map[string]File{}
	for _, s := range answer.Siblings {
		f := File{Size: -1, Git: s.Git}
		if s.Size != nil {
			f.Size = *s.Size
		}
		if s.LFS != nil {
			d, err := blob.ParseDigest(s.LFS.SHA256)
			if err != nil {
				return fmt.Errorf("%w: %s of %s: %w", ErrUnavailable, s.Name, r.ID, err)
			}
			f.SHA256, f.Git = &d, "" // what Git holds of such a file is a pointer
		}
		r.files[s.Name] = f
	}
	return r.remember(revision)
}

// remember keeps the list, and which commit the revision is.
func (r *Repository) remember(revision string) error {
	list, err := json.Marshal(r.files)
	if err != nil {
		return err
	}
	if err := writeFile(r.listFile(), list); err != nil {
		return err
	}
	if revision == r.Commit {
		return nil
	}
	return writeFile(r.dir("refs", filepath.FromSlash(revision)), []byte(r.Commit))
}

// Names lists the repository's files, ascending.
func (r *Repository) Names() []string {
	names := make([]string, 0, len(r.files))
	for name := range r.files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// File is what is known of a file.
func (r *Repository) File(name string) (File, bool) {
	f, ok := r.files[name]
	return f, ok
}
