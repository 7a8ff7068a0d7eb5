// Package metrics shows what a working process does to Prometheus: stages, tokens, store traffic, the newest numbers of
// each run, and what Temporal's SDK counts. Names end in their unit.
package metrics

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.temporal.io/sdk/client"
	temporalotel "go.temporal.io/sdk/contrib/opentelemetry"
)

// seconds are the bounds of every histogram of durations, ours and the SDK's. Unit: seconds.
var seconds = []float64{0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000, 10000}

// maxRuns bounds the runs whose newest numbers are shown: those that reported last.
const maxRuns = 64

// Meter counts. A nil Meter counts nothing.
type Meter struct {
	registry *prometheus.Registry
	provider *sdkmetric.MeterProvider

	stageSeconds  *prometheus.HistogramVec // by stage
	stageRetries  *prometheus.CounterVec
	stageFailures *prometheus.CounterVec // by stage and kind

	iterations, episodes, sampled, trained *prometheus.CounterVec // by run
	bounded, disagreed                     *prometheus.CounterVec
	tokensPerSecond                        *prometheus.GaugeVec

	storeBytes    *prometheus.CounterVec // by op
	storeFailures *prometheus.CounterVec
	storeSeconds  *prometheus.HistogramVec

	trackerFailures *prometheus.CounterVec // by tracker

	facts *facts
}

// New returns a Meter for a process; labels, such as the worker's name and the backend, go on multiattempt_worker_info.
func New(labels map[string]string) (*Meter, error) {
	r := prometheus.NewRegistry()
	counter := func(name, help string, by ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, by)
		r.MustRegister(c)
		return c
	}
	histogram := func(name, help string, by ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: seconds}, by)
		r.MustRegister(h)
		return h
	}
	m := &Meter{
		registry:      r,
		stageSeconds:  histogram("multiattempt_stage_seconds", "How long one activity worked.", "stage"),
		stageRetries:  counter("multiattempt_stage_retries_total", "Activities that began again after a failure or a lost worker.", "stage"),
		stageFailures: counter("multiattempt_stage_failures_total", "Activities that failed, by kind of failure.", "stage", "kind"),
		iterations:    counter("multiattempt_iterations_total", "Iterations that this learner finished.", "run"),
		episodes:      counter("multiattempt_episodes_total", "Episodes that this worker rolled out.", "run"),
		sampled:       counter("multiattempt_sampled_tokens_total", "Tokens that this worker sampled.", "run"),
		trained:       counter("multiattempt_trained_tokens_total", "Sampled tokens that this learner trained on.", "run"),
		bounded:       counter("multiattempt_bounded_verdicts_total", "Attempts whose grading hit a work limit.", "run"),
		disagreed:     counter("multiattempt_grading_disagreements_total", "Attempts on which the two grading modes disagree.", "run"),
		storeBytes:    counter("multiattempt_store_bytes_total", "Bytes that this process moved from and to the object store.", "op"),
		storeFailures: counter("multiattempt_store_failures_total", "Calls of the object store that failed for other reasons than a condition not met or an absent key.", "op"),
		storeSeconds:  histogram("multiattempt_store_seconds", "How long one call of the object store took.", "op"),

		trackerFailures: counter("multiattempt_tracker_failures_total", "Updates of an experiment tracker that failed.", "tracker"),
		facts:           newFacts(maxRuns),
	}
	m.tokensPerSecond = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "multiattempt_rollout_tokens_per_second", Help: "Tokens sampled per second during this worker's newest shard.",
	}, []string{"run"})
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "multiattempt_worker_info", Help: "Always 1; the labels say which worker this is and what computes.", ConstLabels: labels,
	})
	info.Set(1)
	r.MustRegister(m.tokensPerSecond, info, m.facts,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(r), otelprometheus.WithoutScopeInfo(), otelprometheus.WithoutTargetInfo())
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	m.provider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter), sdkmetric.WithView(sdkmetric.NewView(
		sdkmetric.Instrument{Kind: sdkmetric.InstrumentKindHistogram},
		sdkmetric.Stream{Aggregation: sdkmetric.AggregationExplicitBucketHistogram{Boundaries: seconds}},
	)))
	return m, nil
}

// Temporal is what a client of Temporal counts with.
func (m *Meter) Temporal() client.MetricsHandler {
	if m == nil {
		return client.MetricsNopHandler
	}
	return temporalotel.NewMetricsHandler(temporalotel.MetricsHandlerOptions{
		Meter: m.provider.Meter("temporal-sdk-go"), UseMonotonicCounters: true,
	})
}

