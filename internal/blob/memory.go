package blob

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// memory keeps objects in a map; it obeys every sentence of Store's contract and lasts as long as the process.
type memory struct {
	mu      sync.RWMutex
	objects map[string]object
	keys    []string // ascending, the keys of objects
	version int64    // of the newest write
}

type object struct {
	info Info
	data []byte // never written to again
}

var _ Store = (*memory)(nil)

// NewMemory returns an empty Store in memory, for tests.
func NewMemory() Store { return &memory{objects: map[string]object{}} }

// Put implements Store.
func (m *memory) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, opts PutOptions) (Info, error) {
	if err := CheckPut(key, size, opts); err != nil {
		return Info{}, err
	}
	if err := CheckBody(key, body, size); err != nil {
		return Info{}, err
	}
	data, err := io.ReadAll(contextReader{ctx, body})
	if err != nil {
		return Info{}, fmt.Errorf("put %s: %w", key, err)
	}
	if int64(len(data)) != size {
		return Info{}, fmt.Errorf("put %s: %w: announced %d bytes, got %d", key, ErrBodySize, size, len(data))
	}
	info := Info{Key: key, Size: size, SHA256: Sum(data), Modified: time.Now()}

	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return Info{}, err
	}
	old, exists := m.objects[key]
	switch {
	case opts.IfAbsent && exists:
		return Info{}, fmt.Errorf("put %s: %w", key, ErrExists)
	case opts.IfMatch != "" && (!exists || old.info.ETag != opts.IfMatch):
		return Info{}, fmt.Errorf("put %s: %w", key, ErrConflict)
	case !exists:
		if err := m.insertKey(key); err != nil {
			return Info{}, err
		}
	}
	m.version++
	info.ETag = strconv.FormatInt(m.version, 10)
	m.objects[key] = object{info: info, data: data}
	return info, nil
}

// insertKey adds a new key in its place; m.mu is held for writing.
func (m *memory) insertKey(key string) error {
	for i, c := range key {
		if _, taken := m.objects[key[:i]]; c == '/' && taken {
			return fmt.Errorf("%w %q: %q is an object, not a folder", ErrInvalidKey, key, key[:i])
		}
	}
	if i, _ := slices.BinarySearch(m.keys, key+"/"); i < len(m.keys) && strings.HasPrefix(m.keys[i], key+"/") {
		return fmt.Errorf("%w %q: it is the folder of %q", ErrInvalidKey, key, m.keys[i])
	}
	i, _ := slices.BinarySearch(m.keys, key)
	m.keys = slices.Insert(m.keys, i, key)
	return nil
}

// Get implements Store.
func (m *memory) Get(ctx context.Context, key string) (io.ReadCloser, Info, error) {
	o, err := m.find(ctx, key)
	if err != nil {
		return nil, Info{}, err
	}
	return io.NopCloser(contextReader{ctx, bytes.NewReader(o.data)}), o.info, nil
}

// Stat implements Store.
func (m *memory) Stat(ctx context.Context, key string) (Info, error) {
	o, err := m.find(ctx, key)
	return o.info, err
}

func (m *memory) find(ctx context.Context, key string) (object, error) {
	if err := ctx.Err(); err != nil {
		return object{}, err
	}
	if err := CheckKey(key); err != nil {
		return object{}, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	o, ok := m.objects[key]
	if !ok {
		return object{}, fmt.Errorf("%s: %w", key, ErrNotFound)
	}
	return o, nil
}

// List implements Store.
func (m *memory) List(ctx context.Context, prefix string, yield func(Info) error) error {
	m.mu.RLock()
	var found []Info // yield runs without the lock: it may call the store
	first, _ := slices.BinarySearch(m.keys, prefix)
	for _, key := range m.keys[first:] {
		if !strings.HasPrefix(key, prefix) {
			break
		}
		info := m.objects[key].info
		info.SHA256 = Digest{}
		found = append(found, info)
	}
	m.mu.RUnlock()
	for _, info := range found {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := yield(info); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Delete implements Store.
func (m *memory) Delete(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := CheckKey(key); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.objects[key]; ok {
		delete(m.objects, key)
		i, _ := slices.BinarySearch(m.keys, key)
		m.keys = slices.Delete(m.keys, i, i+1)
	}
	return nil
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
