package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/grpc"
)

// spans is a collector of traces.
type spans struct {
	collector.UnimplementedTraceServiceServer
	mu  sync.Mutex
	all []*tracepb.Span
}

func (s *spans) Export(_ context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range r.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			s.all = append(s.all, scope.GetSpans()...)
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func startCollector(t *testing.T) (*spans, string) {
	t.Helper()
	s := &spans{}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, s)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return s, l.Addr().String()
}

// child returns a span called name whose parent is parent.
func (s *spans) child(parent *tracepb.Span, name string) *tracepb.Span {
	for _, span := range s.all {
		if span.GetName() == name && string(span.GetParentSpanId()) == string(parent.GetSpanId()) && string(span.GetTraceId()) == string(parent.GetTraceId()) {
			return span
		}
	}
	return nil
}

// TestARunIsSeenByThoseWhoMaySeeIt trains with everything on: metrics, traces, an experiment tracker and encrypted payloads.
func TestARunIsSeenByThoseWhoMaySeeIt(t *testing.T) {
	key := make([]byte, 32)
	_, err := rand.Read(key)
	require.NoError(t, err)
	traces, endpoint := startCollector(t)
	events := t.TempDir()
	metrics := fmt.Sprintf("127.0.0.1:%d", freePorts(t, 1)[0])
	t.Setenv("MULTIATTEMPT_TRACING_ENDPOINT", "http://"+endpoint)
	t.Setenv("MULTIATTEMPT_TRACKING_TENSORBOARD", events)
	t.Setenv("MULTIATTEMPT_TEMPORAL_CODEC_KEY", base64.StdEncoding.EncodeToString(key))
	t.Setenv("MULTIATTEMPT_METRICS_LISTEN", metrics)
	in := newInstallation(t)
	services := in.start(t, "up")
	services.untilReady(t)
	train := in.start(t, "train", "--preset", "tiny", "--run", "seen", "--set", "iterations=2", "--set", "evaluation.final_attempts=[]", "--follow")
	require.Zero(t, train.wait(t), "%s", &train.out)
	again := in.start(t, "train", "--preset", "tiny", "--run", "seen", "--set", "iterations=2", "--set", "evaluation.final_attempts=[]", "--follow", "--continue")
	require.Zero(t, again.wait(t), "settings are compared through the memo, which is encrypted, too: %s", &again.out)

	requireEncrypted(t, in, "seen")
	text := scrape(t, "http://"+metrics+"/metrics")
	require.Contains(t, text, `multiattempt_iterations_total{run="seen"} 2`)
	require.Contains(t, text, `multiattempt_stage_seconds_count{stage="Rollout"}`)
	require.Contains(t, text, "temporal_workflow_completed_total")

	require.NoError(t, services.cmd.Process.Signal(syscall.SIGTERM))
	require.Zero(t, services.wait(t), "%s", &services.out)
	files, err := filepath.Glob(filepath.Join(events, "seen", "*tfevents*"))
	require.NoError(t, err)
	require.Len(t, files, 1, "the tracker followed")
	b, err := os.ReadFile(files[0])
	require.NoError(t, err)
	require.Contains(t, string(b), "update/kl_k3_mean_per_token")

	traces.mu.Lock()
	defer traces.mu.Unlock()
	found := false
	for _, workflow := range traces.all {
		if workflow.GetName() != "RunWorkflow:Train" {
			continue
		}
		if start := traces.child(workflow, "StartActivity:Update"); start != nil {
			if run := traces.child(start, "RunActivity:Update"); run != nil {
				found = found || traces.child(run, "store.put") != nil
			}
		}
	}
	require.True(t, found, "a workflow's span has its activities' spans in it, and those have the store's calls")
}

// requireEncrypted reads a history as Temporal keeps it.
func requireEncrypted(t *testing.T, in installation, run string) {
	t.Helper()
	c, err := client.Dial(client.Options{HostPort: in.address()})
	require.NoError(t, err)
	defer c.Close()
	history := c.GetWorkflowHistory(t.Context(), run, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	events := 0
	for history.HasNext() {
		e, err := history.Next()
		require.NoError(t, err)
		events++
		for _, plain := range []string{"runs/" + run, "reward_mean", "tiny", "iteration 1"} {
			require.NotContains(t, e.String(), plain)
		}
	}
	require.Greater(t, events, 10)
}

func scrape(t *testing.T, url string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	b, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	return string(b)
}
