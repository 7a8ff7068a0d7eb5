package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// PutStream is Put for what does not fit into memory: body is read twice, once for its digest.
func PutStream(ctx context.Context, s Store, body io.ReadSeeker) (Ref, error) {
	d, size, err := SumStream(body)
	if err != nil {
		return Ref{}, err
	}
	ref := Ref{Key: ContentKey(d), SHA256: d, Size: size}
	if o, err := s.Stat(ctx, ref.Key); err == nil && o.Size == size && o.SHA256 == d {
		return ref, renew(ctx, s, ref, func() (io.ReadSeeker, error) { return body, nil })
	}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return Ref{}, err
	}
	_, err = s.Put(ctx, ref.Key, body, size, PutOptions{IfAbsent: true, SHA256: d})
	if err != nil && !errors.Is(err, ErrExists) {
		return Ref{}, fmt.Errorf("put %s: %w", ref.Key, err)
	}
	if err != nil { // its bytes are found out on load
		if err := loadTo(ctx, s, ref, io.Discard); err != nil {
			return Ref{}, err
		}
	}
	return ref, nil
}

// Ensure stores body as the very object that ref names, unless it is there already. The right bytes under the key are never
// replaced, whatever another writer believes; wrong ones are.
func Ensure(ctx context.Context, s Store, ref Ref, body io.ReadSeeker) error {
	same := func(o Info) bool { return o.Size == ref.Size && o.SHA256 == ref.SHA256 }
	opts := PutOptions{SHA256: ref.SHA256, IfAbsent: true}
	if o, err := s.Stat(ctx, ref.Key); err == nil {
		if same(o) {
			return nil
		}
		opts.IfAbsent, opts.IfMatch = false, o.ETag
	}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return err
	}
	stored, err := s.Put(ctx, ref.Key, body, ref.Size, opts)
	if errors.Is(err, ErrExists) || errors.Is(err, ErrConflict) { // another writer was faster
		if now, serr := s.Stat(ctx, ref.Key); serr == nil && same(now) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("put %s: %w", ref.Key, err)
	}
	if !stored.SHA256.IsZero() && stored.SHA256 != ref.SHA256 {
		return &CorruptError{Key: ref.Key, Want: ref.SHA256, Got: stored.SHA256, WantSize: ref.Size, GotSize: stored.Size}
	}
	return nil
}

// SumStream returns the digest of all that r gives, and how many bytes there are.
func SumStream(r io.Reader) (Digest, int64, error) { return CopySum(io.Discard, r) }

// SumFile is SumStream of a local file.
func SumFile(path string) (Digest, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return Digest{}, 0, err
	}
	defer f.Close() //nolint:errcheck // only read from
	return SumStream(f)
}

// EnsureFile is Ensure of a local file.
func EnsureFile(ctx context.Context, s Store, ref Ref, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read from
	return Ensure(ctx, s, ref, f)
}

// LoadFile writes the object that ref names to a local file, whose folder is made if needed, and checks size and digest
// as Load does. The file appears under its name when it is whole.
func LoadFile(ctx context.Context, s Store, ref Ref, path string) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".load-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	err = loadTo(ctx, s, ref, file)
	if errors.Is(err, ErrCorrupt) { // a store may serve a torn read
		if err = rewind(file); err == nil {
			err = loadTo(ctx, s, ref, file)
		}
	}
	if err = errors.Join(err, file.Chmod(0o644), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

func rewind(file *os.File) error {
	_, err := file.Seek(0, io.SeekStart)
	return errors.Join(err, file.Truncate(0))
}

// loadTo copies the object that ref names and compares size and digest.
func loadTo(ctx context.Context, s Store, ref Ref, to io.Writer) error {
	body, _, err := s.Get(ctx, ref.Key)
	if err != nil {
		return fmt.Errorf("load %s: %w", ref.Key, err)
	}
	got, size, err := CopySum(to, body)
	if err = errors.Join(err, body.Close()); err != nil {
		return fmt.Errorf("load %s: %w", ref.Key, err)
	}
	if got != ref.SHA256 || size != ref.Size {
		return &CorruptError{Key: ref.Key, Want: ref.SHA256, Got: got, WantSize: ref.Size, GotSize: size}
	}
	return nil
}
