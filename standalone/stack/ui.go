package stack

import (
	"context"
	"errors"
	"fmt"

	"github.com/temporalio/ui-server/v2/server"
	"github.com/temporalio/ui-server/v2/server/config"
	"github.com/temporalio/ui-server/v2/server/server_options"
)

// webUI is a running Temporal UI.
type webUI struct {
	url    string
	server *server.Server
	done   chan error
}

// startUI serves the UI of the Temporal server at frontend. Its assets are part of the program.
func startUI(ctx context.Context, port int, frontend, namespace string) (*webUI, error) {
	ui := &webUI{
		url: "http://" + address(port),
		server: server.NewServer(server_options.WithConfigProvider(&config.Config{
			Host:                loopback,
			Port:                port,
			TemporalGRPCAddress: frontend,
			EnableUI:            true,
			DefaultNamespace:    namespace,
			CORS:                config.CORS{CookieInsecure: true}, // plain HTTP on loopback
			HideLogs:            true,
			DisableNewsFetch:    true, // never calls out
		})),
		done: make(chan error, 1),
	}
	go func() { ui.done <- ui.server.Start() }()
	err := eventually(ctx, "Temporal UI", ui.done, func(ctx context.Context) error { return get(ctx, ui.url+"/healthz") })
	if err != nil {
		return nil, errors.Join(fmt.Errorf("at %s: %w", ui.url, err), ui.stop())
	}
	return ui, nil
}

func (ui *webUI) stop() error {
	ui.server.Stop()
	return <-ui.done
}
