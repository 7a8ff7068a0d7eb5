package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"multiattempt/internal/web"
	"multiattempt/presets"
	"multiattempt/worker"
)

// pagesMemory is where the garbage collector begins to work harder in a process that only serves pages. Unit: bytes.
const pagesMemory = 80 << 20

func (a *app) newWeb() *cobra.Command {
	var storeOnly bool
	cmd := &cobra.Command{
		Use:   "web",
		Short: "Show runs, dialogues and comparisons in a browser",
		Long: `Serves pages about runs until Ctrl-C: what they do now, how they learn, what the model said, how they compare. Running runs
can be steered from there. Without Temporal, and with --store-only, runs are shown as the store has them.

The pages listen on loopback. Elsewhere (web.listen) they ask for a token, which web.token or $MULTIATTEMPT_WEB_TOKEN sets; put a
proxy with TLS before them.`,
		Example: "  multiattempt web\n  MULTIATTEMPT_WEB_TOKEN=$(openssl rand -hex 24) multiattempt web --web 0.0.0.0:8234",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if os.Getenv("GOMEMLIMIT") == "" {
				debug.SetMemoryLimit(pagesMemory)
			}
			s, err := a.connectStore(ctx, storeOnly)
			if err != nil {
				return err
			}
			defer s.Close()
			p, err := a.servePages(ctx, s, a.cfg.Web.Listen)
			if err != nil {
				return err
			}
			a.printf("Pages  %s\n", p.url)
			if s.temporal == nil {
				a.notef("Temporal is left out: runs are shown as the store has them, and cannot be steered.\n")
			}
			return <-p.ended
		},
	}
	cmd.Flags().BoolVar(&storeOnly, "store-only", false, "do not ask Temporal")
	return cmd
}

// connectStore is connect, but goes on without Temporal when that is away or not wanted.
func (a *app) connectStore(ctx context.Context, storeOnly bool) (*services, error) {
	if !storeOnly {
		s, err := a.connect(ctx)
		if err == nil || !errors.Is(err, errServices) {
			return s, err
		}
		a.notef("%v\n", err)
	}
	found, err := readEndpoints(a.cfg.StateDir)
	if err != nil {
		return nil, err
	}
	cfg := found.into(a.cfg)
	if cfg.Store.Endpoint == "" && cfg.Store.Dir == "" {
		return nil, fmt.Errorf("%w: store.endpoint names no store, and none runs from %s", errServices, cfg.StateDir)
	}
	store, err := worker.OpenStore(ctx, cfg.Store)
	if err != nil {
		return nil, err
	}
	return &services{store: store, cfg: cfg, ui: found.UI}, nil
}

// pages are being served.
type pages struct {
	url   string
	ended chan error // once
}

// servePages serves the pages of services on an address until ctx ends.
func (a *app) servePages(ctx context.Context, s *services, address string) (*pages, error) {
	o := web.Options{Store: s.store, CacheDir: a.cfg.CacheDir, Presets: presets.Train(), Token: a.cfg.Web.Token.Reveal(), Log: a.log}
	if s.temporal != nil {
		live, err := newLive(s)
		if err != nil {
			return nil, err
		}
		o.Live = live
	}
	server, err := web.New(ctx, o)
	if errors.Is(err, web.ErrToken) {
		return nil, usage("%w", err)
	}
	if err != nil {
		return nil, err
	}
	l, err := server.Listen(ctx, address)
	if errors.Is(err, web.ErrAddress) {
		return nil, usage("%w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: pages: %w; --web or --web-port names another port", errServices, err)
	}
	p := &pages{url: "http://" + l.Addr().String(), ended: make(chan error, 1)}
	if host, port, err := net.SplitHostPort(l.Addr().String()); err == nil && net.ParseIP(host).IsUnspecified() {
		p.url = "http://HOST:" + port
	}
	go func() {
		err := server.Serve(l)
		server.Wait()
		p.ended <- err
	}()
	return p, nil
}
