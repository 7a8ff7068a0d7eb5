// Package blobtest checks that an implementation of blob.Store keeps every sentence of its contract.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
)

// Run checks the store that open returns; open is called once for each property and may return the same store: the
// properties use keys of their own.
func Run(t *testing.T, open func(t *testing.T) blob.Store) {
	for name, check := range map[string]func(*testing.T, blob.Store){
		"what was put is got back":               roundTrip,
		"sizes at the edges":                     sizes,
		"missing objects":                        missing,
		"keys that break the rules":              badKeys,
		"keys and their folders":                 folders,
		"bodies of another size than announced":  wrongSizes,
		"bodies that fail":                       failingBodies,
		"a body is read from its start":          rewound,
		"overwriting":                            overwrite,
		"creating only when absent":              ifAbsent,
		"replacing only what was seen":           ifMatch,
		"deleting":                               deletion,
		"listing in order":                       listing,
		"listing many":                           listingMany,
		"listing folders":                        listingFolders,
		"listing ends with its caller's error":   listingStops,
		"a cancelled context":                    cancelled,
		"one creator of many wins":               createRace,
		"no increment of many is lost":           incrementRace,
		"no reader sees a mixture of two writes": tornReads,
		"writing beside deleting":                folderRace,
		"writing once and loading":               references,
		"writing with a digest that is known":    knownDigest,
	} {
		t.Run(name, func(t *testing.T) { check(t, open(t)) })
	}
}

// put stores data unconditionally.
func put(t *testing.T, s blob.Store, key string, data []byte) blob.Info {
	t.Helper()
	info, err := s.Put(t.Context(), key, bytes.NewReader(data), int64(len(data)), blob.PutOptions{})
	require.NoError(t, err)
	return info
}

// knownDigest: the store takes the caller's word for the digest, and the bytes from a file as from memory.
func knownDigest(t *testing.T, s blob.Store) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 3<<16)
	path := filepath.Join(t.TempDir(), "body")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	file, err := os.Open(path)
	require.NoError(t, err)
	for name, body := range map[string]io.ReadSeeker{"memory": bytes.NewReader(data), "file": file} {
		info, err := s.Put(t.Context(), "known/"+name, body, int64(len(data)), blob.PutOptions{IfAbsent: true, SHA256: blob.Sum(data)})
		require.NoError(t, err)
		require.Equal(t, blob.Sum(data), info.SHA256)
		got, info, err := read(t.Context(), s, "known/"+name)
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, got))
		require.Equal(t, blob.Sum(data), info.SHA256)
	}
	require.NoError(t, file.Close())
	_, err = s.Put(t.Context(), "known/short", bytes.NewReader(data), int64(len(data))+1, blob.PutOptions{SHA256: blob.Sum(data)})
	require.ErrorIs(t, err, blob.ErrBodySize)
}

// read returns the object's bytes and description.
func read(ctx context.Context, s blob.Store, key string) ([]byte, blob.Info, error) {
	body, info, err := s.Get(ctx, key)
	if err != nil {
		return nil, info, err
	}
	data, err := io.ReadAll(body)
	return data, info, errors.Join(err, body.Close())
}

// keys lists the keys below prefix.
func keys(t *testing.T, s blob.Store, prefix string) []string {
	t.Helper()
	var found []string
	require.NoError(t, s.List(t.Context(), prefix, func(i blob.Info) error {
		found = append(found, i.Key)
		return nil
	}))
	return found
}

// noise returns n bytes that depend on seed alone.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

func roundTrip(t *testing.T, s blob.Store) {
	data := noise(1, 1<<16)
	stored := put(t, s, "round/trip/a", data)
	require.Equal(t, "round/trip/a", stored.Key)
	require.Equal(t, int64(len(data)), stored.Size)
	require.Equal(t, blob.Sum(data), stored.SHA256)
	require.NotEmpty(t, stored.ETag)

	got, info, err := read(t.Context(), s, "round/trip/a")
	require.NoError(t, err)
	require.Equal(t, data, got)
	seen, err := s.Stat(t.Context(), "round/trip/a")
	require.NoError(t, err)
	for _, i := range []blob.Info{info, seen} {
		require.Equal(t, stored.Key, i.Key)
		require.Equal(t, stored.Size, i.Size)
		require.Equal(t, stored.SHA256, i.SHA256)
		require.Equal(t, stored.ETag, i.ETag)
		require.False(t, i.Modified.IsZero())
	}
}

