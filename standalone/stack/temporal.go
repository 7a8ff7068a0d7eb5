package stack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/cluster"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/dynamicconfig"
	"go.temporal.io/server/common/membership/static"
	"go.temporal.io/server/common/primitives"
	"go.temporal.io/server/temporal"
)

const (
	clusterName = "active"
	storeName   = "sqlite"
)

// temporalServer is a running Temporal server: all four services in this process.
type temporalServer struct {
	address string // of the frontend, host:port
	server  temporal.Server
	level   *slog.LevelVar
}

// startTemporal returns when the frontend answers and namespace has its retention and search attributes.
func startTemporal(ctx context.Context, dir string, p ports, namespace string, log *slog.Logger) (*temporalServer, error) {
	conf, err := serverConfig(dir, p, namespace)
	if err != nil {
		return nil, err
	}
	level := new(slog.LevelVar)
	level.Set(slog.LevelWarn)
	logger := serverLog{to: log.With("component", "temporal-server"), level: level}
	claims, err := authorization.GetClaimMapperFromConfig(&conf.Global.Authorization, logger)
	if err != nil {
		return nil, err
	}
	server, err := temporal.NewServer(
		temporal.WithConfig(conf),
		temporal.ForServices(temporal.DefaultServices),
		temporal.WithStaticHosts(map[primitives.ServiceName]static.Hosts{ // instead of a gossip ring
			primitives.FrontendService: static.SingleLocalHost(address(p.frontend)),
			primitives.HistoryService:  static.SingleLocalHost(address(p.history)),
			primitives.MatchingService: static.SingleLocalHost(address(p.matching)),
			primitives.WorkerService:   static.SingleLocalHost(address(p.worker)),
		}),
		temporal.WithLogger(logger),
		temporal.WithAuthorizer(authorization.NewNoopAuthorizer()), // loopback only
		temporal.WithClaimMapper(func(*config.Config) authorization.ClaimMapper { return claims }),
		temporal.WithDynamicConfigClient(dynamicConfig()),
	)
	if err != nil {
		return nil, fmt.Errorf("temporal server: %w", err)
	}
	if err := server.Start(); err != nil {
		return nil, fmt.Errorf("temporal server: %w", err)
	}
	t := &temporalServer{address: address(p.frontend), server: server, level: level}
	if err := prepareNamespace(ctx, t.address, namespace); err != nil {
		return nil, errors.Join(err, t.stop())
	}
	return t, nil
}

// stop drains the server. Workers have stopped and clients are closed by then.
func (t *temporalServer) stop() error {
	t.level.Set(slog.LevelError + 1) // services complain about each other while they go down
	return t.server.Stop()
}

// serverConfig is what a server's configuration file would hold.
func serverConfig(dir string, p ports, namespace string) (*config.Config, error) {
	database, err := openDatabase(dir, namespace)
	if err != nil {
		return nil, err
	}
	id, err := clusterID(dir)
	if err != nil {
		return nil, err
	}
	const off = "disabled"
	return &config.Config{
		Global: config.Global{Membership: config.Membership{MaxJoinDuration: 30 * time.Second, BroadcastAddress: loopback}},
		Persistence: config.Persistence{
			DefaultStore:     storeName,
			VisibilityStore:  storeName,
			NumHistoryShards: 1, // fixed for the life of the database
			DataStores:       map[string]config.DataStore{storeName: {SQL: database}},
		},
		ClusterMetadata: &cluster.Config{
			FailoverVersionIncrement: 10,
			MasterClusterName:        clusterName,
			CurrentClusterName:       clusterName,
			ClusterInformation: map[string]cluster.ClusterInformation{clusterName: {
				Enabled: true, InitialFailoverVersion: 1, ClusterID: id,
				RPCAddress: address(p.frontend), HTTPAddress: address(p.frontendHTTP),
			}},
		},
		DCRedirectionPolicy: config.DCRedirectionPolicy{Policy: "noop"},
		Services: map[string]config.Service{
			"frontend": {RPC: config.RPC{GRPCPort: p.frontend, HTTPPort: p.frontendHTTP, BindOnIP: loopback}},
			"history":  {RPC: config.RPC{GRPCPort: p.history, BindOnIP: loopback}},
			"matching": {RPC: config.RPC{GRPCPort: p.matching, BindOnIP: loopback}},
			"worker":   {RPC: config.RPC{GRPCPort: p.worker, BindOnIP: loopback}},
		},
		Archival: config.Archival{History: config.HistoryArchival{State: off}, Visibility: config.VisibilityArchival{State: off}},
		NamespaceDefaults: config.NamespaceDefaults{Archival: config.ArchivalNamespaceDefaults{
			History: config.HistoryArchivalNamespaceDefaults{State: off}, Visibility: config.VisibilityArchivalNamespaceDefaults{State: off},
		}},
		PublicClient: config.PublicClient{HostPort: address(p.frontend)},
	}, nil
}

// dynamicConfig adapts the server, tuned for a cluster, to one shard on one machine.
func dynamicConfig() dynamicconfig.StaticClient {
	return dynamicconfig.StaticClient{
		// New search attributes are usable at once.
		dynamicconfig.MakeKey("system.forceSearchAttributesCacheRefreshOnRead"): true,
		dynamicconfig.MakeKey("frontend.persistenceMaxQPS"):                     10000,
		dynamicconfig.MakeKey("history.persistenceMaxQPS"):                      45000,
		dynamicconfig.MakeKey("matching.persistenceMaxQPS"):                     10000,
		// The default of 10 a second is too low for pages that poll.
		dynamicconfig.FrontendMaxNamespaceVisibilityRPSPerInstance.Key(): 100,
		// With one shard the queue readers' default of 20 polls a second makes every step of a workflow wait for 50 ms.
		dynamicconfig.TransferProcessorMaxPollRPS.Key():   2000,
		dynamicconfig.TimerProcessorMaxPollRPS.Key():      500,
		dynamicconfig.VisibilityProcessorMaxPollRPS.Key(): 200,
		// Timers fire up to this much late; the default is a second.
		dynamicconfig.TimerProcessorMaxTimeShift.Key(): 50 * time.Millisecond,
		// The history notifier drops an event when its subscriber's buffer of one is full, and who waits for a workflow's
		// result then waits out the long poll, by default 20 seconds.
		dynamicconfig.HistoryLongPollExpirationInterval.Key(): 2 * time.Second,
		// One process polls: more partitions only add hops.
		dynamicconfig.MatchingNumTaskqueueReadPartitions.Key():  1,
		dynamicconfig.MatchingNumTaskqueueWritePartitions.Key(): 1,
	}
}
