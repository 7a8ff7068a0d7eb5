package endpoint_test

import (
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/reward/endpoint"
	"multiattempt/internal/spec"
)

const key = "s3cr3t-that-must-not-show"

// guarded answers rewards over TLS to those who have the key, and repeats what others said.
func guarded(t *testing.T, header, want string) (address string, authorities *x509.CertPool) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if said := r.Header.Get(header); said != want {
			http.Error(w, "who are you, "+said+"?", http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, `{"rewards":[1,2,3]}`)
	}))
	server.Config.ErrorLog = nil
	t.Cleanup(server.Close)
	authorities = x509.NewCertPool()
	authorities.AddCert(server.Certificate())
	return server.URL, authorities
}

func TestAnEndpointThatAsksWhoItIs(t *testing.T) {
	b, outcomes := batch()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "token"), []byte(key+"\n"), 0o600))
	t.Setenv("REWARD_TOKEN", "Bearer "+key)
	for _, c := range []struct{ secret, header, want string }{
		{"env:REWARD_TOKEN", "Authorization", "Bearer " + key}, {"file:token", "X-Key", key},
	} {
		r := spec.Default().Reward
		var authorities *x509.CertPool
		r.Source, authorities = guarded(t, c.header, c.want)
		r.Secret, r.Header, r.Tries = c.secret, c.header, 1
		connection := endpoint.Connection{Authorities: authorities, SecretsDir: dir}
		got, err := reach(t, r, connection).Reward(t.Context(), b, outcomes)
		require.NoError(t, err)
		require.Equal(t, 2.0, got[1].Episode)

		_, err = reach(t, r, endpoint.Connection{SecretsDir: dir}).Reward(t.Context(), b, outcomes)
		require.ErrorIs(t, err, endpoint.ErrEndpoint)
		require.ErrorContains(t, err, "certificate", "of an authority that nobody knows")

		r.Header = "X-Other"
		_, err = reach(t, r, connection).Reward(t.Context(), b, outcomes)
		require.ErrorContains(t, err, "401 Unauthorized")
	}
}

// TestASecretIsInNoMessage: not even when the endpoint repeats it.
func TestASecretIsInNoMessage(t *testing.T) {
	b, outcomes := batch()
	t.Setenv("REWARD_TOKEN", "Bearer "+key)
	r := spec.Default().Reward
	var authorities *x509.CertPool
	r.Source, authorities = guarded(t, "Authorization", "another")
	r.Secret, r.Tries = "env:REWARD_TOKEN", 1
	_, err := reach(t, r, endpoint.Connection{Authorities: authorities}).Reward(t.Context(), b, outcomes)
	require.ErrorIs(t, err, endpoint.ErrEndpoint)
	require.ErrorContains(t, err, "who are you, [redacted]?")
	require.NotContains(t, err.Error(), key)
}

func TestASecretDoesNotFollowARedirect(t *testing.T) {
	b, outcomes := batch()
	t.Setenv("REWARD_TOKEN", key)
	reached := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer other.Close()
	server := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	r := spec.Default().Reward
	r.Source, r.Secret, r.Tries = server.URL, "env:REWARD_TOKEN", 1
	_, err := reach(t, r, endpoint.Connection{}).Reward(t.Context(), b, outcomes)
	require.ErrorContains(t, err, "307 Temporary Redirect")
	require.False(t, reached)
}

func TestSecretsThatAreNotThere(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "lines"), []byte(key+"\nanother"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "empty"), []byte("\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "long"), []byte(strings.Repeat("x", 9000)), 0o600))
	r := spec.Default().Reward
	for secret, saying := range map[string]string{
		"env:REWARD_NOWHERE": "$REWARD_NOWHERE is not set on this worker", "file:nowhere": "no such file", "file:lines": "file:lines is not one line",
		"file:empty": "file:empty is not one line", "file:long": "file:long is not one line", "file:../" + filepath.Base(dir): "no such file",
	} {
		r.Secret = secret
		_, err := endpoint.New(r, endpoint.Connection{SecretsDir: dir})
		require.ErrorIs(t, err, endpoint.ErrSecret)
		require.ErrorContains(t, err, saying)
		require.NotContains(t, err.Error(), key)
	}
	r.Secret = "file:lines"
	_, err := endpoint.New(r, endpoint.Connection{})
	require.ErrorContains(t, err, "rewards.secrets_dir is not set on this worker")
}
