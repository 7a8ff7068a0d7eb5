package endpoint_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/reward/endpoint"
	"multiattempt/internal/spec"
)

// TestTheExampleServer starts docs/examples/reward_server.py, with a token and TLS, and asks it.
func TestTheExampleServer(t *testing.T) {
	certificate, keyFile, authorities := selfSigned(t)
	t.Setenv("REWARD_TOKEN", key)
	cmd := exec.CommandContext(t.Context(), "python3", "../../../docs/examples/reward_server.py", "--port", "0", "--cert", certificate, "--key", keyFile)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	})
	address, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err, "the server ended before it listened")

	t.Setenv("REWARD_AUTHORIZATION", "Bearer "+key)
	r := spec.Default().Reward
	r.Source, r.Secret, r.BatchSize, r.Tries = strings.TrimSpace(address), "env:REWARD_AUTHORIZATION", 2, 1
	b, outcomes := batch()
	got, err := reach(t, r, endpoint.Connection{Authorities: authorities}).Reward(t.Context(), b, outcomes)
	require.NoError(t, err)
	require.Len(t, got, 3)
	require.InDelta(t, -0.503, got[0].Attempts[0], 1e-9, "three tokens")
	require.InDelta(t, -0.601, got[0].Attempts[1], 1e-9, "one token, and the answer was given before")
	require.InDelta(t, 0.999, got[2].Episode, 1e-9)

	r.Secret = "env:REWARD_TOKEN" // without "Bearer"
	_, err = reach(t, r, endpoint.Connection{Authorities: authorities}).Reward(t.Context(), b, outcomes)
	require.ErrorContains(t, err, "status 401")
}

// selfSigned makes a certificate of 127.0.0.1 that is its own authority.
func selfSigned(t *testing.T) (certificate, keyFile string, authorities *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	dir := t.TempDir()
	certificate, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	require.NoError(t, os.WriteFile(certificate, text, 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	authorities = x509.NewCertPool()
	require.True(t, authorities.AppendCertsFromPEM(text))
	return certificate, keyFile, authorities
}
