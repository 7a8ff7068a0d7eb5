package worker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"multiattempt/config"
	"multiattempt/internal/telemetry"
)

// authority signs certificates that live as long as a test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // PEM of cert
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	var err error
	a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, &a.key.PublicKey, a.key)
	require.NoError(t, err)
	a.file = a.write("ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) write(name, kind string, der []byte) string {
	a.t.Helper()
	file := filepath.Join(a.dir, name)
	require.NoError(a.t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return file
}

// issue makes a certificate for 127.0.0.1, or for a client, and returns its files.
func (a *authority) issue(name string, usage x509.ExtKeyUsage) (cert, key string) {
	a.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{usage}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, a.cert, &private.PublicKey, a.key)
	require.NoError(a.t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(a.t, err)
	return a.write(name+".pem", "CERTIFICATE", der), a.write(name+".key", "PRIVATE KEY", keyDER)
}

// server returns the TLS settings of a server on 127.0.0.1.
func (a *authority) server(clients tls.ClientAuthType) *tls.Config {
	a.t.Helper()
	pair, err := tls.LoadX509KeyPair(a.issue("server", x509.ExtKeyUsageServerAuth))
	require.NoError(a.t, err)
	pool := x509.NewCertPool()
	pool.AddCert(must(x509.ParseCertificate(pemBytes(a.t, a.file))))
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: clients, ClientCAs: pool, MinVersion: tls.VersionTLS12}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func pemBytes(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	block, _ := pem.Decode(b)
	return block.Bytes
}

// frontend is as much of a Temporal frontend as a client's dialling asks for.
type frontend struct {
	workflowservice.UnimplementedWorkflowServiceServer
	authorization string // of the newest call
}

func (f *frontend) GetSystemInfo(ctx context.Context, _ *workflowservice.GetSystemInfoRequest) (*workflowservice.GetSystemInfoResponse, error) {
	m, _ := metadata.FromIncomingContext(ctx)
	f.authorization = strings.Join(m.Get("authorization"), " ")
	return &workflowservice.GetSystemInfoResponse{Capabilities: &workflowservice.GetSystemInfoResponse_Capabilities{}}, nil
}

func startFrontend(t *testing.T, c *tls.Config) (*frontend, string) {
	t.Helper()
	f := &frontend{}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(c)))
	workflowservice.RegisterWorkflowServiceServer(server, f)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return f, l.Addr().String()
}

func dialWith(t *testing.T, address string, set func(*config.Temporal)) error {
	t.Helper()
	log, err := telemetry.NewLogger(t.Output(), "error", "text")
	require.NoError(t, err)
	c := config.Temporal{Address: address, Namespace: "default"}
	set(&c)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	temporal, err := DialTemporal(ctx, c, log)
	if err == nil {
		temporal.Close()
	}
	return err
}

func TestTemporalWithMutualTLS(t *testing.T) {
	ours, foreign := newAuthority(t), newAuthority(t)
	_, address := startFrontend(t, ours.server(tls.RequireAndVerifyClientCert))
	cert, key := ours.issue("worker", x509.ExtKeyUsageClientAuth)
	alien, alienKey := foreign.issue("worker", x509.ExtKeyUsageClientAuth)
	tlsOf := func(ca, cert, key string) func(*config.Temporal) {
		return func(c *config.Temporal) { c.TLS = config.TemporalTLS{CAFile: ca, CertFile: cert, KeyFile: key} }
	}
	require.NoError(t, dialWith(t, address, tlsOf(ours.file, cert, key)))
	require.Error(t, dialWith(t, address, tlsOf(ours.file, "", "")), "without a client certificate")
	require.Error(t, dialWith(t, address, tlsOf(ours.file, alien, alienKey)), "with one of another authority")
	require.Error(t, dialWith(t, address, tlsOf(foreign.file, cert, key)), "a server of another authority")
	require.Error(t, dialWith(t, address, func(c *config.Temporal) {
		c.TLS = config.TemporalTLS{CAFile: ours.file, CertFile: cert, KeyFile: key, ServerName: "temporal.example"}
	}), "a server of another name")
	require.ErrorIs(t, dialWith(t, address, tlsOf(key, cert, key)), ErrTLS, "a file without a certificate")
}

func TestTemporalWithAPIKey(t *testing.T) {
	a := newAuthority(t)
	f, address := startFrontend(t, a.server(tls.NoClientCert))
	require.NoError(t, dialWith(t, address, func(c *config.Temporal) {
		c.APIKey, c.TLS.CAFile = "the-key", a.file
	}))
	require.Equal(t, "Bearer the-key", f.authorization)
	require.Error(t, dialWith(t, address, func(c *config.Temporal) { c.APIKey = "the-key" }),
		"an API key alone means TLS, with the system's authorities")
}

func TestStoreWithTLSAndSessionToken(t *testing.T) {
	a, foreign := newAuthority(t), newAuthority(t)
	var token, signature string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, signature = r.Header.Get("X-Amz-Security-Token"), r.Header.Get("Authorization")
		fmt.Fprint(w, `<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated></ListBucketResult>`)
	}))
	server.TLS = a.server(tls.NoClientCert)
	server.Config.ErrorLog = nil
	server.StartTLS()
	defer server.Close()

	c := config.Store{
		Endpoint: strings.TrimPrefix(server.URL, "https://"), Bucket: "bucket", Region: "us-east-1", TLS: true, CAFile: a.file,
		AccessKey: "ak", SecretKey: "sk", SessionToken: "the-token",
	}
	_, err := OpenStore(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, "the-token", token)
	require.Contains(t, signature, "x-amz-security-token", "the token is signed, too")

	c.CAFile = foreign.file
	_, err = OpenStore(t.Context(), c)
	require.ErrorContains(t, err, "certificate")
	c.CAFile = filepath.Join(t.TempDir(), "none.pem")
	_, err = OpenStore(t.Context(), c)
	require.ErrorIs(t, err, ErrTLS)
}