// Handler answers with all metrics in Prometheus' text format.
func (m *Meter) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Serve answers GET /metrics at address until stop is called. Errors after the start are handed to failed.
func (m *Meter) Serve(address string, failed func(error)) (at net.Addr, stop func() error, err error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, nil, fmt.Errorf("metrics.listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.Handler())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			failed(fmt.Errorf("metrics at %s: %w", l.Addr(), err))
		}
	}()
	return l.Addr(), func() error {
		err := server.Close()
		<-done
		return err
	}, nil
}

// Stage counts one activity: kind is empty when it succeeded, attempt counts from 1.
func (m *Meter) Stage(stage string, took time.Duration, attempt int32, kind string) {
	if m == nil {
		return
	}
	m.stageSeconds.WithLabelValues(stage).Observe(took.Seconds())
	if attempt > 1 {
		m.stageRetries.WithLabelValues(stage).Inc()
	}
	if kind != "" {
		m.stageFailures.WithLabelValues(stage, kind).Inc()
	}
}

// Rollout counts one shard.
func (m *Meter) Rollout(run string, episodes, tokens int, took time.Duration) {
	if m == nil {
		return
	}
	m.episodes.WithLabelValues(run).Add(float64(episodes))
	m.sampled.WithLabelValues(run).Add(float64(tokens))
	if took > 0 {
		m.tokensPerSecond.WithLabelValues(run).Set(float64(tokens) / took.Seconds())
	}
}

// Iteration is what one finished iteration adds.
type Iteration struct {
	Run               string
	Step              int // iterations done
	TokensTrained     int
	Bounded, Disagree int
	Facts             []Fact // its numbers
}

// Fact is one number of an iteration, as a record names it: with unit and denominator.
type Fact struct {
	Name  string
	Part  string // which of several of that name; empty when there is one
	Value float64
}

// Iteration counts one iteration and shows its numbers as the run's newest.
func (m *Meter) Iteration(it Iteration) {
	if m == nil {
		return
	}
	m.iterations.WithLabelValues(it.Run).Inc()
	m.trained.WithLabelValues(it.Run).Add(float64(it.TokensTrained))
	m.bounded.WithLabelValues(it.Run).Add(float64(it.Bounded))
	m.disagreed.WithLabelValues(it.Run).Add(float64(it.Disagree))
	facts := append([]Fact{{Name: "step_iterations", Value: float64(it.Step)}}, it.Facts...)
	forgotten := m.facts.set(it.Run, facts)
	if forgotten == "" {
		return
	}
	for _, v := range []*prometheus.CounterVec{m.iterations, m.episodes, m.sampled, m.trained, m.bounded, m.disagreed} {
		v.DeleteLabelValues(forgotten)
	}
	m.tokensPerSecond.DeleteLabelValues(forgotten)
}

// Store counts one call of the object store: op is get, put, stat, list or delete.
func (m *Meter) Store(op string, bytes int64, took time.Duration, failed bool) {
	if m == nil {
		return
	}
	m.storeSeconds.WithLabelValues(op).Observe(took.Seconds())
	if bytes > 0 {
		m.storeBytes.WithLabelValues(op).Add(float64(bytes))
	}
	if failed {
		m.storeFailures.WithLabelValues(op).Inc()
	}
}

// TrackerFailed counts an update of an experiment tracker that failed.
func (m *Meter) TrackerFailed(tracker string) {
	if m != nil {
		m.trackerFailures.WithLabelValues(tracker).Inc()
	}
}

// facts collects the newest numbers of the runs that reported last. Which numbers there are is the records' business.
type facts struct {
	mu   sync.Mutex
	max  int
	runs map[string][]Fact
	age  []string // runs, the one that reported last at the end
}

func newFacts(max int) *facts { return &facts{max: max, runs: map[string][]Fact{}} }

// set replaces a run's numbers and returns the run that had to be forgotten for it, if any.
func (f *facts) set(run string, values []Fact) (forgotten string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, r := range f.age {
		if r == run {
			f.age = append(f.age[:i], f.age[i+1:]...)
			break
		}
	}
	f.age = append(f.age, run)
	f.runs[run] = values
	if len(f.age) > f.max {
		forgotten, f.age = f.age[0], f.age[1:]
		delete(f.runs, forgotten)
	}
	return forgotten
}

// Describe sends nothing: the collector is unchecked, since its metrics follow the records.
func (f *facts) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (f *facts) Collect(out chan<- prometheus.Metric) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for run, values := range f.runs {
		for _, v := range values {
			labels, with := []string{"run"}, []string{run}
			if v.Part != "" {
				labels, with = append(labels, "part"), append(with, v.Part)
			}
			desc := prometheus.NewDesc("multiattempt_"+v.Name, "Of the run's newest iteration, as its record says: "+strconv.Quote(v.Name)+".", labels, nil)
			if m, err := prometheus.NewConstMetric(desc, prometheus.GaugeValue, v.Value, with...); err == nil {
				out <- m
			}
		}
	}
}
