package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"multiattempt/internal/blob"
)

// transfers is the number of a checkpoint's parts that move at the same time.
const transfers = 4

// maxSmall bounds what is read whole without knowing its size before: manifests and pointers.
const maxSmall = 16 << 20

// readSmall reads an object whose digest is not known.
func readSmall(ctx context.Context, s blob.Store, key string) ([]byte, blob.Info, error) {
	body, info, err := s.Get(ctx, key)
	if err != nil {
		return nil, info, fmt.Errorf("load %s: %w", key, err)
	}
	defer body.Close() //nolint:errcheck // only read from
	b, err := io.ReadAll(io.LimitReader(body, maxSmall+1))
	if err != nil {
		return nil, info, fmt.Errorf("load %s: %w", key, err)
	}
	if len(b) > maxSmall {
		return nil, info, fmt.Errorf("%w: %s is larger than %d bytes", blob.ErrCorrupt, key, maxSmall)
	}
	return b, info, nil
}

// eachPart calls f for every index below n, several at the same time; the first error ends it.
func eachPart(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(transfers)
	for i := range n {
		group.Go(func() error { return f(ctx, i) })
	}
	return group.Wait()
}

// getFile writes the object that ref names to a local file and verifies it. A mismatch is read once more, since a store
// may serve a torn read; then it is a *blob.CorruptError.
func getFile(ctx context.Context, s blob.Store, ref blob.Ref, to string) error {
	if to != os.DevNull {
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
	}
	var corrupt *blob.CorruptError
	for range 2 {
		got, size, err := copyObject(ctx, s, ref.Key, to)
		if err != nil {
			return err
		}
		if got == ref.SHA256 && size == ref.Size {
			return nil
		}
		corrupt = &blob.CorruptError{Key: ref.Key, Want: ref.SHA256, Got: got, WantSize: ref.Size, GotSize: size}
	}
	return corrupt
}

func copyObject(ctx context.Context, s blob.Store, key, to string) (got blob.Digest, size int64, err error) {
	body, _, err := s.Get(ctx, key)
	if err != nil {
		return got, 0, fmt.Errorf("load %s: %w", key, err)
	}
	defer body.Close() //nolint:errcheck // only read from
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return got, 0, err
	}
	got, size, err = blob.CopySum(f, body)
	if err = errors.Join(err, f.Close()); err != nil {
		return got, 0, fmt.Errorf("load %s: %w", key, err)
	}
	return got, size, nil
}