func sizes(t *testing.T, s blob.Store) {
	for _, n := range []int{0, 1, 4096, 5<<20 - 1, 5 << 20, 17<<20 + 3} {
		key := fmt.Sprintf("sizes/%d", n)
		data := noise(uint64(n), n)
		require.Equal(t, int64(n), put(t, s, key, data).Size)
		got, info, err := read(t.Context(), s, key)
		require.NoError(t, err)
		require.Equal(t, int64(n), info.Size)
		require.True(t, bytes.Equal(data, got), "size %d", n)
	}
}

func missing(t *testing.T, s blob.Store) {
	_, _, err := s.Get(t.Context(), "missing/none")
	require.ErrorIs(t, err, blob.ErrNotFound)
	_, err = s.Stat(t.Context(), "missing/none")
	require.ErrorIs(t, err, blob.ErrNotFound)
	require.ErrorContains(t, err, "missing/none")
	require.NoError(t, s.Delete(t.Context(), "missing/none"))
	require.Empty(t, keys(t, s, "missing/"))
}

func badKeys(t *testing.T, s blob.Store) {
	for _, key := range []string{"", "/a", "a/", "a//b", "a/./b", "../a", "a/..", ".", "a\\b", "a\nb", "a/" + strings.Repeat("x", 201), strings.Repeat("abc/", 300) + "a"} {
		_, err := s.Put(t.Context(), key, strings.NewReader("x"), 1, blob.PutOptions{})
		require.ErrorIs(t, err, blob.ErrInvalidKey, "put %q", key)
		_, _, err = s.Get(t.Context(), key)
		require.ErrorIs(t, err, blob.ErrInvalidKey, "get %q", key)
		_, err = s.Stat(t.Context(), key)
		require.ErrorIs(t, err, blob.ErrInvalidKey, "stat %q", key)
		require.ErrorIs(t, s.Delete(t.Context(), key), blob.ErrInvalidKey, "delete %q", key)
	}
	for _, key := range []string{"good/" + strings.Repeat("x", 200), "good/a b+c%20d&e=f?g#h", "good/é–漢字", "good/.hidden", "good/a:b@c,d;e'f(g)!*"} {
		put(t, s, key, []byte(key))
		got, info, err := read(t.Context(), s, key)
		require.NoError(t, err, key)
		require.Equal(t, key, string(got))
		require.Equal(t, key, info.Key)
		require.Equal(t, []string{key}, keys(t, s, key))
	}
}

func folders(t *testing.T, s blob.Store) {
	put(t, s, "folders/a/b", []byte("x"))
	_, err := s.Stat(t.Context(), "folders/a")
	require.ErrorIs(t, err, blob.ErrNotFound, "a folder is no object")
	require.NoError(t, s.Delete(t.Context(), "folders/a"))
	_, err = s.Put(t.Context(), "folders/a", strings.NewReader("x"), 1, blob.PutOptions{})
	require.ErrorIs(t, err, blob.ErrInvalidKey, "an object in the place of a folder")
	_, err = s.Put(t.Context(), "folders/a/b/c", strings.NewReader("x"), 1, blob.PutOptions{})
	require.ErrorIs(t, err, blob.ErrInvalidKey, "a folder in the place of an object")
	require.Equal(t, []string{"folders/a/b"}, keys(t, s, "folders/"))

	require.NoError(t, s.Delete(t.Context(), "folders/a/b"))
	put(t, s, "folders/a", []byte("x"))
	require.Equal(t, []string{"folders/a"}, keys(t, s, "folders/"))
}

func wrongSizes(t *testing.T, s blob.Store) {
	put(t, s, "wrong/kept", []byte("old"))
	for _, size := range []int64{-1, 0, 4, 6, 1 << 40} {
		for _, key := range []string{"wrong/new", "wrong/kept"} {
			_, err := s.Put(t.Context(), key, strings.NewReader("12345"), size, blob.PutOptions{})
			require.ErrorIs(t, err, blob.ErrBodySize, "size %d", size)
		}
	}
	require.Equal(t, []string{"wrong/kept"}, keys(t, s, "wrong/"))
	got, _, err := read(t.Context(), s, "wrong/kept")
	require.NoError(t, err)
	require.Equal(t, "old", string(got))
}

