package dataset_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
	"multiattempt/internal/dataset"
)

const revision = "0123456789abcdef0123456789abcdef01234567"

// serveHub answers as the Hub does for one data set repository.
func serveHub(t *testing.T, repository string, files map[string]string, digest string) (requests *int) {
	t.Helper()
	requests = new(int)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*requests++
		if r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/api/datasets/"+repository) {
			siblings := make([]string, 0, len(files))
			for name, content := range files {
				d := digest
				if d == "" {
					d = blob.Sum([]byte(content)).String()
				}
				siblings = append(siblings, fmt.Sprintf(`{"rfilename":%q,"size":%d,"lfs":{"sha256":%q}}`, name, len(content), d))
			}
			_, _ = fmt.Fprintf(w, `{"id":%q,"sha":%q,"siblings":[%s]}`, repository, revision, strings.Join(siblings, ","))
			return
		}
		name, ok := strings.CutPrefix(r.URL.Path, "/datasets/"+repository+"/resolve/"+revision+"/")
		content, exists := files[name]
		if !ok || !exists {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("ETag", fmt.Sprintf("%q", blob.Sum([]byte(content)).Short()))
		_, _ = fmt.Fprint(w, content)
	}))
	t.Cleanup(server.Close)
	t.Setenv("HF_ENDPOINT", server.URL)
	t.Setenv("HF_TOKEN", "secret")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	return requests
}

func TestOpenFromTheHub(t *testing.T) {
	row := `{"question":"Q","answer":"#### 4"}`
	requests := serveHub(t, "openai/gsm8k", map[string]string{
		"README.md": "x", "main/test-00000-of-00001.jsonl": row, "main/train-00000-of-00001.jsonl": "{}",
		"socratic/test-00000-of-00001.jsonl": "{}",
	}, "")
	set := open(t, "gsm8k", dataset.Options{})
	require.Equal(t, []dataset.Problem{{ID: "0", Question: "Q", Answer: "4"}}, set.Problems())
	require.Equal(t, "hf:openai/gsm8k@"+revision+"/main/test-00000-of-00001.jsonl", set.Files[0].Source)
	require.Equal(t, blob.Sum([]byte(row)), set.Files[0].SHA256)

	before := *requests
	again := open(t, "gsm8k", dataset.Options{})
	require.Equal(t, set.Digest(), again.Digest())
	require.Equal(t, before, *requests, "what is cached is not asked for again")
}

func TestOpenFromTheHubChecksTheDigest(t *testing.T) {
	serveHub(t, "HuggingFaceH4/MATH-500", map[string]string{"test.jsonl": `{"problem":"Q","answer":"4"}`}, blob.Sum([]byte("other")).String())
	_, err := dataset.Open(context.Background(), "math500", dataset.Options{Split: dataset.Test})
	require.ErrorIs(t, err, dataset.ErrData)
	require.ErrorContains(t, err, "the Hub says")
}

func TestOpenSaysWhereItLooked(t *testing.T) {
	serveHub(t, "somebody/else", nil, "")
	dir := t.TempDir()
	_, err := dataset.Open(context.Background(), "gsm8k", dataset.Options{Split: dataset.Test, DataDir: dir})
	require.ErrorIs(t, err, dataset.ErrHub)
	require.ErrorContains(t, err, filepath.Join(dir, "gsm8k-test.parquet"))
	_, err = dataset.Open(context.Background(), "gsm8k", dataset.Options{Split: dataset.Test})
	require.ErrorContains(t, err, "--data-dir")
}

func TestOpenFetchesNothingWhereOnlyThisMachineCounts(t *testing.T) {
	requests := serveHub(t, "openai/gsm8k", map[string]string{"main/test.jsonl": `{"question":"Q","answer":"#### 4"}`}, "")
	for _, name := range []string{"gsm8k", dataset.MathHard} {
		_, err := dataset.Open(context.Background(), name, dataset.Options{Split: dataset.Train, Local: true})
		require.ErrorIs(t, err, dataset.ErrHub)
		require.ErrorContains(t, err, "nothing is fetched")
	}
	require.Zero(t, *requests)
}
