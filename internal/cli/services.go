package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"

	"multiattempt/config"
	"multiattempt/internal/blob"
	"multiattempt/worker"
)

// dialTimeout bounds how long a command waits for a service that does not answer.
const dialTimeout = 10 * time.Second

// endpoints are where the embedded services of a state directory listen, for other commands beside the one that runs them.
type endpoints struct {
	Temporal  string `json:"temporal"`
	Namespace string `json:"namespace"`
	UI        string `json:"ui"`
	Web       string `json:"web,omitempty"` // base URL of the pages
	S3        string `json:"s3"`
	Bucket    string `json:"bucket"`
	AccessKey string `json:"access_key"`
	SecretKey string `json:"secret_key"`
}

func endpointsFile(stateDir string) string { return filepath.Join(stateDir, "endpoints.json") }

// readEndpoints returns nothing, and no error, where no services of this state directory ever ran.
func readEndpoints(stateDir string) (endpoints, error) {
	text, err := os.ReadFile(endpointsFile(stateDir))
	if errors.Is(err, fs.ErrNotExist) {
		return endpoints{}, nil
	}
	var e endpoints
	if err == nil {
		err = json.Unmarshal(text, &e)
	}
	if err != nil {
		return endpoints{}, usage("%s: %w; remove the file and start the services again", endpointsFile(stateDir), err)
	}
	return e, nil
}

// write keeps the endpoints for other commands of the same user only: they hold the store's secret key.
func (e endpoints) write(stateDir string) error {
	text, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(endpointsFile(stateDir), text, 0o600)
}

// announce tells other commands where the pages of the services of this state directory are.
func (a *app) announce(url string) error {
	e, err := readEndpoints(a.cfg.StateDir)
	if err != nil {
		return err
	}
	e.Web = url
	return e.write(a.cfg.StateDir)
}

// into returns cfg with the endpoints filled in wherever the user named no other service.
func (e endpoints) into(cfg config.Config) config.Config {
	if cfg.Temporal.Address == "" && e.Temporal != "" {
		cfg.Temporal.Address, cfg.Temporal.Namespace = e.Temporal, e.Namespace
	}
	if cfg.Store.Endpoint == "" && cfg.Store.Dir == "" && e.S3 != "" {
		cfg.Store.Endpoint, cfg.Store.Bucket = e.S3, e.Bucket
		cfg.Store.AccessKey, cfg.Store.SecretKey = e.AccessKey, config.Secret(e.SecretKey)
	}
	return cfg
}

// services are the Temporal service and the store that a command works with.
type services struct {
	temporal client.Client
	store    blob.Store
	cfg      config.Config // with the addresses in use
	ui       string        // base URL of the Temporal UI; empty when unknown
	web      string        // base URL of the pages; empty when unknown
}

// Close ends the connections.
func (s *services) Close() {
	if s.temporal != nil {
		s.temporal.Close()
	}
}

// runURL is the workflow's page in the Temporal UI; empty when the UI's address is unknown.
func (s *services) runURL(id string) string {
	if s.ui == "" {
		return ""
	}
	return fmt.Sprintf("%s/namespaces/%s/workflows/%s", s.ui, s.cfg.Temporal.Namespace, id)
}

// connect reaches the services that the settings name or, where they name none, those running from the state directory.
func (a *app) connect(ctx context.Context) (*services, error) {
	if a.connected != nil {
		return a.connected(ctx)
	}
	cfg := a.cfg
	found, err := readEndpoints(cfg.StateDir)
	if err != nil {
		return nil, err
	}
	cfg = found.into(cfg)
	ui := ""
	if cfg.Temporal.Address != "" && cfg.Temporal.Address == found.Temporal {
		ui = found.UI
		if !listens(ctx, found.Temporal) {
			return nil, fmt.Errorf("%w: those of %s have ended; %s", errServices, cfg.StateDir, howToGetServices())
		}
	}
	if cfg.Temporal.Address == "" || cfg.Store.Endpoint == "" && cfg.Store.Dir == "" {
		return nil, fmt.Errorf("%w: no services run from %s, and temporal.address and store.endpoint name no others; %s",
			errServices, cfg.StateDir, howToGetServices())
	}
	s, err := dial(ctx, cfg, ui, a.log)
	if err == nil && ui != "" {
		s.web = found.Web
	}
	return s, err
}

// listens reports at once whether anything accepts connections at a local address; Temporal's client would wait for it.
func listens(ctx context.Context, address string) bool {
	dialer := net.Dialer{Timeout: time.Second}
	c, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	return c.Close() == nil
}

func howToGetServices() string {
	if startStack == nil {
		return "set both (this build has no services inside)"
	}
	return "start them with `multiattempt up`, give another --state-dir, or set both"
}

// dial connects to both services and fails within dialTimeout when one does not answer.
func dial(ctx context.Context, cfg config.Config, ui string, log sdklog.Logger) (*services, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c, err := worker.DialTemporal(ctx, cfg.Temporal, log)
	if errors.Is(err, worker.ErrTLS) || errors.Is(err, worker.ErrCodecKey) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w; %s", errServices, err, howToGetServices())
	}
	store, err := worker.OpenStore(ctx, cfg.Store)
	if err != nil {
		c.Close()
		return nil, err
	}
	return &services{temporal: c, store: store, cfg: cfg, ui: ui}, nil
}
