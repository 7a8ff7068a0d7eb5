package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	temporalotel "go.temporal.io/sdk/contrib/opentelemetry"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"

	"multiattempt/activities"
	"multiattempt/config"
	"multiattempt/internal/blob"
	"multiattempt/internal/blob/watch"
	"multiattempt/internal/telemetry"
	"multiattempt/internal/telemetry/metrics"
	"multiattempt/internal/telemetry/tracing"
	"multiattempt/internal/track"
	"multiattempt/workflows"
)

// flushTimeout bounds how long a worker that ends waits for its collector and its trackers.
const flushTimeout = 10 * time.Second

// observer is how one process is seen from outside: metrics, traces and experiment trackers, each of which may be off.
type observer struct {
	interceptor.InterceptorBase
	log      *slog.Logger
	meter    *metrics.Meter // nil: off
	tracer   trace.Tracer   // nil: off
	tracing  interceptor.Interceptor
	trackers *following // nil: off
	store    blob.Store
	stop     []func(context.Context) error
}

// observe starts what the configuration asks for.
func observe(ctx context.Context, cfg config.Config, name string, log *slog.Logger) (*observer, error) {
	o := &observer{log: log}
	if cfg.Metrics.Listen != "" {
		if err := o.measure(cfg, name); err != nil {
			return nil, err
		}
	}
	if cfg.Tracing.Endpoint != "" {
		if err := o.trace(ctx, cfg, name); err != nil {
			o.close()
			return nil, err
		}
	}
	return o, nil
}

func (o *observer) measure(cfg config.Config, name string) error {
	meter, err := metrics.New(map[string]string{"worker": name, "queue": cfg.Temporal.Queue, "backend": cfg.Backend.Choice})
	if err != nil {
		return err
	}
	at, stop, err := meter.Serve(cfg.Metrics.Listen, func(err error) { o.log.Error("metrics are not served any more", telemetry.AttrError, err) })
	if err != nil {
		return err
	}
	o.log.Info("metrics are served", "address", at.String())
	o.meter = meter
	o.stop = append(o.stop, func(context.Context) error { return stop() })
	return nil
}

func (o *observer) trace(ctx context.Context, cfg config.Config, name string) error {
	// The exporter reports to OpenTelemetry's global handler only.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { o.log.Warn("traces are not delivered", telemetry.AttrError, err) }))
	tracer, stop, err := tracing.Open(ctx, tracing.Options{Endpoint: cfg.Tracing.Endpoint, Ratio: cfg.Tracing.Ratio, Instance: name})
	if err != nil {
		return err
	}
	o.stop = append(o.stop, stop)
	o.tracer = tracer
	o.tracing, err = temporalotel.NewTracingInterceptor(temporalotel.TracerOptions{
		Tracer: tracer, DisableQueryTracing: true, AllowInvalidParentSpans: true,
	})
	return err
}

// client adds to the options of a connection to Temporal what observes its workers.
func (o *observer) client(c *client.Options) {
	if o.meter != nil {
		c.MetricsHandler = o.meter.Temporal()
	}
	if o.tracing != nil {
		c.Interceptors = append(c.Interceptors, o.tracing)
	}
	c.Interceptors = append(c.Interceptors, o)
}

// watch returns the store with its calls counted and traced, and starts the trackers, which read from it.
func (o *observer) watch(store blob.Store, t config.Tracking) blob.Store {
	o.store = store
	if o.meter != nil || o.tracer != nil {
		o.store = watch.New(store, o.meter, o.tracer)
	}
	if trackers := Trackers(t); len(trackers) > 0 {
		o.trackers = follow(o.store, trackers, func(tracker track.Tracker, run string, err error) {
			o.meter.TrackerFailed(tracker.Name())
			o.log.Warn("experiment tracker not updated; the next iteration tries again", "tracker", tracker.Name(), telemetry.AttrRun, run, telemetry.AttrError, err)
		})
		o.stop = append(o.stop, o.trackers.close)
	}
	return o.store
}

// close sends what waits, within flushTimeout.
func (o *observer) close() {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	for i := len(o.stop) - 1; i >= 0; i-- {
		if err := o.stop[i](ctx); err != nil {
			o.log.Warn("the last observations are lost", telemetry.AttrError, err)
		}
	}
}

// InterceptActivity implements interceptor.WorkerInterceptor.
func (o *observer) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	i := &observedActivity{observer: o}
	i.Next = next
	return i
}

// commitName is the type of the activity activities.Data.Commit.
const commitName = "Commit"

