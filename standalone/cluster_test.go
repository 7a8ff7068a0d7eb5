//go:build failpoint

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"multiattempt/internal/blob"
	"multiattempt/internal/blob/s3"
	"multiattempt/workflows"
)

// cluster is an installation whose server, store and workers are processes of their own, each with its own folders, and
// each started again whenever it ends.
type cluster struct {
	dir          string
	temporal, s3 int // ports
	key, secret  string
	members      map[string]*member
	client       client.Client
	store        blob.Store
	mu           sync.Mutex
	kills        []kill
	ends         []string // of processes that nobody killed
	stopped      bool
}

// kill is a process that was killed, where and when.
type kill struct {
	member, where string
	at            time.Time
}

func (k kill) String() string { return k.member + " " + k.where }

// atRandom is where a process is killed that the failpoint did not get to.
const atRandom = "at any moment"

// member is a process of the cluster.
type member struct {
	name string
	args []string
	// next is the failpoint of the process that starts next, nil for none; met says whether the one before met its own.
	next func(met bool) *failpoint
	last bool // not started again

	mu     sync.Mutex
	cmd    *exec.Cmd
	out    *output
	armed  *failpoint
	struck bool          // by kill
	ended  chan struct{} // closed when the member is never started again
}

// failpoint is worker's, as JSON.
type failpoint struct {
	At    string `json:"at"`
	Key   string `json:"key,omitempty"`
	Count int    `json:"count,omitempty"`
	Halt  bool   `json:"halt,omitempty"`
	Hang  bool   `json:"hang,omitempty"`
	Spoil bool   `json:"spoil,omitempty"`
	File  string `json:"file"`
}

// place names a failpoint without its count.
func (p failpoint) place() string { return strings.TrimSpace(p.At + " " + p.Key) }

// workers lists the worker processes of a cluster: name → roles.
type workers map[string]string

// spread is a worker for the control plane that also samples, another that samples, and two learners.
var spread = workers{"control": "control,rollout", "rollout": "rollout", "learner-a": "learner", "learner-b": "learner"}

// newCluster starts an installation.
func newCluster(t *testing.T, w workers) *cluster {
	t.Helper()
	c := prepareCluster(t, w)
	c.begin(t)
	return c
}

// unharmed is a member's next when it has no failpoints.
func unharmed(bool) *failpoint { return nil }

// prepareCluster describes an installation that begin starts.
func prepareCluster(t *testing.T, w workers) *cluster {
	t.Helper()
	p := freePorts(t, 2)
	c := &cluster{dir: t.TempDir(), temporal: p[0], s3: p[1], members: map[string]*member{}}
	c.members["server"] = &member{name: "server", next: unharmed, args: []string{"up", "--only", "temporal",
		"--state-dir", filepath.Join(c.dir, "server"), "--temporal-port", strconv.Itoa(c.temporal), "--ui-port", "0", "--s3-port", "0"}}
	c.members["store"] = &member{name: "store", next: unharmed, args: []string{"up", "--only", "store",
		"--state-dir", filepath.Join(c.dir, "store"), "--s3-port", strconv.Itoa(c.s3), "--temporal-port", "0", "--ui-port", "0"}}
	for name, roles := range w {
		c.members[name] = &member{name: name, next: unharmed, args: c.workerArgs(name, roles)}
	}
	c.writeProblems(t)
	return c
}

// writeProblems writes problems.jsonl, which every process finds below its folder: 40 problems, of which tiny's steps take 16,
// so that every third step begins an epoch.
func (c *cluster) writeProblems(t *testing.T) {
	t.Helper()
	var lines strings.Builder
	for i := range 40 {
		fmt.Fprintf(&lines, "{\"question\":\"%d+? 2,5,9\",\"answer\":\"%d\"}\n", 10+i, 10+i+[]int{2, 5, 9}[i%3])
	}
	require.NoError(t, os.WriteFile(filepath.Join(c.dir, "problems.jsonl"), []byte(lines.String()), 0o644))
}

