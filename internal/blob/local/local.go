// Package local keeps objects in a folder of this machine's disk, for one machine without an S3 service.
//
// An object KEY is the symbolic link ROOT/objects/KEY, and its bytes lie in ROOT/data under a name that holds their digest.
// Bytes, link and the folders on the way are flushed to disk before a write is acknowledged, and a link appears, moves and
// goes in one step: a crash leaves the object as it was before the write or after it.
package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/gofrs/flock"

	"multiattempt/internal/blob"
)

// ErrFull: the disk has no room for an object. It may pass with time.
var ErrFull = errors.New("disk of the object folder is full: free some, the run goes on by itself")

// Store is a folder.
type Store struct {
	root string // absolute
	fast bool   // leave flushing to the system: for tests of everything but durability
}

var (
	_ blob.Store  = (*Store)(nil)
	_ blob.OnDisk = (*Store)(nil)
)

// Open returns the store in dir, which is made if it is missing.
func Open(dir string) (*Store, error) {
	root, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{root: root}
	for _, sub := range []string{s.path(""), s.data("")} {
		if err := os.MkdirAll(sub, 0o700); err != nil {
			return nil, fmt.Errorf("object folder: %w", err)
		}
	}
	return s, nil
}

// Dir implements blob.OnDisk.
func (s *Store) Dir() string { return s.root }

func (s *Store) path(key string) string {
	return filepath.Join(s.root, "objects", filepath.FromSlash(key))
}

func (s *Store) data(name string) string { return filepath.Join(s.root, "data", name) }

// locked runs f while no other process or goroutine changes a link.
func (s *Store) locked(f func() error) error {
	lock := flock.New(filepath.Join(s.root, "lock")) // its own file handle: it excludes goroutines, too
	if err := lock.Lock(); err != nil {
		return fmt.Errorf("lock object folder: %w", err)
	}
	return errors.Join(f(), lock.Unlock())
}

// Put implements blob.Store.
func (s *Store) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, opts blob.PutOptions) (info blob.Info, err error) {
	if err := blob.CheckPut(key, size, opts); err != nil {
		return info, err
	}
	if err := blob.CheckBody(key, body, size); err != nil {
		return info, err
	}
	name, err := s.write(ctx, body, size, opts.SHA256)
	if err != nil {
		return info, explain("put", key, err)
	}
	written, err := os.Stat(s.data(name))
	if err != nil {
		return info, explain("put", key, err)
	}
	var old string
	err = s.locked(func() (err error) {
		if err := ctx.Err(); err != nil {
			return err
		}
		old, err = s.link(key, name, opts)
		return err
	})
	if err != nil {
		return info, errors.Join(explain("put", key, err), os.Remove(s.data(name)))
	}
	if old != "" {
		_ = os.Remove(s.data(old)) // a leftover takes room and no more
	}
	return s.info(key, name, written), nil
}