// observedActivity counts what activities of one worker do.
type observedActivity struct {
	interceptor.ActivityInboundInterceptorBase
	observer *observer
}

// ExecuteActivity implements interceptor.ActivityInboundInterceptor.
func (a *observedActivity) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	began, info := time.Now(), activity.GetInfo(ctx)
	out, err := a.Next.ExecuteActivity(ctx, in)
	took := time.Since(began)
	a.observer.meter.Stage(info.ActivityType.Name, took, info.Attempt, failureKind(err))
	if err != nil {
		return out, err
	}
	run := runOf(info.WorkflowExecution.ID)
	if info.ActivityType.Name == commitName { // a step's record has its name now
		a.observer.trackers.changed(run)
	}
	switch v := out.(type) {
	case activities.RolloutOutput:
		a.observer.meter.Rollout(run, v.Count, v.Tokens, took)
	case activities.UpdateOutput:
		a.observer.iteration(ctx, v.Record)
	case activities.ScoreTableOutput:
		a.observer.trackers.changed(run)
	}
	return out, err
}

// iteration shows a step's record. Its failure is no failure of the run.
func (o *observer) iteration(ctx context.Context, ref blob.Ref) {
	if o.meter == nil {
		return
	}
	var record activities.StepRecord
	b, err := blob.Load(ctx, o.store, ref)
	if err == nil {
		err = json.Unmarshal(b, &record)
	}
	var scalars []track.Scalar
	if err == nil {
		scalars, err = track.Scalars(record)
	}
	if err != nil {
		o.log.Warn("the iteration's numbers are not shown as metrics", telemetry.AttrError, err)
		return
	}
	it := metrics.Iteration{
		Run: record.Run, Step: record.Step, TokensTrained: record.Update.TokensTrained,
		Bounded: record.Reward.Bounded, Disagree: record.Reward.Disagreed,
	}
	for _, s := range scalars {
		it.Facts = append(it.Facts, metrics.Fact{Name: s.Name, Part: s.Part, Value: s.Value})
	}
	o.meter.Iteration(it)
}

// runOf returns the run that a workflow works for.
func runOf(workflowID string) string {
	if run, _, ok := workflows.ParseEvaluateWorkflowID(workflowID); ok {
		return run
	}
	return workflowID
}

// failureKind is a short word for an activity's error; empty without one.
func failureKind(err error) string {
	if err == nil {
		return ""
	}
	if temporal.IsCanceledError(err) || errors.Is(err, context.Canceled) {
		return "cancelled"
	}
	if failure, ok := errors.AsType[*temporal.ApplicationError](err); ok && failure.Type() != "" {
		return failure.Type()
	}
	return "other"
}

// Trackers returns the experiment trackers that the configuration names.
func Trackers(t config.Tracking) []track.Tracker {
	var all []track.Tracker
	if t.TensorBoard != "" {
		all = append(all, track.NewTensorBoard(t.TensorBoard))
	}
	if m := t.MLflow; m.URL != "" {
		all = append(all, track.NewMLflow(track.MLflowOptions{
			URL: m.URL, Experiment: m.Experiment, Username: m.Username, Password: m.Password.Reveal(), Token: m.Token.Reveal(),
		}))
	}
	return all
}

// following keeps trackers up to date in the background, apart from the work.
type following struct {
	store    blob.Store
	trackers []track.Tracker
	failed   func(track.Tracker, string, error)
	runs     chan string // whose records changed
	cancel   context.CancelFunc
	done     chan struct{}
}

// maxWaiting is how many changes may wait: a tracker that is slower skips some and catches up with the next.
const maxWaiting = 256

func follow(store blob.Store, trackers []track.Tracker, failed func(track.Tracker, string, error)) *following {
	ctx, cancel := context.WithCancel(context.Background())
	f := &following{store: store, trackers: trackers, failed: failed, runs: make(chan string, maxWaiting), cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(f.done)
		for run := range f.runs {
			for _, t := range f.trackers {
				if err := t.Sync(ctx, f.store, run); err != nil && !errors.Is(err, track.ErrNoRun) {
					f.failed(t, run, err)
				}
			}
		}
	}()
	return f
}

// changed says that a run has more to show. It never waits.
func (f *following) changed(run string) {
	if f == nil {
		return
	}
	select {
	case f.runs <- run:
	default:
	}
}

// close lets the trackers finish, or gives up when ctx ends. No activity may be running.
func (f *following) close(ctx context.Context) error {
	close(f.runs)
	defer f.cancel()
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		f.cancel()
		<-f.done
		return fmt.Errorf("experiment trackers: %w", ctx.Err())
	}
}