// begin starts the services, and then the workers.
func (c *cluster) begin(t *testing.T) {
	t.Helper()
	t.Cleanup(c.stop)
	c.start(t, "store")
	c.start(t, "server")
	c.connect(t)
	for name, m := range c.members {
		if m.ended == nil {
			c.start(t, name)
		}
	}
}

// join adds a worker to the installation, with a failpoint or nil.
func (c *cluster) join(t *testing.T, name, roles string, p *failpoint) {
	t.Helper()
	c.members[name] = &member{name: name, next: func(bool) *failpoint { return p }, args: c.workerArgs(name, roles)}
	c.start(t, name)
}

// workerArgs are the arguments of a worker process with a folder of its own.
func (c *cluster) workerArgs(name, roles string) []string {
	return []string{"worker", "--roles", roles, "--backend", "go", "--temporal", c.address(),
		"--s3", net.JoinHostPort("127.0.0.1", strconv.Itoa(c.s3)), "--cache-dir", filepath.Join(c.dir, name)}
}

func (c *cluster) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(c.temporal)) }

// connect waits until both services answer.
func (c *cluster) connect(t *testing.T) {
	t.Helper()
	var keys struct {
		AccessKey string `json:"access_key"`
		SecretKey string `json:"secret_key"`
	}
	c.until(t, "the store answers", func(ctx context.Context) bool {
		b, err := os.ReadFile(filepath.Join(c.dir, "store", "credentials.json"))
		if err != nil || json.Unmarshal(b, &keys) != nil {
			return false
		}
		c.store, err = s3.Open(ctx, s3.Options{Endpoint: net.JoinHostPort("127.0.0.1", strconv.Itoa(c.s3)), Bucket: "multiattempt",
			AccessKey: keys.AccessKey, SecretKey: keys.SecretKey})
		return err == nil
	})
	c.key, c.secret = keys.AccessKey, keys.SecretKey
	c.until(t, "the server answers", func(ctx context.Context) bool {
		var err error
		c.client, err = client.DialContext(ctx, client.Options{HostPort: c.address(), Logger: quietLog{}})
		return err == nil
	})
}

// until returns when done says so.
func (c *cluster) until(t *testing.T, what string, done func(ctx context.Context) bool) {
	t.Helper()
	if !asked(t, nil, done) {
		require.FailNow(t, "the test ended before "+what, c.tails())
	}
}

// start runs a member and starts it again whenever it ends.
func (c *cluster) start(t *testing.T, name string) {
	t.Helper()
	m := c.members[name]
	m.ended = make(chan struct{})
	require.NoError(t, m.launch(c, false))
	go func() {
		defer close(m.ended)
		for {
			_ = m.cmd.Wait()
			met := c.bury(m)
			c.mu.Lock()
			stopped := c.stopped || m.last
			c.mu.Unlock()
			if stopped || m.launch(c, met) != nil {
				return
			}
		}
	}()
}

// bury counts a process that has ended as one kill, whatever hit it, or as one that ended by itself. It returns whether the
// process met its failpoint.
func (c *cluster) bury(m *member) (met bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := kill{member: m.name, where: atRandom, at: time.Now()}
	if met = m.armed != nil && exists(m.armed.File); met {
		k.where = m.armed.place()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.stopped || m.last:
	case met || m.struck:
		c.kills = append(c.kills, k)
	default:
		c.ends = append(c.ends, fmt.Sprintf("%s: %s", m.name, m.cmd.ProcessState))
	}
	return met
}

