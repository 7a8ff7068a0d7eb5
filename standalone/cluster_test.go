//go:build failpoint

package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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
	stopped      bool
}

// kill is a process that was killed, and where.
type kill struct{ member, where string }

// member is a process of the cluster.
type member struct {
	name string
	args []string
	next func() *failpoint // the failpoint of the process that starts next; nil: none
	last bool              // not started again

	mu    sync.Mutex
	cmd   *exec.Cmd
	out   *output
	ended chan struct{} // closed when the member is never started again
}

// failpoint is worker's, as JSON.
type failpoint struct {
	At    string `json:"at"`
	Key   string `json:"key,omitempty"`
	Count int    `json:"count,omitempty"`
	Halt  bool   `json:"halt,omitempty"`
	Spoil bool   `json:"spoil,omitempty"`
	File  string `json:"file"`
}

// workers lists the worker processes of a cluster: name → roles.
type workers map[string]string

// spread is a worker for the control plane that also samples, another that samples, and two learners.
var spread = workers{"control": "control,rollout", "rollout": "rollout", "learner-a": "learner", "learner-b": "learner"}

func newCluster(t *testing.T, w workers) *cluster {
	t.Helper()
	p := freePorts(t, 2)
	c := &cluster{dir: t.TempDir(), temporal: p[0], s3: p[1], members: map[string]*member{}}
	none := func() *failpoint { return nil }
	c.members["server"] = &member{name: "server", next: none, args: []string{"up", "--only", "temporal",
		"--state-dir", filepath.Join(c.dir, "server"), "--temporal-port", strconv.Itoa(c.temporal), "--ui-port", "0", "--s3-port", "0"}}
	c.members["store"] = &member{name: "store", next: none, args: []string{"up", "--only", "store",
		"--state-dir", filepath.Join(c.dir, "store"), "--s3-port", strconv.Itoa(c.s3), "--temporal-port", "0", "--ui-port", "0"}}
	for name, roles := range w {
		c.members[name] = &member{name: name, next: none, args: c.workerArgs(name, roles)}
	}
	t.Cleanup(c.stop)
	c.start(t, "store")
	c.start(t, "server")
	c.connect(t)
	for name := range w {
		c.start(t, name)
	}
	return c
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
	require.NoError(t, m.launch(c))
	go func() {
		defer close(m.ended)
		for {
			_ = m.cmd.Wait()
			c.mu.Lock()
			stopped := c.stopped || m.last
			c.mu.Unlock()
			if stopped || m.launch(c) != nil {
				return
			}
		}
	}()
}

// launch starts the member's process.
func (m *member) launch(c *cluster) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.out = &output{}
	cmd := exec.Command(os.Args[0], m.args...)
	cmd.Env = append(os.Environ(), productEnv+"=1", "GOMAXPROCS=2", "MULTIATTEMPT_STORE_ACCESS_KEY="+c.key, "MULTIATTEMPT_STORE_SECRET_KEY="+c.secret)
	if p := m.next(); p != nil {
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
	c.members[name].signal(syscall.SIGKILL)
	c.killed(name, "any moment")
}

func (c *cluster) killed(name, where string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kills = append(c.kills, kill{name, where})
}

func (c *cluster) killCount() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.kills)
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

// quietLog drops what the SDK says while services are away.
type quietLog struct{}

func (quietLog) Debug(string, ...any) {}
func (quietLog) Info(string, ...any)  {}
func (quietLog) Warn(string, ...any)  {}
func (quietLog) Error(string, ...any) {}
