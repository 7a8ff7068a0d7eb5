package activities

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"multiattempt/internal/blob"
)

// ErrNoRoom: a disk cannot hold a learner's state. It may pass: the activity is retried.
var ErrNoRoom = errors.New("no room for a learner's state: free some; the run goes on by itself")

// disk is a file system.
type disk struct {
	free int64  // bytes, for this process
	id   string // equal for folders on the same one
}

// statfs describes the file system that dir is on.
func statfs(dir string) (disk, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return disk{}, fmt.Errorf("free space of %s: %w", dir, err)
	}
	free := int64(s.Bavail) * int64(s.Bsize) //nolint:unconvert // types differ between systems
	return disk{free: free, id: fmt.Sprint(s.Fsid)}, nil
}

// room makes sure, before anything is written, that dir's disk can hold a state of about so many bytes: half as much again. A
// state that is to be stored needs as much on the disk of a folder store, beside the copy in dir where both are one disk. A
// service's disk is not known: it says when it is full, and the activity is retried.
func (l *Learner) room(dir string, bytes int64, stored bool) error {
	need := bytes + bytes/2
	here, err := l.statfs(dir)
	if err != nil {
		return err
	}
	if here.free < need {
		return noRoom(here.free, need, "the local copy in "+dir+", or name a cache_dir on a larger disk")
	}
	objects := blob.DirOf(l.store)
	if !stored || objects == "" {
		return nil
	}
	there, err := l.statfs(objects)
	if err != nil {
		return err
	}
	if there.id == here.id {
		need *= 2
	}
	if there.free < need {
		return noRoom(there.free, need, "the checkpoint in the object folder "+objects+" (store.dir)")
	}
	return nil
}

func noRoom(free, need int64, what string) error {
	return fmt.Errorf("%w (%d MB are free, %d MB are needed for %s)", ErrNoRoom, free>>20, need>>20, what)
}

// treeBytes is the size of all files below dir.
func treeBytes(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n
}