// launch starts the member's process.
func (m *member) launch(c *cluster, met bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.out, m.struck = &output{}, false
	m.armed = m.next(met)
	cmd := exec.Command(os.Args[0], m.args...)
	cmd.Env = append(os.Environ(), productEnv+"=1", "GOMAXPROCS=2", "MULTIATTEMPT_STORE_ACCESS_KEY="+c.key, "MULTIATTEMPT_STORE_SECRET_KEY="+c.secret)
	if p := m.armed; p != nil {
		text, err := json.Marshal(p)
		if err != nil {
			return err
		}
		cmd.Env = append(cmd.Env, "MULTIATTEMPT_TEST_FAILPOINT="+string(text))
	}
	cmd.Dir = c.dir
	cmd.Stdout, cmd.Stderr = m.out, m.out
	m.cmd = cmd
	return cmd.Start()
}

// signal sends a signal to the member's process.
func (m *member) signal(s syscall.Signal) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_ = m.cmd.Process.Signal(s)
}

// kill ends the member's process at whatever it is doing.
func (c *cluster) kill(name string) {
	m := c.members[name]
	m.mu.Lock()
	defer m.mu.Unlock()
	m.struck = true
	_ = m.cmd.Process.Kill()
}

// killed lists the kills between two moments.
func (c *cluster) killed(from, to time.Time) (all []kill) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.kills {
		if k.at.After(from) && k.at.Before(to) {
			all = append(all, k)
		}
	}
	return all
}

// stop ends every process and waits for them.
func (c *cluster) stop() {
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
	if c.client != nil {
		c.client.Close()
	}
	for _, m := range c.members {
		if m.ended == nil {
			continue
		}
		for {
			m.signal(syscall.SIGKILL)
			select {
			case <-m.ended:
			case <-time.After(100 * time.Millisecond): // it was just being started
				continue
			}
			break
		}
	}
}

// tails is what the processes said last.
func (c *cluster) tails() string {
	var all string
	for name, m := range c.members {
		text := m.out.String()
		all += "== " + name + "\n" + text[max(0, len(text)-2000):] + "\n"
	}
	return all
}

// train starts a run and returns its handle.
func (c *cluster) train(t *testing.T, id, settings string) client.WorkflowRun {
	t.Helper()
	run, err := c.client.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: id, TaskQueue: "multiattempt"},
		workflows.TrainName, json.RawMessage(settings))
	require.NoError(t, err)
	return run
}

// finish waits for a run's end, however often the server is away meanwhile.
func (c *cluster) finish(t *testing.T, id string) workflows.TrainOutput {
	t.Helper()
	var out workflows.TrainOutput
	c.until(t, "run "+id+" ended", func(ctx context.Context) bool {
		d, err := c.client.DescribeWorkflow(ctx, id, "")
		if err != nil || d.Status.String() == "Running" {
			return false
		}
		err = c.client.GetWorkflow(ctx, id, "").Get(ctx, &out)
		require.NoError(t, err)
		return true
	})
	return out
}

// closed is when a workflow ended.
func (c *cluster) closed(t *testing.T, id string) (at time.Time) {
	t.Helper()
	c.until(t, "it was known when "+id+" ended", func(ctx context.Context) bool {
		d, err := c.client.DescribeWorkflow(ctx, id, "")
		if err == nil && d.WorkflowCloseTime != nil {
			at = *d.WorkflowCloseTime
		}
		return !at.IsZero()
	})
	return at
}

// step is the number of iterations that a run has done; -1 when nobody answers.
func (c *cluster) step(ctx context.Context, id string) int {
	st, ok := status(ctx, c.client, id)
	if !ok {
		return -1
	}
	return st.Step
}

// untilStep returns when the run has done at least that many iterations.
func (c *cluster) untilStep(t *testing.T, id string, n int) {
	t.Helper()
	c.until(t, "step "+strconv.Itoa(n), func(ctx context.Context) bool { return c.step(ctx, id) >= n })
}

// quietLog drops what the SDK says while services are away.
type quietLog struct{}

func (quietLog) Debug(string, ...any) {}
func (quietLog) Info(string, ...any)  {}
func (quietLog) Warn(string, ...any)  {}
func (quietLog) Error(string, ...any) {}
