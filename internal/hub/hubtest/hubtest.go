// Package hubtest is a stand-in for the Hugging Face Hub on this machine.
package hubtest

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // Git's object names
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"multiattempt/internal/blob"
)

// Commit is the commit of every repository.
const Commit = "0123456789abcdef0123456789abcdef01234567"

// Token is what the server wants to see.
const Token = "secret"

// Server serves one model repository. Names that end in .safetensors lie in large-file storage, which is another server:
// the Hub redirects to it, and it must not see the token.
type Server struct {
	ID    string
	Files map[string][]byte

	mu sync.Mutex
	// Cut ends the next download of a large file after so many bytes.
	cut      int
	down     bool
	requests []string // paths asked for, with the range
}

// Start serves the repository id until the test ends, and points the environment of Hugging Face's tools to it.
func Start(t *testing.T, id string, files map[string][]byte) *Server {
	t.Helper()
	s := &Server{ID: id, Files: files}
	storage := httptest.NewServer(http.HandlerFunc(s.large))
	t.Cleanup(storage.Close)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, storage.URL) }))
	t.Cleanup(server.Close)
	for name, value := range map[string]string{
		"HF_ENDPOINT": server.URL, "HF_TOKEN": Token, "HF_HOME": t.TempDir(), "HF_HUB_CACHE": "", "HF_HUB_OFFLINE": "", "HF_TOKEN_PATH": "",
	} {
		t.Setenv(name, value)
	}
	return s
}

// Cut ends the next download of a large file after n bytes.
func (s *Server) Cut(n int) { s.set(func() { s.cut = n }) }

// Down makes the server fail, or work again.
func (s *Server) Down(down bool) { s.set(func() { s.down = down }) }

func (s *Server) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// Requests returns what was asked for since the last call.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.requests
	s.requests = nil
	return asked
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, storage string) {
	s.mu.Lock()
	down := s.down
	s.requests = append(s.requests, r.URL.Path)
	s.mu.Unlock()
	file, isFile := strings.CutPrefix(r.URL.Path, "/"+s.ID+"/resolve/"+Commit+"/")
	content, exists := s.Files[file]
	switch {
	case down:
		w.WriteHeader(http.StatusBadGateway)
	case r.Header.Get("Authorization") != "Bearer "+Token:
		w.WriteHeader(http.StatusUnauthorized)
	case r.URL.Path == "/api/models/"+s.ID+"/revision/main", r.URL.Path == "/api/models/"+s.ID+"/revision/"+Commit:
		_ = json.NewEncoder(w).Encode(s.list())
	case isFile && exists && large(file):
		http.Redirect(w, r, strings.Replace(storage, "127.0.0.1", "localhost", 1)+"/"+file, http.StatusFound)
	case isFile && exists:
		_, _ = w.Write(content)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func large(name string) bool { return strings.HasSuffix(name, ".safetensors") }

// list answers as the Hub's API does.
func (s *Server) list() map[string]any {
	var siblings []map[string]any
	for name, content := range s.Files {
		sibling := map[string]any{"rfilename": name, "size": len(content), "blobId": fmt.Sprintf("%x", sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(content), content)))} //nolint:gosec // Git's object names
		if large(name) {
			sibling["lfs"] = map[string]any{"sha256": blob.Sum(content).String(), "size": len(content), "pointerSize": 134}
			sibling["blobId"] = "1111111111111111111111111111111111111111"
		}
		siblings = append(siblings, sibling)
	}
	return map[string]any{"id": s.ID, "sha": Commit, "siblings": siblings}
}

// large serves large-file storage.
func (s *Server) large(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	cut := s.cut
	s.cut = 0
	s.requests = append(s.requests, r.URL.Path+r.Header.Get("Range"))
	s.mu.Unlock()
	if r.Header.Get("Authorization") != "" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	content := s.Files[strings.TrimPrefix(r.URL.Path, "/")]
	if cut > 0 {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		_, _ = w.Write(content[:cut])
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}
