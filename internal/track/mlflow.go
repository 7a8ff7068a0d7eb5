package track

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"multiattempt/internal/blob"
)

// ErrMLflow: the MLflow server refused, or does not answer.
var ErrMLflow = errors.New("MLflow")

// MLflowOptions say where runs are tracked.
type MLflowOptions struct {
	URL                string // http://host:5000
	Experiment         string // made if absent
	Username, Password string
	Token              string // a bearer token, in place of name and password
}

// MLflow tracks runs on a server, through its REST API (version 2.0, unchanged since MLflow 1).
type MLflow struct {
	o      MLflowOptions
	client *http.Client

	mu         sync.Mutex
	experiment string // id
}

// NewMLflow tracks on the server of o.
func NewMLflow(o MLflowOptions) *MLflow {
	return &MLflow{o: o, client: &http.Client{Timeout: time.Minute}}
}

// Name implements Tracker.
func (m *MLflow) Name() string { return "MLflow at " + m.o.URL }

// Tags of a run on the server.
const (
	tagRun       = "multiattempt.run"       // our id: how the server's run is found again
	tagStep      = "multiattempt.step"      // records up to this step are there
	tagEvaluated = "multiattempt.evaluated" // evaluations up to this step are there
)

// Bounds of one log-batch request, which the server checks.
const (
	batchMetrics = 1000
	batchParams  = 100
	paramLength  = 500
)

type mlflowMetric struct {
	Key       string  `json:"key"`
	Value     float64 `json:"value"`
	Timestamp int64   `json:"timestamp"` // ms
	Step      int     `json:"step"`
}

type keyValue struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

type mlflowRun struct {
	Info struct {
		ID     string `json:"run_id"`
		Status string `json:"status"`
	} `json:"info"`
	Data struct {
		Tags []keyValue `json:"tags"`
	} `json:"data"`
}

func (r mlflowRun) tag(name string) int {
	for _, t := range r.Data.Tags {
		if n, err := strconv.Atoi(t.Value); t.Key == name && err == nil {
			return n
		}
	}
	return 0
}

// Sync implements Tracker. Timestamps are those of the records, so that the server recognises what it has already.
func (m *MLflow) Sync(ctx context.Context, s blob.Store, run string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	settings, err := ReadSettings(ctx, s, run)
	if err != nil {
		return err
	}
	there, err := m.find(ctx, run, settings)
	if err != nil {
		return err
	}
	last, err := m.sync(ctx, s, run, there)
	if err != nil || last.Step == 0 {
		return err
	}
	status := map[string]any{"run_id": there.Info.ID, "status": "RUNNING"}
	if last.Step >= settings.Iterations {
		status["status"], status["end_time"] = "FINISHED", last.At.UnixMilli()
	}
	return m.call(ctx, http.MethodPost, "runs/update", status, nil)
}

// sync logs what the server lacks and returns the newest step that was new to it.
func (m *MLflow) sync(ctx context.Context, s blob.Store, run string, there mlflowRun) (last Step, err error) {
	var metrics []mlflowMetric
	send := func(tag string, step int) error {
		for len(metrics) > 0 {
			n := min(len(metrics), batchMetrics)
			if err := m.call(ctx, http.MethodPost, "runs/log-batch", map[string]any{"run_id": there.Info.ID, "metrics": metrics[:n]}, nil); err != nil {
				return err
			}
			metrics = metrics[n:]
		}
		return m.call(ctx, http.MethodPost, "runs/set-tag", map[string]any{"run_id": there.Info.ID, "key": tag, "value": strconv.Itoa(step)}, nil)
	}
	add := func(all []Scalar, at time.Time, step int) {
		for _, sc := range all {
			metrics = append(metrics, mlflowMetric{Key: metricKey(sc.Tag()), Value: sc.Value, Timestamp: at.UnixMilli(), Step: step})
		}
	}
	steps, err := Steps(ctx, s, run, there.tag(tagStep))
	if err != nil {
		return last, err
	}
	for i, step := range steps {
		scalars, err := step.Scalars()
		if err != nil {
			return last, err
		}
		add(scalars, step.At, step.Step)
		last = step
		if len(metrics) < batchMetrics && i < len(steps)-1 {
			continue
		}
		if err := send(tagStep, step.Step); err != nil {
			return last, err
		}
	}
	evaluations, err := Evaluations(ctx, s, run)
	if err != nil {
		return last, err
	}
	done := there.tag(tagEvaluated)
	newest := done
	for _, e := range evaluations {
		if e.Step > done {
			add(e.Scalars(), e.At, e.Step)
			newest = e.Step
		}
	}
	if newest > done {
		err = send(tagEvaluated, newest)
	}
	return last, err
}

