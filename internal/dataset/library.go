package dataset

import (
	"context"
	"os"
	"sync"
	"time"
)

// Library keeps the sets that were opened with it, so that a step of training does not read its data again. It may be
// used by several goroutines at once.
type Library struct {
	mu   sync.Mutex
	kept map[request]kept
}

type request struct {
	name    string
	options Options
}

// kept is a set and what its files looked like when it was read.
type kept struct {
	set    *Set
	stamps []stamp
}

type stamp struct {
	size     int64
	modified time.Time
}

// Open is the function Open, remembered for as long as the set's files stay as they were.
func (l *Library) Open(ctx context.Context, name string, o Options) (*Set, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := request{name, o}
	if k, ok := l.kept[key]; ok && k.fresh() {
		return k.set, nil
	}
	set, err := Open(ctx, name, o)
	if err != nil {
		return nil, err
	}
	if l.kept == nil {
		l.kept = map[request]kept{}
	}
	k := kept{set: set}
	for _, f := range set.Files {
		k.stamps = append(k.stamps, stampOf(f))
	}
	l.kept[key] = k
	return set, nil
}

// fresh reports whether no file has changed since the set was read.
func (k kept) fresh() bool {
	for i, f := range k.set.Files {
		if stampOf(f) != k.stamps[i] {
			return false
		}
	}
	return true
}

// stampOf describes a file; one that is gone has the zero stamp.
func stampOf(f File) stamp {
	info, err := os.Stat(f.Path)
	if err != nil {
		return stamp{}
	}
	return stamp{size: info.Size(), modified: info.ModTime()}
}
