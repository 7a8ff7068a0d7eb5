package checkpoint_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
	"multiattempt/internal/checkpoint"
)

// state writes a run's state after step into a new folder.
func state(t *testing.T, step string) string {
	t.Helper()
	return folder(t, map[string]string{
		"policy/config.json":       `{"model_type":"llama"}`,
		"policy/model.safetensors": "weights " + step,
		"policy/extra/notes.txt":   "",
		"state/critic.safetensors": "critic " + step,
	})
}

func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		to := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
		require.NoError(t, os.WriteFile(to, []byte(content), 0o644))
	}
	return dir
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[filepath.ToSlash(name)] = string(b)
		return err
	}))
	return files
}

func meta(step int) checkpoint.Meta {
	return checkpoint.Meta{Run: "r", Step: step, Spec: strings.Repeat("5e", 32)}
}

func save(t *testing.T, s blob.Store, step int, text string) checkpoint.Ref {
	t.Helper()
	ref, err := checkpoint.Save(t.Context(), s, meta(step), state(t, text))
	require.NoError(t, err)
	return ref
}

func keys(t *testing.T, s blob.Store) []string {
	t.Helper()
	list := []string{}
	require.NoError(t, s.List(t.Context(), "", func(o blob.Info) error {
		list = append(list, o.Key)
		return nil
	}))
	return list
}

func put(t *testing.T, s blob.Store, key, text string) blob.Ref {
	t.Helper()
	_, err := s.Put(t.Context(), key, strings.NewReader(text), int64(len(text)), blob.PutOptions{})
	require.NoError(t, err)
	return blob.Ref{Key: key, SHA256: blob.Sum([]byte(text)), Size: int64(len(text))}
}

func TestSavedStateLoadsAsItWas(t *testing.T) {
	s := blob.NewMemory()
	parent := checkpoint.Ref{Run: "older", Step: 3, Ref: blob.Ref{Key: checkpoint.Key("older", 3), SHA256: blob.Sum(nil), Size: 1}}
	m := meta(12)
	m.Parent = &parent
	from := state(t, "12")
	ref, err := checkpoint.Save(t.Context(), s, m, from)
	require.NoError(t, err)
	require.Equal(t, "runs/r/checkpoints/000012/manifest.json", ref.Key)
	require.Equal(t, []any{"r", 12}, []any{ref.Run, ref.Step})

	to := t.TempDir()
	manifest, err := checkpoint.Load(t.Context(), s, ref, to)
	require.NoError(t, err)
	require.Equal(t, contents(t, from), contents(t, to))
	require.Equal(t, m, manifest.Meta)
	require.NoError(t, checkpoint.Verify(t.Context(), s, ref))

	policy := manifest.Folder(checkpoint.PolicyDir)
	require.Len(t, policy.Files, 3)
	weights, ok := policy.File("model.safetensors")
	require.True(t, ok)
	b, err := blob.Load(t.Context(), s, weights)
	require.NoError(t, err)
	require.Equal(t, "weights 12", string(b))

	found, err := checkpoint.Find(t.Context(), s, "r", 12)
	require.NoError(t, err)
	require.Equal(t, ref, found)
	_, err = checkpoint.Find(t.Context(), s, "r", 13)
	require.ErrorIs(t, err, checkpoint.ErrNone)
	_, err = checkpoint.Load(t.Context(), blob.NewMemory(), ref, t.TempDir())
	require.ErrorIs(t, err, checkpoint.ErrNone)
}

func TestManifestIsDocumentedAndHoldsNeitherTimeNorPlace(t *testing.T) {
	s, other := blob.NewMemory(), blob.NewMemory()
	one := folder(t, map[string]string{"state/a": "x", "policy/b": "y"})
	two := folder(t, map[string]string{"policy/b": "y", "state/a": "x"})
	ref, err := checkpoint.Save(t.Context(), s, meta(1), one)
	require.NoError(t, err)
	again, err := checkpoint.Save(t.Context(), other, meta(1), two)
	require.NoError(t, err)
	require.Equal(t, ref, again, "equal states have equal manifests wherever and whenever they were made")

	b, err := blob.Load(t.Context(), s, ref.Ref)
	require.NoError(t, err)
	manifest := strings.ReplaceAll(string(b), strings.Repeat("5e", 32), "SPEC")
	for content, name := range map[string]string{"x": "X", "y": "Y"} {
		manifest = strings.ReplaceAll(manifest, blob.Sum([]byte(content)).String(), name)
	}
	parts := manifest[strings.Index(manifest, "parts-"):]
	parts, _, _ = strings.Cut(parts, "/")
	require.Regexp(t, "^parts-[0-9a-f]{12}$", parts)
	require.Equal(t, `{
  "version": 1,
  "run": "r",
  "step": 1,
  "spec": "SPEC",
  "files": [
    {
      "name": "policy/b",
      "ref": {
        "key": "runs/r/checkpoints/000001/`+parts+`/policy/b",
        "sha256": "Y",
        "size": 1
      }
    },
    {
      "name": "state/a",
      "ref": {
        "key": "runs/r/checkpoints/000001/`+parts+`/state/a",
        "sha256": "X",
        "size": 1
      }
    }
  ]
}`, manifest, "docs/formats.md describes this; a change here is a new format version")
}

