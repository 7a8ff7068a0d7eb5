package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"
	enumspb "go.temporal.io/api/enums/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/grpc"

	"multiattempt/config"
)

// ErrUnhealthy: no worker runs here, or one of its queues is not polled.
var ErrUnhealthy = errors.New("worker is not healthy")

const (
	servingFile = "serving.json" // in a worker's place: what it polls
	beatFile    = "beat"         // in a worker's place: touched whenever Temporal acknowledged a heartbeat

	// pollFresh is how old a poll may be. A poll that finds no work is answered after a minute, and then the next begins.
	pollFresh = 2 * time.Minute
	// beatTouch is the least time between two touches of the beat file.
	beatTouch = 2 * time.Second
)

// serving is what a worker promises to poll.
type serving struct {
	PID       int       `json:"pid"`
	Identity  string    `json:"identity"` // by which Temporal knows its polls
	Address   string    `json:"temporal"`
	Namespace string    `json:"namespace"`
	Started   time.Time `json:"started"`
	Workflows string    `json:"workflow_queue,omitempty"`
	Queues    []string  `json:"activity_queues"`
}

// identity is how Temporal knows this process: the place, and which process took it.
func (p *place) identity() string { return fmt.Sprintf("%s@%d", p.name, os.Getpid()) }

// known adds to the options of a connection to Temporal how this process is recognised.
func (p *place) known(c *client.Options) {
	c.Identity = p.identity()
	c.ConnectionOptions.DialOptions = append(c.ConnectionOptions.DialOptions, grpc.WithChainUnaryInterceptor(p.heartbeats()))
}

// announce writes what this worker is about to poll.
func (p *place) announce(t config.Temporal, q queues) error {
	s := serving{
		PID: os.Getpid(), Identity: p.identity(), Address: t.Address, Namespace: t.Namespace, Started: time.Now().UTC(),
		Workflows: q.control, Queues: q.polled(),
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(p.dir, servingFile), append(b, '\n'), 0o644)
}

// heartbeats notes, for CheckHealth, when Temporal acknowledged a heartbeat: a worker whose slots are all busy does not
// poll, but it beats.
func (p *place) heartbeats() grpc.UnaryClientInterceptor {
	path := filepath.Join(p.dir, beatFile)
	var last time.Time // a torn read only costs a touch: calls may overlap
	gate := make(chan struct{}, 1)
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		err := invoke(ctx, method, req, reply, cc, opts...)
		if err != nil || !strings.HasSuffix(method, "/RecordActivityTaskHeartbeat") {
			return err
		}
		select {
		case gate <- struct{}{}:
			if now := time.Now(); now.Sub(last) >= beatTouch {
				last = now
				// A file that cannot be written makes the check fail, which says so.
				_ = os.WriteFile(path, []byte(now.UTC().Format(time.RFC3339Nano)+"\n"), 0o644)
			}
			<-gate
		default:
		}
		return nil
	}
}

// Health is what one worker process of this machine does, as Temporal sees it.
type Health struct {
	Worker string
	Queues []QueueHealth
}

// QueueHealth says when a queue was last polled by the worker.
type QueueHealth struct {
	Queue  string
	Polled time.Duration // ago; 0 when busy
	Busy   bool          // not polled because every slot works: the worker's heartbeats arrive
}

// CheckHealth proves that the workers that run from a cache directory poll every queue that they serve: Temporal itself
// says so. ErrUnhealthy when one does not, or when there is none.
func CheckHealth(ctx context.Context, cacheDir string, c client.Client) ([]Health, error) {
	places, err := running(cacheDir)
	if err != nil {
		return nil, err
	}
	if len(places) == 0 {
		return nil, fmt.Errorf("%w: no worker runs from %s", ErrUnhealthy, cacheDir)
	}
	var all []Health
	var wrong []error
	for _, dir := range places {
		h, err := checkPlace(ctx, dir, c)
		all = append(all, h)
		wrong = append(wrong, err)
	}
	return all, errors.Join(wrong...)
}

// running returns the places whose worker lives: it holds their lock.
func running(cacheDir string) ([]string, error) {
	dirs, err := filepath.Glob(filepath.Join(cacheDir, "workers", "*"))
	if err != nil {
		return nil, err
	}
	slices.Sort(dirs)
	var alive []string
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "lock")); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		lock := flock.New(filepath.Join(dir, "lock"))
		free, err := lock.TryRLock()
		if err != nil {
			return nil, fmt.Errorf("lock of %s: %w", dir, err)
		}
		if !free {
			alive = append(alive, dir)
			continue
		}
		if err := lock.Unlock(); err != nil {
			return nil, err
		}
	}
	return alive, nil
}

func checkPlace(ctx context.Context, dir string, c client.Client) (Health, error) {
	name, err := nameOf(dir)
	h := Health{Worker: name}
	if err != nil {
		return h, err
	}
	var s serving
	b, err := os.ReadFile(filepath.Join(dir, servingFile))
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return h, fmt.Errorf("%w: %s has not started to poll: %w", ErrUnhealthy, name, err)
	}
	beat := s.beat(dir)
	type queue struct {
		name string
		kind enumspb.TaskQueueType
	}
	var queues []queue
	if s.Workflows != "" {
		queues = append(queues, queue{s.Workflows, enumspb.TASK_QUEUE_TYPE_WORKFLOW})
	}
	for _, q := range s.Queues {
		queues = append(queues, queue{q, enumspb.TASK_QUEUE_TYPE_ACTIVITY})
	}
	var wrong []error
	for _, q := range queues {
		polled, err := s.polled(ctx, c, q.name, q.kind)
		if err != nil {
			return h, err
		}
		age := time.Since(polled)
		busy := q.kind == enumspb.TASK_QUEUE_TYPE_ACTIVITY && time.Since(beat) < pollFresh
		switch {
		case age < pollFresh:
			h.Queues = append(h.Queues, QueueHealth{Queue: q.name, Polled: age})
		case busy:
			h.Queues = append(h.Queues, QueueHealth{Queue: q.name, Busy: true})
		default:
			wrong = append(wrong, fmt.Errorf("%w: %s (process %d, for Temporal at %s) has not polled %s for %s, and no heartbeat says that it is busy",
				ErrUnhealthy, name, s.PID, s.Address, q.name, pollFresh))
		}
	}
	return h, errors.Join(wrong...)
}

// beat is when the worker's last heartbeat was acknowledged; zero when none was since it started.
func (s serving) beat(dir string) time.Time {
	b, err := os.ReadFile(filepath.Join(dir, beatFile))
	if err != nil {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(string(b)))
	if err != nil || at.Before(s.Started) {
		return time.Time{}
	}
	return at
}

// polled is when Temporal last saw the worker poll a queue; zero when it never did since it started.
func (s serving) polled(ctx context.Context, c client.Client, queue string, kind enumspb.TaskQueueType) (time.Time, error) {
	answer, err := c.WorkflowService().DescribeTaskQueue(ctx, &workflowservice.DescribeTaskQueueRequest{
		Namespace: s.Namespace, TaskQueue: &taskqueuepb.TaskQueue{Name: queue, Kind: enumspb.TASK_QUEUE_KIND_NORMAL}, TaskQueueType: kind,
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("task queue %s: %w", queue, err)
	}
	var last time.Time
	for _, p := range answer.GetPollers() {
		if at := p.GetLastAccessTime().AsTime(); p.GetIdentity() == s.Identity && at.After(last) {
			last = at
		}
	}
	return last, nil
}
