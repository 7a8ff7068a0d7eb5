package s3_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
	"multiattempt/internal/blob/s3"
)

// TestABusyServerIsAskedAgain answers 503 SlowDown twice and then takes the object.
func TestABusyServerIsAskedAgain(t *testing.T) {
	asked := 0
	o := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if asked++; asked < 3 {
			refuse(503, "SlowDown")(w, r)
		}
	})
	o.MaxRetries = 4
	s, err := s3.Open(t.Context(), o)
	require.NoError(t, err)
	_, err = s.Put(t.Context(), "key", strings.NewReader("x"), 1, blob.PutOptions{})
	require.NoError(t, err)
	require.Equal(t, 3, asked)
}

// TestAConnectionThatBreaksMidUploadIsTakenUpAgain hangs up in the middle of the first body.
func TestAConnectionThatBreaksMidUploadIsTakenUpAgain(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	var got []byte
	asked := 0
	o := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if asked++; asked == 1 {
			_, _ = io.CopyN(io.Discard, r.Body, 1000)
			connection, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_ = connection.Close()
			}
			return
		}
		got, _ = io.ReadAll(r.Body)
	})
	o.MaxRetries = 3
	s, err := s3.Open(t.Context(), o)
	require.NoError(t, err)
	_, err = s.Put(t.Context(), "key", bytes.NewReader(data), int64(len(data)), blob.PutOptions{})
	require.NoError(t, err)
	require.Equal(t, 2, asked)
	require.True(t, bytes.Contains(got, data[:4096]), "from its start")
}

// TestADownloadThatBreaksOffIsNoObject announces more bytes than it sends.
func TestADownloadThatBreaksOffIsNoObject(t *testing.T) {
	o := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		w.Header().Set("ETag", `"e"`)
		w.Header().Set("X-Amz-Meta-Once", "1")
		w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
		_, _ = w.Write([]byte("01234"))
	})
	s, err := s3.Open(t.Context(), o)
	require.NoError(t, err)
	_, err = blob.Load(t.Context(), s, blob.Ref{Key: "key", SHA256: blob.Sum([]byte("0123456789")), Size: 10})
	require.Error(t, err)
}

// TestExpiredCredentialsAreReadAgain rotates the keys in the usual AWS file while the store is in use.
func TestExpiredCredentialsAreReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "credentials")
	write := func(key string) {
		text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = s\naws_session_token = t-%s\n", key, key)
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	valid := "first"
	o := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "Credential="+valid+"/") {
			refuse(400, "ExpiredToken")(w, r)
		}
	})
	o.AccessKey, o.SecretKey = "", ""
	write("first")
	s, err := s3.Open(t.Context(), o)
	require.NoError(t, err)
	put := func() error {
		_, err := s.Put(t.Context(), "key", strings.NewReader("x"), 1, blob.PutOptions{})
		return err
	}
	require.NoError(t, put())
	valid = "second"
	require.ErrorIs(t, put(), s3.ErrExpired)
	write("second")
	require.NoError(t, put(), "the next try")
}
