//go:build failpoint

package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"syscall"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/workflow"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/internal/experience"
	"multiattempt/internal/policy"
	"multiattempt/internal/spec"
	"multiattempt/internal/update"
)

// failpoint is where a test wants this process to end or to halt. The test gives it as JSON in $MULTIATTEMPT_TEST_FAILPOINT.
type failpoint struct {
	At    string `json:"at"`    // before-put, after-put, before-delete, sample, step, continue-as-new
	Key   string `json:"key"`   // of puts and deletions: a regular expression that the object's key matches
	Count int    `json:"count"` // how manieth time it counts; 0 and 1: the first
	Halt  bool   `json:"halt"`  // SIGSTOP in place of SIGKILL; what it was doing goes on afterwards, whatever the server says
	Hang  bool   `json:"hang"`  // whoever comes here waits for ever, and the process goes on without it
	Spoil bool   `json:"spoil"` // what halts computes something else than others: see pointedLearner and pointedSampler
	File  string `json:"file"`  // written just before, for the test to see; FILE.over when what halted has returned, FILE.wrote its objects

	mu       sync.Mutex
	pattern  *regexp.Regexp
	hits     int
	halted   bool
	inFlight int // activities that began before the halt
}

// point is the process's failpoint; nil: none.
var point = sync.OnceValue(func() *failpoint {
	text := os.Getenv("MULTIATTEMPT_TEST_FAILPOINT")
	if text == "" {
		return nil
	}
	p := &failpoint{}
	if err := json.Unmarshal([]byte(text), p); err != nil {
		panic(fmt.Sprintf("MULTIATTEMPT_TEST_FAILPOINT: %v", err))
	}
	p.pattern = regexp.MustCompile(p.Key)
	return p
})

// hit ends or halts the process when this is the place.
func (p *failpoint) hit(at, key string) {
	if p == nil || p.At != at || !p.pattern.MatchString(key) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hits++; p.hits != max(1, p.Count) {
		return
	}
	if p.Hang {
		p.note(at, key)
		p.mu.Unlock() // for the process's other work
		select {}
	}
	signal := syscall.SIGKILL
	if p.Halt {
		signal, p.halted = syscall.SIGSTOP, true
	}
	p.note(at, key)
	if err := syscall.Kill(os.Getpid(), signal); err != nil {
		panic(err)
	}
	time.Sleep(time.Second) // the signal is on its way
}

// note lets the test see that the place was reached.
func (p *failpoint) note(at, key string) {
	if err := os.WriteFile(p.File, []byte(at+" "+key+"\n"), 0o644); err != nil {
		panic(err)
	}
}

// woken reports whether the process halted and goes on again.
func (p *failpoint) woken() bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.halted
}

