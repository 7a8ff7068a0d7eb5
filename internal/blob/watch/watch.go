// Package watch counts and traces the calls of an object store.
package watch

import (
	"context"
	"errors"
	"io"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"multiattempt/internal/blob"
)

// Meter counts calls; op is get, put, stat, list or delete, and failed leaves out conditions not met and absent keys.
type Meter interface {
	Store(op string, bytes int64, took time.Duration, failed bool)
}

// Store hands every call on.
type Store struct {
	to     blob.Store
	meter  Meter
	tracer trace.Tracer
}

var _ blob.Store = (*Store)(nil)

// New watches a store. A nil tracer traces nothing.
func New(to blob.Store, meter Meter, tracer trace.Tracer) *Store {
	if tracer == nil {
		tracer = noop.NewTracerProvider().Tracer("")
	}
	return &Store{to: to, meter: meter, tracer: tracer}
}

// Unwrap returns the store that is watched.
func (s *Store) Unwrap() blob.Store { return s.to }

// call is one call of the store under way.
type call struct {
	store *Store
	op    string
	span  trace.Span
	began time.Time
}

func (s *Store) begin(ctx context.Context, op, key string) (context.Context, call) {
	ctx, span := s.tracer.Start(ctx, "store."+op, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("multiattempt.store.key", key)))
	return ctx, call{store: s, op: op, span: span, began: time.Now()}
}

func (c call) end(bytes int64, err error) {
	expected := err == nil || errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrExists) ||
		errors.Is(err, blob.ErrConflict) || errors.Is(err, context.Canceled)
	if !expected {
		c.span.RecordError(err)
		c.span.SetStatus(codes.Error, "")
	}
	c.span.SetAttributes(attribute.Int64("multiattempt.store.bytes", bytes))
	c.span.End()
	c.store.meter.Store(c.op, bytes, time.Since(c.began), !expected)
}

// Put implements blob.Store.
func (s *Store) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, opts blob.PutOptions) (blob.Info, error) {
	ctx, c := s.begin(ctx, "put", key)
	info, err := s.to.Put(ctx, key, body, size, opts)
	moved := size
	if err != nil {
		moved = 0
	}
	c.end(moved, err)
	return info, err
}

// Get implements blob.Store. The call lasts until the body is closed.
func (s *Store) Get(ctx context.Context, key string) (io.ReadCloser, blob.Info, error) {
	ctx, c := s.begin(ctx, "get", key)
	r, info, err := s.to.Get(ctx, key)
	if err != nil {
		c.end(0, err)
		return nil, info, err
	}
	return &body{ReadCloser: r, call: c}, info, nil
}

// body counts what is read.
type body struct {
	io.ReadCloser
	call   call
	n      int64
	err    error
	closed bool
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

func (b *body) Close() error {
	err := b.ReadCloser.Close()
	if !b.closed {
		b.closed = true
		b.call.end(b.n, errors.Join(b.err, err))
	}
	return err
}

// Stat implements blob.Store.
func (s *Store) Stat(ctx context.Context, key string) (blob.Info, error) {
	ctx, c := s.begin(ctx, "stat", key)
	info, err := s.to.Stat(ctx, key)
	c.end(0, err)
	return info, err
}

// errStopped marks an error of the caller's own, by which it ends a listing.
type errStopped struct{ error }

// List implements blob.Store.
func (s *Store) List(ctx context.Context, prefix string, yield func(blob.Info) error) error {
	ctx, c := s.begin(ctx, "list", prefix)
	err := s.to.List(ctx, prefix, func(i blob.Info) error {
		if err := yield(i); err != nil {
			return errStopped{err}
		}
		return nil
	})
	if stopped, ok := errors.AsType[errStopped](err); ok {
		c.end(0, nil)
		return stopped.error
	}
	c.end(0, err)
	return err
}

// Delete implements blob.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	ctx, c := s.begin(ctx, "delete", key)
	err := s.to.Delete(ctx, key)
	c.end(0, err)
	return err
}
