package blob_test

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
)

func TestDigest(t *testing.T) {
	const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-4, SHA-256 of "abc"
	d := blob.Sum([]byte("abc"))
	require.Equal(t, abc, d.String())
	require.Equal(t, abc[:12], d.Short())
	require.Equal(t, "blobs/ba/"+abc, blob.ContentKey(d))
	parsed, err := blob.ParseDigest(abc)
	require.NoError(t, err)
	require.Equal(t, d, parsed)
	for _, wrong := range []string{"", "ba", abc + "00", strings.Repeat("g", 64)} {
		_, err := blob.ParseDigest(wrong)
		require.Error(t, err, wrong)
	}

	text, err := json.Marshal(blob.Ref{Key: "k", SHA256: d, Size: 3})
	require.NoError(t, err)
	require.JSONEq(t, `{"key":"k","sha256":"`+abc+`","size":3}`, string(text))
	var ref blob.Ref
	require.NoError(t, json.Unmarshal(text, &ref))
	require.Equal(t, d, ref.SHA256)
	require.NoError(t, json.Unmarshal([]byte(`{"sha256":""}`), &ref))
	require.True(t, ref.SHA256.IsZero())
}

// torn serves a wrong body a number of times before the right one.
type torn struct {
	blob.Store
	times int
}

func (s *torn) Get(ctx context.Context, key string) (io.ReadCloser, blob.Info, error) {
	body, info, err := s.Store.Get(ctx, key)
	if s.times > 0 {
		s.times--
		body = io.NopCloser(strings.NewReader("half"))
	}
	return body, info, err
}

func TestLoadReadsOnceMoreAndThenSaysCorrupt(t *testing.T) {
	s := &torn{Store: blob.NewMemory()}
	ref, err := blob.PutAs(t.Context(), s, "a/b", []byte("whole"))
	require.NoError(t, err)

	s.times = 1
	got, err := blob.Load(t.Context(), s, ref)
	require.NoError(t, err)
	require.Equal(t, "whole", string(got))

	s.times = 2
	_, err = blob.Load(t.Context(), s, ref)
	require.ErrorIs(t, err, blob.ErrCorrupt)
	corrupt := new(blob.CorruptError)
	require.ErrorAs(t, err, &corrupt)
	require.Equal(t, blob.CorruptError{Key: "a/b", Want: ref.SHA256, Got: blob.Sum([]byte("half")), WantSize: 5, GotSize: 4}, *corrupt)

	_, err = blob.Load(t.Context(), s, blob.Ref{Key: "none"})
	require.ErrorIs(t, err, blob.ErrNotFound)
}

func TestFoldersTravel(t *testing.T) {
	s := blob.NewMemory()
	files := fstest.MapFS{
		"config.json":      {Data: []byte("{}")},
		"sub/tensors.bin":  {Data: []byte{1, 2, 3}},
		"sub/deeper/empty": {},
	}
	ref, err := blob.Upload(t.Context(), s, files)
	require.NoError(t, err)
	again, err := blob.Upload(t.Context(), s, files)
	require.NoError(t, err)
	require.Equal(t, ref, again, "equal files, equal reference")

	dir := t.TempDir()
	folder, err := blob.Download(t.Context(), s, ref, dir)
	require.NoError(t, err)
	require.Len(t, folder.Files, 3)
	for name, file := range files {
		got, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, string(file.Data), string(got))
	}

	config, ok := folder.File("config.json")
	require.True(t, ok)
	_, ok = folder.File("none")
	require.False(t, ok)
	changed := folder.With("sub/tensors.bin", config)
	tensors, _ := changed.File("sub/tensors.bin")
	require.Equal(t, config, tensors)
	before, _ := folder.File("sub/tensors.bin")
	require.NotEqual(t, config, before, "With leaves its receiver alone")
}

func TestAFolderCannotWriteOutsideItself(t *testing.T) {
	s := blob.NewMemory()
	file, err := blob.Put(t.Context(), s, []byte("x"))
	require.NoError(t, err)
	for _, name := range []string{"../x", "/etc/x", "a/../../x", "./x", "a//x"} {
		ref, err := blob.PutFolder(t.Context(), s, blob.Folder{Files: []blob.FolderFile{{Name: name, Ref: file}}})
		require.NoError(t, err)
		_, err = blob.Download(t.Context(), s, ref, t.TempDir())
		require.ErrorContains(t, err, "leaves the folder", name)
	}
}
