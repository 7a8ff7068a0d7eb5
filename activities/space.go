package activities

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// ErrNoRoom: the local disk cannot hold a learner's state on its way to the store. It may pass: the activity is retried.
var ErrNoRoom = errors.New("local disk is nearly full: free some, or name a cache_dir on a larger disk; the run goes on by itself")

// room makes sure, before anything is written, that dir's disk can hold the state that the learner is about to write: half
// as much again as the last one.
func (l *Learner) room(dir string) error {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err != nil {
		return fmt.Errorf("free space of %s: %w", dir, err)
	}
	free := int64(disk.Bavail) * int64(disk.Bsize) //nolint:unconvert // its type differs between systems
	if need := l.stateBytes + l.stateBytes/2; free < need {
		return fmt.Errorf("%w (%s has %d MB, a checkpoint needs %d MB)", ErrNoRoom, dir, free>>20, need>>20)
	}
	return nil
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