// brokenBody announces its length truly and fails while being read.
type brokenBody struct {
	io.Reader
	size int64
}

func (b brokenBody) Seek(_ int64, whence int) (int64, error) {
	if whence == io.SeekEnd {
		return b.size, nil
	}
	return 0, nil
}

func failingBodies(t *testing.T, s blob.Store) {
	broken := errors.New("disk on fire")
	body := brokenBody{io.MultiReader(strings.NewReader("12345"), iotest.ErrReader(broken)), 10}
	_, err := s.Put(t.Context(), "failing/a", body, 10, blob.PutOptions{})
	require.ErrorIs(t, err, broken)
	_, err = s.Put(t.Context(), "failing/a", brokenBody{strings.NewReader("12345"), 10}, 10, blob.PutOptions{})
	require.Error(t, err, "a body that ends early")
	require.Empty(t, keys(t, s, "failing/"))
}

func rewound(t *testing.T, s blob.Store) {
	body := strings.NewReader("from the start")
	for range 2 {
		_, err := s.Put(t.Context(), "rewound/a", body, body.Size(), blob.PutOptions{})
		require.NoError(t, err)
		got, _, err := read(t.Context(), s, "rewound/a")
		require.NoError(t, err)
		require.Equal(t, "from the start", string(got))
	}
}

func overwrite(t *testing.T, s blob.Store) {
	first := put(t, s, "over/write", []byte("one"))
	second := put(t, s, "over/write", []byte("three"))
	require.NotEqual(t, first.ETag, second.ETag)
	got, info, err := read(t.Context(), s, "over/write")
	require.NoError(t, err)
	require.Equal(t, "three", string(got))
	require.Equal(t, second.ETag, info.ETag)
	require.Equal(t, blob.Sum([]byte("three")), info.SHA256)
}

func ifAbsent(t *testing.T, s blob.Store) {
	create := func(data string) error {
		_, err := s.Put(t.Context(), "absent/a", strings.NewReader(data), int64(len(data)), blob.PutOptions{IfAbsent: true})
		return err
	}
	require.NoError(t, create("first"))
	require.ErrorIs(t, create("second"), blob.ErrExists)
	require.ErrorIs(t, create("first"), blob.ErrExists, "equal bytes make no difference")
	got, _, err := read(t.Context(), s, "absent/a")
	require.NoError(t, err)
	require.Equal(t, "first", string(got))
	require.NoError(t, s.Delete(t.Context(), "absent/a"))
	require.NoError(t, create("third"))
	_, err = s.Put(t.Context(), "absent/b", strings.NewReader("x"), 1, blob.PutOptions{IfAbsent: true, IfMatch: "x"})
	require.Error(t, err, "two conditions at once")
}

func ifMatch(t *testing.T, s blob.Store) {
	replace := func(etag, data string) (blob.Info, error) {
		return s.Put(t.Context(), "match/a", strings.NewReader(data), int64(len(data)), blob.PutOptions{IfMatch: etag})
	}
	first := put(t, s, "match/a", []byte("1"))
	second, err := replace(first.ETag, "2")
	require.NoError(t, err)
	_, err = replace(first.ETag, "3")
	require.ErrorIs(t, err, blob.ErrConflict)
	seen, err := s.Stat(t.Context(), "match/a")
	require.NoError(t, err)
	require.Equal(t, second.ETag, seen.ETag)
	_, err = replace(seen.ETag, "4")
	require.NoError(t, err)
	got, _, err := read(t.Context(), s, "match/a")
	require.NoError(t, err)
	require.Equal(t, "4", string(got))
	require.NoError(t, s.Delete(t.Context(), "match/a"))
	_, err = replace(seen.ETag, "5")
	require.ErrorIs(t, err, blob.ErrConflict, "the object is gone")
}

func deletion(t *testing.T, s blob.Store) {
	put(t, s, "deletion/a", []byte("x"))
	put(t, s, "deletion/b", []byte("x"))
	for range 2 {
		require.NoError(t, s.Delete(t.Context(), "deletion/a"))
	}
	_, err := s.Stat(t.Context(), "deletion/a")
	require.ErrorIs(t, err, blob.ErrNotFound)
	require.Equal(t, []string{"deletion/b"}, keys(t, s, "deletion/"))
}