func TestRepeatedSaveGivesTheSameReference(t *testing.T) {
	s := blob.NewMemory()
	ref := save(t, s, 1, "a")
	before := keys(t, s)
	require.Equal(t, ref, save(t, s, 1, "a"))
	require.Equal(t, before, keys(t, s))
}

func TestStepKeepsItsFirstCheckpoint(t *testing.T) {
	s := blob.NewMemory()
	ref := save(t, s, 1, "a")
	_, err := checkpoint.Save(t.Context(), s, meta(1), state(t, "b"))
	require.ErrorIs(t, err, checkpoint.ErrDiffers)
	require.ErrorContains(t, err, "r@1")
	other := meta(1)
	other.Spec = strings.Repeat("0a", 32)
	_, err = checkpoint.Save(t.Context(), s, other, state(t, "a"))
	require.ErrorIs(t, err, checkpoint.ErrDiffers, "other settings make another checkpoint")

	require.NoError(t, checkpoint.Verify(t.Context(), s, ref), "the parts of the refused one did not touch it")
	found, err := checkpoint.Find(t.Context(), s, "r", 1)
	require.NoError(t, err)
	require.Equal(t, ref, found)
}

// flaky is a store whose next writes of keys with the suffix fail.
type flaky struct {
	blob.Store
	suffix string
	fails  int
}

var errDisk = errors.New("disk full")

func (f *flaky) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, o blob.PutOptions) (blob.Info, error) {
	if f.fails > 0 && strings.HasSuffix(key, f.suffix) {
		f.fails--
		return blob.Info{}, errDisk
	}
	return f.Store.Put(ctx, key, body, size, o)
}

func TestNothingIsThereUntilTheManifestIs(t *testing.T) {
	for _, suffix := range []string{"config.json", "critic.safetensors", "manifest.json"} {
		t.Run(suffix, func(t *testing.T) {
			s := &flaky{Store: blob.NewMemory(), suffix: suffix, fails: 1}
			_, err := checkpoint.Save(t.Context(), s, meta(1), state(t, "a"))
			require.ErrorIs(t, err, errDisk)
			_, err = checkpoint.Find(t.Context(), s, "r", 1)
			require.ErrorIs(t, err, checkpoint.ErrNone)
			list, err := checkpoint.List(t.Context(), s, "r")
			require.NoError(t, err)
			require.Empty(t, list)

			require.NoError(t, checkpoint.Verify(t.Context(), s, save(t, s, 1, "a")), "repeated, it completes")
		})
	}
}

func TestSaveRefuses(t *testing.T) {
	s := blob.NewMemory()
	_, err := checkpoint.Save(t.Context(), s, meta(1), t.TempDir())
	require.ErrorContains(t, err, "no files")
	_, err = checkpoint.Save(t.Context(), s, meta(1), filepath.Join(t.TempDir(), "absent"))
	require.ErrorIs(t, err, os.ErrNotExist)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = checkpoint.Save(ctx, s, meta(1), state(t, "a"))
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, keys(t, s))
}

// part returns the key of a checkpoint's part.
func part(t *testing.T, s blob.Store, ref checkpoint.Ref, name string) string {
	t.Helper()
	m, err := checkpoint.LoadManifest(t.Context(), s, ref)
	require.NoError(t, err)
	for _, f := range m.Files {
		if f.Name == name {
			return f.Ref.Key
		}
	}
	require.Fail(t, "no part "+name)
	return ""
}

func TestCorruptPartsAreFound(t *testing.T) {
	for name, spoil := range map[string]func(s blob.Store, key string){
		"changed": func(s blob.Store, key string) { put(t, s, key, "weights x") },
		"longer":  func(s blob.Store, key string) { put(t, s, key, "weights aa") },
		"empty":   func(s blob.Store, key string) { put(t, s, key, "") },
	} {
		t.Run(name, func(t *testing.T) {
			s := blob.NewMemory()
			ref := save(t, s, 1, "a")
			key := part(t, s, ref, "policy/model.safetensors")
			spoil(s, key)
			_, err := checkpoint.Load(t.Context(), s, ref, t.TempDir())
			for _, err := range []error{err, checkpoint.Verify(t.Context(), s, ref)} {
				require.ErrorIs(t, err, blob.ErrCorrupt)
				corrupt, ok := errors.AsType[*blob.CorruptError](err)
				require.True(t, ok)
				require.Equal(t, key, corrupt.Key)
				require.Equal(t, blob.Sum([]byte("weights a")), corrupt.Want)
			}
		})
	}
}