// write stores the bytes under a new name, flushed to disk. Their digest is known, or zero.
func (s *Store) write(ctx context.Context, body io.Reader, size int64, digest blob.Digest) (name string, err error) {
	f, err := os.CreateTemp(s.data(""), "writing-*")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	var n int64
	if digest.IsZero() {
		digest, n, err = blob.CopySum(f, contextReader{ctx, body})
	} else {
		n, err = s.copyWithin(ctx, f, body)
	}
	if err == nil && n != size {
		err = fmt.Errorf("%w: announced %d bytes, got %d", blob.ErrBodySize, size, n)
	}
	if err == nil && !s.fast {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	name = digest.String() + "-" + rand.Text()[:12]
	if err := os.Rename(f.Name(), s.data(name)); err != nil {
		return "", err
	}
	return name, s.flush(s.data(""))
}

// copyChunk is how much is copied before the context is asked, in bytes.
const copyChunk = 16 << 20

// copyWithin copies body to f. Where body is a file, the system does, without the bytes ever being here.
func (s *Store) copyWithin(ctx context.Context, f *os.File, body io.Reader) (n int64, err error) {
	for err == nil {
		if err = ctx.Err(); err == nil {
			var k int64
			k, err = io.CopyN(f, body, copyChunk)
			if !s.fast {
				startFlush(f, n, k)
			}
			n += k
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// link makes key refer to the bytes called name and returns the name of those it referred to before. The lock is held.
func (s *Store) link(key, name string, opts blob.PutOptions) (old string, err error) {
	at := s.path(key)
	old, err = s.target(key)
	switch {
	case err != nil && !errors.Is(err, blob.ErrNotFound):
		return "", err
	case err == nil && opts.IfAbsent:
		return "", blob.ErrExists
	case opts.IfMatch != "" && (err != nil || old != opts.IfMatch):
		return "", blob.ErrConflict
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return "", err
	}
	removeEmpty(at) // what is left of keys below this one
	to, err := filepath.Rel(filepath.Dir(at), s.data(name))
	if err != nil {
		return "", err
	}
	next := s.data("link-" + rand.Text())
	if err := os.Symlink(to, next); err != nil {
		return "", err
	}
	if err := os.Rename(next, at); err != nil {
		return "", errors.Join(err, os.Remove(next))
	}
	return old, s.flushUp(filepath.Dir(at))
}

// flushUp makes a folder's entries durable, and those of the folders that lead to it.
func (s *Store) flushUp(dir string) error {
	for ; len(dir) > len(s.root); dir = filepath.Dir(dir) {
		if err := s.flush(dir); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) flush(dir string) error {
	if s.fast {
		return nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// removeEmpty removes a folder that holds nothing but empty folders; anything else stays.
func removeEmpty(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.IsDir() {
			removeEmpty(filepath.Join(dir, e.Name()))
		}
	}
	_ = os.Remove(dir) // fails when something is left in it
}

// target returns the name of the bytes that key refers to: the object's version.
func (s *Store) target(key string) (string, error) {
	to, err := os.Readlink(s.path(key))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTDIR) { // EINVAL: a folder
		return "", blob.ErrNotFound
	}
	return filepath.Base(to), err
}

func (s *Store) describe(key, name string) (blob.Info, error) {
	i, err := os.Stat(s.data(name))
	if errors.Is(err, fs.ErrNotExist) {
		return blob.Info{}, fmt.Errorf("%s: %w", key, blob.ErrNotFound) // replaced or deleted meanwhile
	}
	if err != nil {
		return blob.Info{}, err
	}
	return s.info(key, name, i), nil
}

func (s *Store) info(key, name string, i fs.FileInfo) blob.Info {
	digits, _, _ := strings.Cut(name, "-")
	d, err := blob.ParseDigest(digits)
	if err != nil {
		d = blob.Digest{}
	}
	return blob.Info{Key: key, Size: i.Size(), ETag: name, SHA256: d, Modified: i.ModTime()}
}

// Get implements blob.Store.
func (s *Store) Get(ctx context.Context, key string) (io.ReadCloser, blob.Info, error) {
	for {
		if err := check(ctx, key); err != nil {
			return nil, blob.Info{}, err
		}
		name, err := s.target(key)
		if err != nil {
			return nil, blob.Info{}, explain("get", key, err)
		}
		f, err := os.Open(s.data(name))
		if errors.Is(err, fs.ErrNotExist) {
			if now, terr := s.target(key); terr == nil && now == name {
				return nil, blob.Info{}, fmt.Errorf("get %s: %w: its bytes are gone from %s", key, blob.ErrCorrupt, s.data(name))
			}
			continue // replaced meanwhile
		}
		if err != nil {
			return nil, blob.Info{}, explain("get", key, err)
		}
		i, err := f.Stat()
		if err != nil {
			return nil, blob.Info{}, errors.Join(explain("get", key, err), f.Close())
		}
		return file{contextReader{ctx, f}, f}, s.info(key, name, i), nil
	}
}

// file is an open object.
type file struct {
	io.Reader
	io.Closer
}

// Stat implements blob.Store.
func (s *Store) Stat(ctx context.Context, key string) (blob.Info, error) {
	if err := check(ctx, key); err != nil {
		return blob.Info{}, err
	}
	for {
		name, err := s.target(key)
		if err != nil {
			return blob.Info{}, explain("stat", key, err)
		}
		info, err := s.describe(key, name)
		if now, terr := s.target(key); errors.Is(err, blob.ErrNotFound) && terr == nil && now != name {
			continue
		}
		return info, err
	}
}

// List implements blob.Store.
func (s *Store) List(ctx context.Context, prefix string, yield func(blob.Info) error) error {
	root := s.path("")
	var keys []string
	below := root
	if at := strings.LastIndexByte(prefix, '/'); at > 0 {
		below = s.path(prefix[:at])
	}
	err := filepath.WalkDir(below, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			return nil // gone since it was listed, or never there
		}
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, path)
		if key := filepath.ToSlash(name); err == nil && strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
		return errors.Join(err, ctx.Err())
	})
	if err != nil {
		return explain("list", prefix, err)
	}
	slices.Sort(keys)
	for _, key := range keys {
		info, err := s.Stat(ctx, key)
		if errors.Is(err, blob.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		info.SHA256 = blob.Digest{}
		if err := yield(info); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Delete implements blob.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	err := s.locked(func() error {
		name, err := s.target(key)
		if errors.Is(err, blob.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		at := s.path(key)
		if err := os.Remove(at); err != nil {
			return err
		}
		dir := filepath.Dir(at)
		if err := s.flushUp(dir); err != nil {
			return err
		}
		for ; dir != s.path("") && os.Remove(dir) == nil; dir = filepath.Dir(dir) { // empty now
		}
		return os.Remove(s.data(name))
	})
	return explain("delete", key, err)
}

func check(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return blob.CheckKey(key)
}

// explain adds operation and key, and says what to do about what a disk may answer.
func explain(op, key string, err error) error {
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%s %s: %w (%w)", op, key, ErrFull, err)
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ENOTEMPTY), errors.Is(err, fs.ErrExist) && !errors.Is(err, blob.ErrExists):
		return fmt.Errorf("%s %s: %w: a key is never the folder of another", op, key, blob.ErrInvalidKey)
	}
	return fmt.Errorf("%s %s: %w", op, key, err)
}

// contextReader ends reading when its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