func listing(t *testing.T, s blob.Store) {
	all := []string{"list/a/1", "list/a/2", "list/a-b/1", "list/a.b", "list/a0", "list/ab/1/2/3", "list/b/B", "list/b/a", "list/é", "lisu/a"}
	for i, key := range all {
		put(t, s, key, noise(uint64(i), i))
	}
	slices.Sort(all)
	below := func(prefix string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(k string) bool { return !strings.HasPrefix(k, prefix) })
	}
	for _, prefix := range []string{"list/", "list/a", "list/a/", "list/a/1", "list/b/", "lis", "list/ab/1", "list/é"} {
		require.Equal(t, below(prefix), keys(t, s, prefix), "prefix %q", prefix)
	}
	require.Empty(t, keys(t, s, "list/a/1/"))
	require.Empty(t, keys(t, s, "list/zzz"))
	require.NoError(t, s.List(t.Context(), "list/", func(i blob.Info) error {
		seen, err := s.Stat(t.Context(), i.Key) // the store may be used while it lists
		require.NoError(t, err)
		require.Equal(t, seen.Size, i.Size)
		require.Equal(t, seen.ETag, i.ETag)
		require.True(t, i.SHA256.IsZero())
		return nil
	}))
}

// listingMany crosses the page size of S3 (1000 keys), with names whose order differs between folders and keys.
func listingMany(t *testing.T, s blob.Store) {
	var want []string
	for i := range 1200 {
		want = append(want, fmt.Sprintf("many/%c%s%03d", 'a'+i%3, []string{"/", "-", ".", "0"}[i%4], i))
	}
	var g sync.WaitGroup
	for part := range slices.Chunk(want, 150) {
		g.Go(func() {
			for _, key := range part {
				if _, err := s.Put(t.Context(), key, strings.NewReader("x"), 1, blob.PutOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	g.Wait()
	slices.Sort(want)
	require.Equal(t, want, keys(t, s, "many/"))
}

// listingFolders: the folders below a prefix, each once, neither objects nor what lies deeper.
func listingFolders(t *testing.T, s blob.Store) {
	for _, key := range []string{"below/b/x", "below/a/deep/er", "below/a/y", "below/object", "below-not/c/z"} {
		put(t, s, key, nil)
	}
	names, err := blob.Folders(t.Context(), s, "below/")
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, names)
	names, err = blob.Folders(t.Context(), s, "below-nothing/")
	require.NoError(t, err)
	require.Empty(t, names)
}

func listingStops(t *testing.T, s blob.Store) {
	for i := range 3 {
		put(t, s, fmt.Sprintf("stops/%d", i), nil)
	}
	enough, calls := errors.New("enough"), 0
	err := s.List(t.Context(), "stops/", func(blob.Info) error {
		calls++
		return enough
	})
	require.ErrorIs(t, err, enough)
	require.Equal(t, 1, calls)
}

func cancelled(t *testing.T, s blob.Store) {
	put(t, s, "cancelled/a", []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Put(ctx, "cancelled/b", strings.NewReader("x"), 1, blob.PutOptions{})
	require.ErrorIs(t, err, context.Canceled)
	_, _, err = s.Get(ctx, "cancelled/a")
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Stat(ctx, "cancelled/a")
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, s.List(ctx, "cancelled/", func(blob.Info) error { return nil }), context.Canceled)
	require.ErrorIs(t, s.Delete(ctx, "cancelled/a"), context.Canceled)
	require.Equal(t, []string{"cancelled/a"}, keys(t, s, "cancelled/"))
}

func references(t *testing.T, s blob.Store) {
	ref, err := blob.Put(t.Context(), s, []byte("content"))
	require.NoError(t, err)
	again, err := blob.Put(t.Context(), s, []byte("content"))
	require.NoError(t, err)
	require.Equal(t, ref, again)
	got, err := blob.Load(t.Context(), s, ref)
	require.NoError(t, err)
	require.Equal(t, "content", string(got))

	named, err := blob.PutAs(t.Context(), s, "references/once", []byte("one"))
	require.NoError(t, err)
	_, err = blob.PutAs(t.Context(), s, "references/once", []byte("two"))
	require.ErrorIs(t, err, blob.ErrExists)
	put(t, s, "references/once", []byte("two"))
	_, err = blob.Load(t.Context(), s, named)
	require.ErrorIs(t, err, blob.ErrCorrupt)
}
