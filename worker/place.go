package worker

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gofrs/flock"
)

// place is a folder that belongs to this process alone while it lives, and a name that goes with the folder: a worker
// that comes back after a crash takes the same place, hence the same task queue, and finds its learner's work waiting.
type place struct {
	dir  string
	name string
	lock *flock.Flock
}

// maxPlaces bounds the worker processes of one cache directory.
const maxPlaces = 1024

// claim takes the first free place below the cache directory.
func claim(cacheDir string) (*place, error) {
	for i := range maxPlaces {
		dir := filepath.Join(cacheDir, "workers", strconv.Itoa(i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("worker's folder: %w; name another with cache_dir", err)
		}
		lock := flock.New(filepath.Join(dir, "lock"))
		free, err := lock.TryLock()
		if err != nil {
			return nil, fmt.Errorf("lock worker's folder %s: %w", dir, err)
		}
		if !free {
			continue
		}
		name, err := nameOf(dir)
		if err != nil {
			return nil, errors.Join(err, lock.Unlock())
		}
		return &place{dir: dir, name: name, lock: lock}, nil
	}
	return nil, fmt.Errorf("%s holds %d workers already", cacheDir, maxPlaces)
}

// release lets another process take the place.
func (p *place) release() error { return p.lock.Unlock() }

// nameOf reads the place's name, or makes one: the host's name for people, random digits against a second host of that
// name.
func nameOf(dir string) (string, error) {
	path := filepath.Join(dir, "name")
	b, err := os.ReadFile(path)
	if name := strings.TrimSpace(string(b)); err == nil && name != "" {
		return name, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "worker"
	}
	var digits [4]byte
	if _, err := rand.Read(digits[:]); err != nil {
		return "", err
	}
	name := host + "-" + hex.EncodeToString(digits[:])
	return name, os.WriteFile(path, []byte(name+"\n"), 0o644)
}
