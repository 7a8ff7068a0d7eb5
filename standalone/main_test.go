package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"multiattempt/workflows"
)

// productEnv makes the test binary be the product: the same main, no second link of everything inside.
const productEnv = "MULTIATTEMPT_TEST_IS_PRODUCT"

func TestMain(m *testing.M) {
	if os.Getenv(productEnv) != "" {
		main()
	}
	os.Exit(m.Run())
}

// installation is a place to run the product in: its state, and ports that stay the same from one process to the next.
type installation struct {
	state    string
	temporal int
	flags    []string // of services and directories
}

func newInstallation(t *testing.T) installation {
	t.Helper()
	ports := freePorts(t, 3)
	in := installation{state: filepath.Join(t.TempDir(), "state"), temporal: ports[0]}
	in.flags = []string{
		"--state-dir", in.state, "--cache-dir", t.TempDir(),
		"--web", "127.0.0.1:0", "--temporal-port", strconv.Itoa(ports[0]), "--ui-port", strconv.Itoa(ports[1]), "--s3-port", strconv.Itoa(ports[2]),
	}
	return in
}

func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close() //nolint:errcheck // only the port matters
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

func (in installation) address() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(in.temporal))
}

// process is the product, running.
type process struct {
	cmd    *exec.Cmd
	out    output
	ended  chan struct{}
	result error
}

// output collects what a process prints.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start runs the product with args and the installation's flags.
func (in installation) start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0], append(args, in.flags...)...), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), productEnv+"=1")
	p.cmd.Dir = filepath.Dir(in.state)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	require.NoError(t, p.cmd.Start())
	go func() {
		p.result = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() { p.kill() })
	return p
}

// kill ends the process with SIGKILL and returns when it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// wait returns the exit code of a process that ends by itself.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-t.Context().Done():
	}
	return p.cmd.ProcessState.ExitCode()
}

// asked asks again and again until done says so; false when ended was closed or the test was over before.
func asked(t *testing.T, ended <-chan struct{}, done func(ctx context.Context) bool) bool {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		ok := done(ctx)
		cancel()
		if ok {
			return true
		}
		select {
		case <-ended:
			return false
		case <-t.Context().Done():
			return false
		case <-tick.C:
		}
	}
}

// until returns when done says so; it fails when the process ends before.
func (p *process) until(t *testing.T, what string, done func(ctx context.Context) bool) {
	t.Helper()
	if !asked(t, p.ended, done) {
		require.FailNow(t, "the process ended before "+what, "%v\n%s", p.result, &p.out)
	}
}

// untilReady returns when `multiattempt up` says that everything runs.
func (p *process) untilReady(t *testing.T) {
	t.Helper()
	p.until(t, "it was ready", func(context.Context) bool { return strings.Contains(p.out.String(), "Ready.") })
}

// status asks the run for its status; nothing answers while services or worker are still starting.
func status(ctx context.Context, c client.Client, run string) (workflows.Status, bool) {
	var st workflows.Status
	value, err := c.QueryWorkflow(ctx, run, "", workflows.QueryStatus)
	if err != nil || value.Get(&st) != nil {
		return st, false
	}
	return st, true
}

// untilStep returns when the run has done at least that many iterations.
func (p *process) untilStep(t *testing.T, in installation, run string, step int) {
	t.Helper()
	c, err := client.NewLazyClient(client.Options{HostPort: in.address()})
	require.NoError(t, err)
	defer c.Close()
	p.until(t, "step "+strconv.Itoa(step), func(ctx context.Context) bool {
		st, ok := status(ctx, c, run)
		return ok && st.Step >= step
	})
}

var printedCheckpoint = regexp.MustCompile(`(?m)^Checkpoint (\S+)  sha256 ([0-9a-f]{64})$`)

// checkpoint returns what the process said about the newest checkpoint of its run.
func (p *process) checkpoint(t *testing.T) (key, sha256 string) {
	t.Helper()
	m := printedCheckpoint.FindStringSubmatch(p.out.String())
	require.NotNil(t, m, "%s", &p.out)
	return m[1], m[2]
}