func TestMissingPartIsAnError(t *testing.T) {
	s := blob.NewMemory()
	ref := save(t, s, 1, "a")
	require.NoError(t, s.Delete(t.Context(), part(t, s, ref, "state/critic.safetensors")))
	_, err := checkpoint.Load(t.Context(), s, ref, t.TempDir())
	require.ErrorIs(t, err, blob.ErrNotFound)
	require.ErrorContains(t, err, "critic.safetensors")
}

// torn is a store whose first read of each object ends early.
type torn struct {
	blob.Store
	read map[string]bool
}

func (s *torn) Get(ctx context.Context, key string) (io.ReadCloser, blob.Info, error) {
	body, info, err := s.Store.Get(ctx, key)
	if err != nil || s.read[key] || info.Size == 0 {
		return body, info, err
	}
	s.read[key] = true
	return io.NopCloser(io.LimitReader(body, info.Size-1)), info, nil
}

func TestTornReadIsReadAgain(t *testing.T) {
	s := blob.NewMemory()
	ref := save(t, s, 1, "a")
	to := t.TempDir()
	_, err := checkpoint.Load(t.Context(), &torn{s, map[string]bool{}}, ref, to)
	require.NoError(t, err)
	require.Equal(t, contents(t, state(t, "a")), contents(t, to))
}

func TestManifestsThatAreNotTheRuns(t *testing.T) {
	key := checkpoint.Key("r", 1)
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"another run":   {`{"version":1,"run":"other","step":1,"files":[]}`, checkpoint.ErrForeign},
		"another step":  {`{"version":1,"run":"r","step":2,"files":[]}`, checkpoint.ErrForeign},
		"newer":         {`{"version":2,"run":"r","step":1,"parts":{}}`, checkpoint.ErrNewer},
		"no version":    {`{"run":"r","step":1}`, blob.ErrCorrupt},
		"no manifest":   {`checkpoint`, blob.ErrCorrupt},
		"leaves folder": {`{"version":1,"run":"r","step":1,"files":[{"name":"../x","ref":{"key":"x"}}]}`, blob.ErrCorrupt},
		"absolute":      {`{"version":1,"run":"r","step":1,"files":[{"name":"/x","ref":{"key":"x"}}]}`, blob.ErrCorrupt},
		"unclean":       {`{"version":1,"run":"r","step":1,"files":[{"name":"a/../b","ref":{"key":"x"}}]}`, blob.ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			s := blob.NewMemory()
			ref := checkpoint.Ref{Run: "r", Step: 1, Ref: put(t, s, key, c.text)}
			_, err := checkpoint.Load(t.Context(), s, ref, t.TempDir())
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, key)
		})
	}
	s := blob.NewMemory()
	ref := save(t, s, 1, "a")
	put(t, s, key, "{}")
	_, err := checkpoint.LoadManifest(t.Context(), s, ref)
	require.ErrorIs(t, err, blob.ErrCorrupt, "not the bytes of the reference")
}

func TestKeysHaveAnInverse(t *testing.T) {
	for _, c := range []checkpoint.Ref{{Run: "r", Step: 0}, {Run: "train-2025", Step: 12}, {Run: "r", Step: 1_234_567}} {
		run, step, ok := checkpoint.ParseKey(checkpoint.Key(c.Run, c.Step))
		require.True(t, ok)
		require.Equal(t, []any{c.Run, c.Step}, []any{run, step})
	}
	for _, key := range []string{
		"", "runs/r/checkpoints/000012/parts-1/policy/a", "runs/r/checkpoints/12/manifest.json", "runs/r/latest.json",
		"runs/r/checkpoints/x/manifest.json", "x/r/checkpoints/000012/manifest.json",
	} {
		_, _, ok := checkpoint.ParseKey(key)
		require.False(t, ok, key)
	}
}

func TestListIsInTheOrderOfSteps(t *testing.T) {
	s := blob.NewMemory()
	var want []checkpoint.Ref
	for _, step := range []int{8, 16, 999_999, 1_000_000} { // the last key sorts before the one above it
		want = append(want, save(t, s, step, "x"))
	}
	_, err := checkpoint.Save(t.Context(), s, checkpoint.Meta{Run: "r2", Step: 5}, state(t, "other run"))
	require.NoError(t, err)
	put(t, s, checkpoint.Prefix("r")+"000024/parts-1/policy/model.safetensors", "half saved")
	got, err := checkpoint.List(t.Context(), s, "r")
	require.NoError(t, err)
	require.Equal(t, want, got)

	none, err := checkpoint.List(t.Context(), s, "absent")
	require.NoError(t, err)
	require.Empty(t, none)
}

func TestLoadOverwritesWhatAnInterruptedLoadLeft(t *testing.T) {
	s := blob.NewMemory()
	ref := save(t, s, 1, "a")
	to := folder(t, map[string]string{"policy/model.safetensors": string(bytes.Repeat([]byte("z"), 100))})
	_, err := checkpoint.Load(t.Context(), s, ref, to)
	require.NoError(t, err)
	require.Equal(t, contents(t, state(t, "a")), contents(t, to))
}
