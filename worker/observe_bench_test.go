package worker

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"multiattempt/activities"
	"multiattempt/config"
	"multiattempt/internal/blob"
	"multiattempt/internal/reward"
	"multiattempt/internal/rollout"
	"multiattempt/internal/telemetry"
	"multiattempt/internal/telemetry/metrics"
	"multiattempt/internal/update"
)

// BenchmarkObservation is what metrics and traces add to one iteration of the quickstart's size: eight activities, forty
// calls of the store, one record shown. The time of an iteration, to compare with, is in docs/LOG.md.
func BenchmarkObservation(b *testing.B) {
	log, err := telemetry.NewLogger(b.Output(), "error", "text")
	require.NoError(b, err)
	meter, err := metrics.New(nil)
	require.NoError(b, err)
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(tracetest.NewNoopExporter()))
	o := &observer{log: log, meter: meter, tracer: provider.Tracer("bench")}
	store := o.watch(blob.NewMemory(), config.Tracking{})
	record := activities.StepRecord{Run: "r", Step: 1, Update: update.Stats{KL: 0.1}, Reward: reward.Summary{
		SolvedAt: []float64{0.1, 0.2, 0.3}, Outcomes: map[rollout.Outcome]float64{rollout.Correct: 0.5, rollout.Wrong: 0.5},
	}}
	ref := putRecord(b, store, record)
	began := cpu(b)
	for b.Loop() {
		for range 8 {
			ctx, span := o.tracer.Start(context.Background(), "RunActivity:Rollout")
			for range 5 {
				_, err := store.Put(ctx, "key", strings.NewReader("x"), 1, blob.PutOptions{})
				require.NoError(b, err)
			}
			span.End()
			o.meter.Stage("Rollout", time.Second, 1, "")
			o.meter.Rollout("r", 128, 1000, time.Second)
		}
		o.iteration(b.Context(), ref)
	}
	b.ReportMetric(float64((cpu(b)-began).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

// cpu is the processor time of this process so far: unlike the clock's it does not grow while other programs run.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