// begin counts an activity as one that will have halted; false when the process halts no more.
func (p *failpoint) begin() bool {
	if p == nil || !p.Halt {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.halted {
		return false
	}
	p.inFlight++
	return true
}

// end says so in FILE.over when everything has returned that had halted.
func (p *failpoint) end(what string, result error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inFlight--; !p.halted || p.inFlight > 0 {
		return nil
	}
	return os.WriteFile(p.File+".over", fmt.Appendf(nil, "%s: %v\n", what, result), 0o644)
}

// wrote notes in FILE.wrote an object that was written after the halt.
func (p *failpoint) wrote(key string) error {
	f, err := os.OpenFile(p.File+".wrote", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(key + "\n")
	return errors.Join(err, f.Close())
}

// halting marks the context of an activity that began before the halt.
type halting struct{}

// spoilt reports whether the activity in ctx is to compute something else: one that the process halts in.
func spoilt(ctx context.Context) bool { return point().Spoil && ctx.Value(halting{}) != nil }

func instrument(s blob.Store, e activities.Engine) (blob.Store, activities.Engine) {
	if point() == nil {
		return s, e
	}
	return pointedStore{s}, pointedEngine{e}
}

// pointedStore has places before and after every write, and before every deletion.
type pointedStore struct{ blob.Store }

func (s pointedStore) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, o blob.PutOptions) (blob.Info, error) {
	point().hit("before-put", key)
	info, err := s.Store.Put(ctx, key, body, size, o)
	point().hit("after-put", key)
	if err == nil && ctx.Value(halting{}) != nil && point().woken() {
		err = point().wrote(key)
	}
	return info, err
}

func (s pointedStore) Delete(ctx context.Context, key string) error {
	point().hit("before-delete", key)
	return s.Store.Delete(ctx, key)
}

// pointedEngine has places within rollouts and updates.
type pointedEngine struct{ activities.Engine }

func (e pointedEngine) NewSampler(ctx context.Context, dir string, compute spec.Compute) (activities.Sampler, error) {
	s, err := e.Engine.NewSampler(ctx, dir, compute)
	return pointedSampler{s}, err
}

func (e pointedEngine) NewLearner(ctx context.Context, o activities.LearnerOptions) (update.Learner, error) {
	l, err := e.Engine.NewLearner(ctx, o)
	return pointedLearner{l}, err
}

// pointedSampler draws other tokens once it is spoilt.
type pointedSampler struct{ activities.Sampler }

func (s pointedSampler) Sample(ctx context.Context, rows []policy.Row, p policy.Params, progress func(int)) error {
	if spoilt(ctx) {
		rows = slices.Clone(rows)
		for i, row := range rows {
			rows[i] = pointedRow{row}
		}
	}
	ended := 0
	return s.Sampler.Sample(ctx, rows, p, func(n int) {
		if n > ended { // a row, not only a step
			ended = n
			point().hit("sample", "")
		}
		if progress != nil {
			progress(n)
		}
	})
}

type pointedRow struct{ policy.Row }

func (r pointedRow) Uniform() float64 {
	u := r.Row.Uniform()
	if point().woken() {
		return 1 - math.Nextafter(u, 1)
	}
	return u
}

// pointedLearner, when it is spoilt, comes to another policy and other losses once it was halted. Its critic and moments are
// others from the start: a checkpoint in whose making it halts is spoilt as a whole, although its policy is the right one.
type pointedLearner struct{ update.Learner }

func (l pointedLearner) Step(ctx context.Context, rows []experience.Row, rates update.Rates) (update.StepStats, error) {
	stats, err := l.Learner.Step(ctx, rows, rates)
	point().hit("step", "")
	if spoilt(ctx) && point().woken() {
		stats.PolicyLoss++
	}
	return stats, err
}

func (l pointedLearner) WritePolicy(ctx context.Context, dir string) error {
	err := l.Learner.WritePolicy(ctx, dir)
	if err == nil && spoilt(ctx) && point().woken() {
		err = spoilWeights(dir)
	}
	return err
}

func (l pointedLearner) WriteState(ctx context.Context, dir string) error {
	err := l.Learner.WriteState(ctx, dir)
	if err == nil && spoilt(ctx) {
		err = spoilWeights(dir)
	}
	return err
}

// spoilWeights changes the last bit of the last number of every file of tensors in dir.
func spoilWeights(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("no tensors in %s", dir)
	}
	for _, file := range files {
		b, rerr := os.ReadFile(file)
		if rerr != nil {
			return rerr
		}
		b[len(b)-4] ^= 1
		err = errors.Join(err, os.WriteFile(file, b, 0o644))
	}
	return err
}

func interceptors() []interceptor.WorkerInterceptor {
	if point() == nil {
		return nil
	}
	return []interceptor.WorkerInterceptor{&pointedWorker{}}
}

// pointedWorker has a place between a workflow's decision to continue as new and the server's knowing of it. Its activities
// do not learn that they were given up when they are to halt: as if they reached the store and no longer the server.
type pointedWorker struct {
	interceptor.WorkerInterceptorBase
}

func (*pointedWorker) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	a := &pointedActivity{}
	a.Next = next
	return a
}

type pointedActivity struct {
	interceptor.ActivityInboundInterceptorBase
}

func (a *pointedActivity) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	if !point().begin() {
		return a.Next.ExecuteActivity(ctx, in)
	}
	out, err := a.Next.ExecuteActivity(context.WithValue(context.WithoutCancel(ctx), halting{}, true), in)
	if unseen := point().end(activity.GetInfo(ctx).ActivityType.Name, err); unseen != nil {
		return out, unseen
	}
	return out, err
}

func (*pointedWorker) InterceptWorkflow(_ workflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	w := &pointedWorkflow{}
	w.Next = next
	return w
}

type pointedWorkflow struct {
	interceptor.WorkflowInboundInterceptorBase
}

func (w *pointedWorkflow) ExecuteWorkflow(ctx workflow.Context, in *interceptor.ExecuteWorkflowInput) (any, error) {
	out, err := w.Next.ExecuteWorkflow(ctx, in)
	if _, ok := errors.AsType[*workflow.ContinueAsNewError](err); ok && !workflow.IsReplaying(ctx) {
		point().hit("continue-as-new", "")
	}
	return out, err
}
