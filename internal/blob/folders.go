package blob

import (
	"context"
	"strings"
	"time"
)

// FolderLister is a Store that lists the names directly below a prefix without visiting every object.
type FolderLister interface {
	// Folders calls yield with each distinct segment that follows prefix and is itself followed by a slash, ascending.
	// prefix is empty or ends with a slash.
	Folders(ctx context.Context, prefix string, yield func(name string) error) error
}

// Folders returns the folders directly below prefix, ascending. A Store that is no FolderLister is listed whole.
func Folders(ctx context.Context, s Store, prefix string) ([]string, error) {
	var names []string
	add := func(name string) error {
		if len(names) == 0 || names[len(names)-1] != name {
			names = append(names, name)
		}
		return nil
	}
	if l, ok := s.(FolderLister); ok {
		err := l.Folders(ctx, prefix, add)
		return names, err
	}
	err := s.List(ctx, prefix, func(o Info) error {
		if name, _, deeper := strings.Cut(o.Key[len(prefix):], "/"); deeper {
			return add(name)
		}
		return nil
	})
	return names, err
}

// Sweeper is a Store that may hold bytes that belong to no object, such as those of writes that a crash interrupted.
type Sweeper interface {
	// Sweep deletes such bytes where they are older than before, and returns how many pieces and bytes went; dry only counts.
	Sweep(ctx context.Context, before time.Time, dry bool) (pieces int, bytes int64, err error)
}

// UploadSweeper is a Store that takes large objects in parts, which stay when the writer dies in the middle.
type UploadSweeper interface {
	// SweepUploads aborts unfinished writes of keys that start with prefix and began before a time, and returns how many and
	// how many bytes of them went; dry only counts.
	SweepUploads(ctx context.Context, prefix string, before time.Time, dry bool) (uploads int, bytes int64, err error)
}

// OnDisk is a Store that keeps its objects on a disk of this machine.
type OnDisk interface {
	// Dir is a folder on that disk.
	Dir() string
}

// DirOf returns a folder on the disk that a store keeps its objects on; empty: a service keeps them.
func DirOf(s Store) string {
	for {
		if d, ok := s.(OnDisk); ok {
			return d.Dir()
		}
		over, ok := s.(interface{ Unwrap() Store })
		if !ok {
			return ""
		}
		s = over.Unwrap()
	}
}
