package worker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path"
	"slices"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"multiattempt/config"
	"multiattempt/internal/blob"
	"multiattempt/internal/blob/local"
	"multiattempt/internal/blob/s3"
	"multiattempt/internal/telemetry"
)

// ErrTLS: a certificate file of the configuration cannot be used.
var ErrTLS = errors.New("unusable certificate")

// DialTemporal connects to a Temporal frontend; with changes the options of the connection.
func DialTemporal(ctx context.Context, t config.Temporal, log sdklog.Logger, with ...func(*client.Options)) (client.Client, error) {
	payloads, err := DataConverter(t.Codec)
	if err != nil {
		return nil, err
	}
	o := client.Options{
		HostPort: t.Address, Namespace: t.Namespace, Logger: log, Identity: identity(), DataConverter: payloads,
		// Messages and stack traces of failures are payloads, too, when payloads are encrypted.
		FailureConverter: temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{
			DataConverter: payloads, EncodeCommonAttributes: t.Codec.On(),
		}),
	}
	o.ConnectionOptions.DialOptions = reconnecting()
	if t.APIKey != "" {
		o.Credentials = client.NewAPIKeyStaticCredentials(t.APIKey.Reveal())
	}
	if t.On() {
		encryption, err := temporalTLS(t.TLS)
		if err != nil {
			return nil, err
		}
		o.ConnectionOptions.TLS = encryption
	}
	for _, change := range with {
		change(&o)
	}
	c, err := client.DialContext(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("connect to Temporal at %s, namespace %s: %w", t.Address, t.Namespace, err)
	}
	return c, nil
}

// reconnecting options try an unreachable service at least every two seconds, and let a worker's polls and answers wait for
// the connection: by themselves they fail, back off for up to ten seconds, and a service that has come back stands idle.
func reconnecting() []grpc.DialOption {
	again := backoff.DefaultConfig
	again.BaseDelay, again.MaxDelay = 200*time.Millisecond, 2*time.Second
	wait := func(ctx context.Context, method string, request, reply any, c *grpc.ClientConn, call grpc.UnaryInvoker, o ...grpc.CallOption) error {
		if name := path.Base(method); strings.HasPrefix(name, "Poll") || strings.HasPrefix(name, "Respond") {
			o = append(o, grpc.WaitForReady(true))
		}
		return call(ctx, method, request, reply, c, o...)
	}
	return []grpc.DialOption{
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: again, MinConnectTimeout: 5 * time.Second}),
		grpc.WithChainUnaryInterceptor(wait),
	}
}

// identity is who histories say that asked for something, or did it: user@host and the process.
func identity() string {
	name, host := "unknown", "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return fmt.Sprintf("%s@%s (%d)", name, host, os.Getpid())
}

func temporalTLS(t config.TemporalTLS) (*tls.Config, error) {
	c := &tls.Config{ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		var err error
		if c.RootCAs, err = authorities("temporal.tls.ca_file", t.CAFile); err != nil {
			return nil, err
		}
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("%w: temporal.tls.cert_file: %w", ErrTLS, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// authorities reads the certificates that setting names.
func authorities(setting, file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrTLS, setting, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%w: %s: %s holds no PEM certificate", ErrTLS, setting, file)
	}
	return pool, nil
}

// OpenStore connects to the bucket, or opens the folder, where artefacts are kept.
func OpenStore(ctx context.Context, c config.Store) (blob.Store, error) {
	if c.Dir != "" {
		return local.Open(c.Dir)
	}
	o := s3.Options{
		Endpoint: c.Endpoint, Secure: c.TLS, Region: c.Region, Bucket: c.Bucket,
		AccessKey: c.AccessKey, SecretKey: c.SecretKey.Reveal(), SessionToken: c.SessionToken.Reveal(),
	}
	if c.CAFile != "" {
		var err error
		if o.Authorities, err = authorities("store.ca_file", c.CAFile); err != nil {
			return nil, err
		}
	}
	return s3.Open(ctx, o)
}

// ensureSearchAttributes registers what the namespace lacks: without them no workflow of ours gets past its first task.
func ensureSearchAttributes(ctx context.Context, c client.Client, namespace string) error {
	known, err := c.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: namespace})
	if err != nil {
		return fmt.Errorf("read the search attributes of namespace %s: %w", namespace, err)
	}
	missing := map[string]enumspb.IndexedValueType{}
	var commands []string
	for _, a := range telemetry.SearchAttributes() {
		if known.CustomAttributes[a.GetName()] == a.GetValueType() {
			continue
		}
		missing[a.GetName()] = a.GetValueType()
		commands = append(commands, fmt.Sprintf("--name %s --type %s", a.GetName(), a.GetValueType()))
	}
	if len(missing) == 0 {
		return nil
	}
	_, err = c.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{Namespace: namespace, SearchAttributes: missing})
	if err != nil {
		slices.Sort(commands)
		return fmt.Errorf("namespace %s lacks search attributes, and they cannot be registered from here: %w; run: temporal operator search-attribute create --namespace %s %s",
			namespace, err, namespace, strings.Join(commands, " "))
	}
	return nil
}
