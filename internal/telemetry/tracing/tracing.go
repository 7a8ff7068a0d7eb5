// Package tracing sends spans to an OpenTelemetry collector.
package tracing

import (
	"context"
	"fmt"
	"net/url"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Name is that of the tracer of every span of ours.
const Name = "multiattempt"

// Options say where spans go.
type Options struct {
	Endpoint string  // http://host:port or https://host:port of a collector that speaks OTLP over gRPC
	Ratio    float64 // share of runs that are traced, by their trace's id
	Instance string  // which process this is
}

// Open returns a tracer and what sends the rest and closes the connection. A collector that is away is tried again in
// the background; spans that do not fit into the queue meanwhile are dropped.
func Open(ctx context.Context, o Options) (trace.Tracer, func(context.Context) error, error) {
	u, err := url.Parse(o.Endpoint)
	if err != nil {
		return nil, nil, fmt.Errorf("tracing.endpoint: %w", err)
	}
	options := []otlptracegrpc.Option{otlptracegrpc.WithEndpoint(u.Host)}
	if u.Scheme == "http" {
		options = append(options, otlptracegrpc.WithInsecure())
	}
	exporter, err := otlptracegrpc.New(ctx, options...)
	if err != nil {
		return nil, nil, fmt.Errorf("tracing to %s: %w", o.Endpoint, err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(o.Ratio))),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", Name), attribute.String("service.instance.id", o.Instance))),
	)
	return provider.Tracer(Name), provider.Shutdown, nil
}
