//go:build failpoint

package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"sync"
	"syscall"
	"time"

	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/workflow"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/internal/experience"
	"multiattempt/internal/policy"
	"multiattempt/internal/update"
)

// failpoint is where a test wants this process to end or to halt. The test gives it as JSON in $MULTIATTEMPT_TEST_FAILPOINT.
type failpoint struct {
	At    string `json:"at"`    // before-put, after-put, sample, step, continue-as-new
	Key   string `json:"key"`   // of puts: a regular expression that the object's key matches
	Count int    `json:"count"` // how manieth time it counts; 0 and 1: the first
	Halt  bool   `json:"halt"`  // SIGSTOP in place of SIGKILL
	Spoil bool   `json:"spoil"` // after a halt this process writes wrong bytes
	File  string `json:"file"`  // written just before, for the test to see

	mu      sync.Mutex
	pattern *regexp.Regexp
	hits    int
	spoilt  bool
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
	signal := syscall.SIGKILL
	if p.Halt {
		signal, p.spoilt = syscall.SIGSTOP, p.Spoil
	}
	if err := os.WriteFile(p.File, []byte(at+" "+key+"\n"), 0o644); err != nil {
		panic(err)
	}
	if err := syscall.Kill(os.Getpid(), signal); err != nil {
		panic(err)
	}
	time.Sleep(time.Second) // the signal is on its way
}

func (p *failpoint) spoils() bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.spoilt
}

func instrument(s blob.Store, e activities.Engine) (blob.Store, activities.Engine) {
	if point() == nil {
		return s, e
	}
	return pointedStore{s}, pointedEngine{e}
}

// pointedStore has places before and after every write.
type pointedStore struct{ blob.Store }

func (s pointedStore) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, o blob.PutOptions) (blob.Info, error) {
	p := point()
	p.hit("before-put", key)
	if p.spoils() {
		body, o.SHA256 = &flipped{ReadSeeker: body}, blob.Digest{} // whoever computes something else hashes what it computed
	}
	info, err := s.Store.Put(ctx, key, body, size, o)
	p.hit("after-put", key)
	return info, err
}

// flipped is a body whose first byte is another.
type flipped struct {
	io.ReadSeeker
	past bool
}

func (f *flipped) Read(b []byte) (int, error) {
	n, err := f.ReadSeeker.Read(b)
	if n > 0 && !f.past {
		b[0] ^= 1
		f.past = true
	}
	return n, err
}

func (f *flipped) Seek(offset int64, whence int) (int64, error) {
	at, err := f.ReadSeeker.Seek(offset, whence)
	f.past = at > 0
	return at, err
}

// pointedEngine has places within rollouts and updates.
type pointedEngine struct{ activities.Engine }

func (e pointedEngine) NewSampler(ctx context.Context, dir string) (activities.Sampler, error) {
	s, err := e.Engine.NewSampler(ctx, dir)
	return pointedSampler{s}, err
}

func (e pointedEngine) NewLearner(ctx context.Context, o activities.LearnerOptions) (update.Learner, error) {
	l, err := e.Engine.NewLearner(ctx, o)
	return pointedLearner{l}, err
}

type pointedSampler struct{ activities.Sampler }

func (s pointedSampler) Sample(ctx context.Context, rows []policy.Row, p policy.Params, finished func(int)) error {
	return s.Sampler.Sample(ctx, rows, p, func(n int) {
		point().hit("sample", "")
		if finished != nil {
			finished(n)
		}
	})
}

type pointedLearner struct{ update.Learner }

func (l pointedLearner) Step(ctx context.Context, rows []experience.Row, rates update.Rates) (update.StepStats, error) {
	stats, err := l.Learner.Step(ctx, rows, rates)
	point().hit("step", "")
	return stats, err
}

func interceptors() []interceptor.WorkerInterceptor {
	if point() == nil {
		return nil
	}
	return []interceptor.WorkerInterceptor{&pointedWorker{}}
}

// pointedWorker has a place between a workflow's decision to continue as new and the server's knowing of it.
type pointedWorker struct {
	interceptor.WorkerInterceptorBase
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