// metricKey keeps to the characters that the server allows.
func metricKey(tag string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', strings.ContainsRune("_-. /", r):
			return r
		default:
			return '_'
		}
	}, tag)
}

// find returns the server's run of that id, made with the settings as parameters if it is new.
func (m *MLflow) find(ctx context.Context, run string, settings Settings) (mlflowRun, error) {
	if err := m.openExperiment(ctx); err != nil {
		return mlflowRun{}, err
	}
	var found struct {
		Runs []mlflowRun `json:"runs"`
	}
	err := m.call(ctx, http.MethodPost, "runs/search", map[string]any{
		"experiment_ids": []string{m.experiment}, "max_results": 1,
		"filter": fmt.Sprintf("tags.`%s` = '%s'", tagRun, run),
	}, &found)
	if err != nil || len(found.Runs) > 0 {
		return append(found.Runs, mlflowRun{})[0], err
	}
	var created struct {
		Run mlflowRun `json:"run"`
	}
	err = m.call(ctx, http.MethodPost, "runs/create", map[string]any{
		"experiment_id": m.experiment, "run_name": run, "start_time": settings.At.UnixMilli(),
		"tags": []keyValue{{tagRun, run}, {"mlflow.source.name", "multiattempt"}},
	}, &created)
	if err != nil {
		return mlflowRun{}, err
	}
	var params []keyValue
	for _, name := range sortedKeys(settings.Values) {
		value := fmt.Sprint(settings.Values[name])
		if len(value) > paramLength {
			value = strings.ToValidUTF8(value[:paramLength], "")
		}
		params = append(params, keyValue{metricKey(name), value})
	}
	for len(params) > 0 {
		n := min(len(params), batchParams)
		if err := m.call(ctx, http.MethodPost, "runs/log-batch", map[string]any{"run_id": created.Run.Info.ID, "params": params[:n]}, nil); err != nil {
			return mlflowRun{}, err
		}
		params = params[n:]
	}
	return created.Run, nil
}

// openExperiment finds or makes the experiment, once.
func (m *MLflow) openExperiment(ctx context.Context) error {
	if m.experiment != "" {
		return nil
	}
	var found struct {
		Experiment struct {
			ID    string `json:"experiment_id"`
			Stage string `json:"lifecycle_stage"`
		} `json:"experiment"`
	}
	err := m.call(ctx, http.MethodGet, "experiments/get-by-name?experiment_name="+url.QueryEscape(m.o.Experiment), nil, &found)
	if err == nil {
		if found.Experiment.Stage == "deleted" {
			return fmt.Errorf("%w: experiment %q is deleted: restore it, or name another", ErrMLflow, m.o.Experiment)
		}
		m.experiment = found.Experiment.ID
		return nil
	}
	if answer, ok := errors.AsType[*mlflowError](err); !ok || answer.Code != "RESOURCE_DOES_NOT_EXIST" {
		return err
	}
	var created struct {
		ID string `json:"experiment_id"`
	}
	if err := m.call(ctx, http.MethodPost, "experiments/create", map[string]string{"name": m.o.Experiment}, &created); err != nil {
		return err
	}
	m.experiment = created.ID
	return nil
}

// mlflowError is what the server says of a request that it refuses.
type mlflowError struct {
	Code    string `json:"error_code"`
	Message string `json:"message"`
	status  int
	call    string
}

func (e *mlflowError) Error() string {
	return fmt.Sprintf("MLflow %s: %d %s %s", e.call, e.status, e.Code, e.Message)
}

func (e *mlflowError) Unwrap() error { return ErrMLflow }

// call sends one request of the API and decodes its answer.
func (m *MLflow) call(ctx context.Context, method, what string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(m.o.URL, "/")+"/api/2.0/mlflow/"+what, body)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMLflow, err)
	}
	r.Header.Set("Content-Type", "application/json")
	switch {
	case m.o.Token != "":
		r.Header.Set("Authorization", "Bearer "+m.o.Token)
	case m.o.Username != "":
		r.SetBasicAuth(m.o.Username, m.o.Password)
	}
	answer, err := m.client.Do(r)
	if err != nil {
		return fmt.Errorf("%w does not answer at %s: %w", ErrMLflow, m.o.URL, err)
	}
	b, err := io.ReadAll(io.LimitReader(answer.Body, 64<<20))
	if cerr := answer.Body.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrMLflow, what, err)
	}
	if answer.StatusCode != http.StatusOK {
		refused := &mlflowError{status: answer.StatusCode, call: what}
		if json.Unmarshal(b, refused) != nil {
			refused.Message = strings.ToValidUTF8(string(b[:min(len(b), 200)]), "")
		}
		return refused
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrMLflow, what, err)
	}
	return nil
}
