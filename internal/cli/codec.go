package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"multiattempt/worker"
)

func (a *app) newCodec() *cobra.Command {
	var listen, ui string
	cmd := &cobra.Command{
		Use:   "codec",
		Short: "Decrypt payloads for the Temporal UI and the temporal command",
		Long: `Serves Temporal's codec protocol (POST /encode and /decode) with the keys of temporal.codec until Ctrl-C. In the Temporal
UI set the codec endpoint to the printed address; the temporal command takes --codec-endpoint. Whoever reaches the address
can read histories, so it is one of this machine's loopback addresses; pages of the named UI alone may call it.`,
		Example: `  multiattempt codec --ui http://127.0.0.1:8233
  temporal workflow show --workflow-id my-run --codec-endpoint http://127.0.0.1:8234`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !isLoopback(listen) {
				return usage("--listen %s: want a loopback address, as in 127.0.0.1:8234", listen)
			}
			if !a.cfg.Temporal.Codec.On() {
				return usage("there is nothing to decrypt with: set temporal.codec.key_file, or $MULTIATTEMPT_TEMPORAL_CODEC_KEY")
			}
			handler, err := worker.CodecHandler(a.cfg.Temporal.Codec, ui)
			if err != nil {
				return err
			}
			l, err := net.Listen("tcp", listen)
			if err != nil {
				return fmt.Errorf("%w: %w", errServices, err)
			}
			a.printf("Codec server  http://%s\nReady. Ctrl-C stops.\n", l.Addr())
			return serveUntil(cmd.Context(), &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}, l)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8234", "loopback address to listen on")
	cmd.Flags().StringVar(&ui, "ui", "http://127.0.0.1:8233", "the Temporal UI whose pages may ask")
	return cmd
}

// isLoopback reports whether nobody beyond this machine reaches an address host:port.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// serveUntil serves until ctx ends, and then lets requests finish.
func serveUntil(ctx context.Context, server *http.Server, l net.Listener) error {
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := server.Shutdown(stop)
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
