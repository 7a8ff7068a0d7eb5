package hub

import (
	"context"
	"crypto/sha1" //nolint:gosec // Git's object names
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"

	"multiattempt/internal/blob"
)

// Fetch returns the path of a file in the cache, after downloading it if it is not there. A download that was cut off
// goes on where it stopped. progress, when not nil, is told the bytes done so far.
func (r *Repository) Fetch(ctx context.Context, name string, progress func(done int64)) (string, error) {
	f, ok := r.files[name]
	if !ok || !filepath.IsLocal(filepath.FromSlash(name)) {
		return "", fmt.Errorf("%w: %s has no file %s at %s", ErrMissing, r.ID, name, r.Commit)
	}
	local := r.dir("snapshots", r.Commit, filepath.FromSlash(name))
	if _, err := os.Stat(local); err == nil {
		return local, nil
	}
	if r.client.Offline {
		return "", fmt.Errorf("%w: %s of %s at %s", ErrOffline, name, r.ID, r.Commit)
	}
	object := r.dir("blobs", f.object(r.Commit, name))
	if err := os.MkdirAll(filepath.Dir(object), 0o755); err != nil {
		return "", err
	}
	lock := flock.New(object + ".lock")
	if _, err := lock.TryLockContext(ctx, 100*time.Millisecond); err != nil {
		return "", fmt.Errorf("wait for another download of %s: %w", name, err)
	}
	defer lock.Unlock() //nolint:errcheck // closing the file unlocks it
	if _, err := os.Stat(object); err != nil {
		if err := r.download(ctx, name, f, object, progress); err != nil {
			return "", fmt.Errorf("%s of %s: %w", name, r.ID, err)
		}
	}
	return local, link(object, local)
}

// object is the name under which huggingface_hub keeps a file's bytes.
func (f File) object(commit, name string) string {
	switch {
	case f.SHA256 != nil:
		return f.SHA256.String()
	case f.Git != "":
		return f.Git
	}
	return blob.Sum([]byte(commit + "/" + name)).String()
}

// link makes a snapshot's file a relative link to the object.
func link(object, local string) error {
	if err := os.MkdirAll(filepath.Dir(local), 0o755); err != nil {
		return err
	}
	to, err := filepath.Rel(filepath.Dir(local), object)
	if err != nil {
		return err
	}
	return renameio.Symlink(to, local)
}

// download writes a file's bytes to object, checked.
func (r *Repository) download(ctx context.Context, name string, f File, object string, progress func(int64)) error {
	part := object + ".incomplete"
	file, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	done, err := r.append(ctx, file, name, f, progress)
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := f.verify(part, done); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return os.Rename(part, object)
}

// append downloads what the file lacks, and returns its length.
func (r *Repository) append(ctx context.Context, file *os.File, name string, f File, progress func(int64)) (int64, error) {
	done, err := file.Seek(0, io.SeekEnd)
	if err == nil && f.Size >= 0 && done > f.Size { // of another version
		done, err = 0, file.Truncate(0)
	}
	if err != nil || done == f.Size {
		return done, err
	}
	var path []string
	for part := range strings.SplitSeq(name, "/") {
		path = append(path, url.PathEscape(part))
	}
	address := fmt.Sprintf("%s/%s/resolve/%s/%s", r.client.Endpoint, r.ID, r.Commit, strings.Join(path, "/"))
	body, err := r.client.get(ctx, address, done)
	if err != nil {
		return done, err
	}
	defer body.Close() //nolint:errcheck // only read from
	if !body.partial { // the Hub sends all of it
		if done, err = 0, file.Truncate(0); err != nil {
			return done, err
		}
	}
	if _, err := file.Seek(done, io.SeekStart); err != nil {
		return done, err
	}
	buffer := make([]byte, 1<<20)
	for {
		n, readErr := body.Read(buffer)
		if _, err := file.Write(buffer[:n]); err != nil {
			return done, err
		}
		done += int64(n)
		if progress != nil {
			progress(done)
		}
		if errors.Is(readErr, io.EOF) {
			return done, nil
		}
		if readErr != nil {
			return done, fmt.Errorf("%w: after %d bytes: %w", ErrUnavailable, done, readErr)
		}
	}
}

// verify compares a downloaded file with what the Hub says of it.
func (f File) verify(path string, size int64) error {
	if f.Size >= 0 && size != f.Size {
		return fmt.Errorf("%w: expected %d bytes, found %d", ErrCorrupt, f.Size, size)
	}
	var h hash.Hash
	var want string
	switch {
	case f.SHA256 != nil:
		h, want = sha256.New(), f.SHA256.String()
	case f.Git != "":
		h, want = sha1.New(), f.Git //nolint:gosec // Git's object names
		fmt.Fprintf(h, "blob %d\x00", size)
	default:
		return nil
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // only read from
	if _, err := io.Copy(h, file); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return fmt.Errorf("%w: expected hash %s, found %s", ErrCorrupt, want, got)
	}
	return nil
}

// answer is the body of a successful answer.
type answer struct {
	io.ReadCloser
	partial bool // it begins at the wanted byte, not at the first
}

// get asks for an address, from byte begin on. The token goes to the endpoint only, not where it redirects.
func (c Client) get(ctx context.Context, address string, begin int64) (*answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMissing, err)
	}
	request.Header.Set("User-Agent", "multiattempt")
	request.Header.Set("Accept-Encoding", "identity") // lengths and ranges are those of the file
	if c.Token != "" {
		request.Header.Set("Authorization", "Bearer "+c.Token)
	}
	if begin > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", begin))
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	switch code := response.StatusCode; code {
	case http.StatusOK, http.StatusPartialContent:
		return &answer{response.Body, code == http.StatusPartialContent}, nil
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		hint := "check the name and the revision; private and gated repositories need HF_TOKEN"
		if c.Token != "" {
			hint = "check the name and the revision, and that the token may read the repository"
		}
		return nil, errors.Join(fmt.Errorf("%w: %s answered %s; %s", ErrMissing, c.Endpoint, response.Status, hint), response.Body.Close())
	default:
		return nil, errors.Join(fmt.Errorf("%w: %s answered %s", ErrUnavailable, c.Endpoint, response.Status), response.Body.Close())
	}
}

// writeFile replaces a file at once, and makes its folder.
func writeFile(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return renameio.WriteFile(path, b, 0o644)
}
