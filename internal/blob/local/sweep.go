package local

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"multiattempt/internal/blob"
)

var _ blob.Sweeper = (*Store)(nil)

// Sweep implements blob.Sweeper: it looks at the files of ROOT/data that no object's link leads to.
func (s *Store) Sweep(ctx context.Context, before time.Time, dry bool) (pieces int, bytes int64, err error) {
	err = s.locked(func() error {
		linked := map[string]bool{}
		err := filepath.WalkDir(s.path(""), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return errors.Join(err, ctx.Err())
			}
			to, err := os.Readlink(path)
			linked[filepath.Base(to)] = true
			return err
		})
		if err != nil {
			return err
		}
		entries, err := os.ReadDir(s.data(""))
		for _, e := range entries {
			i, infoErr := e.Info()
			if infoErr != nil || linked[e.Name()] || !i.ModTime().Before(before) {
				continue // gone meanwhile, an object's, or on its way to be one
			}
			pieces, bytes = pieces+1, bytes+i.Size()
			if !dry {
				err = errors.Join(err, os.Remove(s.data(e.Name())))
			}
		}
		return err
	})
	return pieces, bytes, err
}
