package stack_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"multiattempt/internal/blob"
	"multiattempt/internal/blob/s3"
	"multiattempt/standalone/stack"
)

// childEnv makes the test binary run a stack on the directory that it names, and nothing else.
const childEnv = "STACK_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := serve(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// serve starts a stack, says on standard output where it listens, and waits for its end.
func serve(dir string) error {
	s, err := stack.Start(context.Background(), stack.Options{DataDir: dir, Namespace: "default", Bucket: "multiattempt"})
	if err != nil {
		return err
	}
	err = json.NewEncoder(os.Stdout).Encode(place{s.TemporalAddress, s.S3Endpoint, s.AccessKey, s.SecretKey})
	if err != nil {
		return err
	}
	select {}
}

// place is what a child tells its parent.
type place struct{ TemporalAddress, S3Endpoint, AccessKey, SecretKey string }

// child is a stack in a process of its own.
type child struct {
	stack.Stack
	cmd *exec.Cmd
}

func startChild(t *testing.T, dir string) *child {
	t.Helper()
	c := &child{cmd: exec.Command(os.Args[0])}
	c.cmd.Dir = dir
	c.cmd.Env = append(os.Environ(), childEnv+"="+dir)
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.cmd.Start())
	t.Cleanup(c.kill)
	lines := bufio.NewScanner(out)
	if lines.Scan() {
		var where place
		require.NoError(t, json.Unmarshal(lines.Bytes(), &where), "services print nothing of their own")
		c.TemporalAddress, c.S3Endpoint, c.AccessKey, c.SecretKey = where.TemporalAddress, where.S3Endpoint, where.AccessKey, where.SecretKey
		return c
	}
	require.FailNow(t, "the stack ended before it was ready")
	return nil
}

// kill ends the process with SIGKILL and waits until it is gone.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

func TestWhoHoldsTheDirectory(t *testing.T) {
	dir := t.TempDir()
	c := startChild(t, dir)
	_, err := stack.Start(t.Context(), stack.Options{DataDir: dir, Namespace: "default", Bucket: "multiattempt"})
	require.ErrorIs(t, err, stack.ErrInUse)
	require.ErrorContains(t, err, "process "+strconv.Itoa(c.cmd.Process.Pid)+" ")
}

// TestKill kills the process while objects are written and workflows run; all that was acknowledged is there afterwards.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	kept := map[string]blob.Ref{}
	for round := range 3 {
		c := startChild(t, dir)
		objects := store(t, &c.Stack)
		for _, ref := range kept {
			_, err := blob.Load(t.Context(), objects, ref)
			require.NoError(t, err)
		}
		temporal, err := client.Dial(client.Options{HostPort: c.TemporalAddress})
		require.NoError(t, err)
		for before := range round {
			described, err := temporal.DescribeWorkflowExecution(t.Context(), fmt.Sprintf("run %d", before), "")
			require.NoError(t, err)
			require.Positive(t, described.GetWorkflowExecutionInfo().GetHistoryLength())
		}
		_, err = temporal.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: fmt.Sprintf("run %d", round), TaskQueue: "nobody"}, add, 1, 2)
		require.NoError(t, err)
		temporal.Close()

		for key, ref := range writeUntilKilled(t, c, objects, round) {
			kept[key] = ref
		}
	}
}

// writeUntilKilled puts objects from several goroutines, kills the stack after the hundredth acknowledgement and returns
// what was acknowledged.
func writeUntilKilled(t *testing.T, c *child, objects *s3.Store, round int) map[string]blob.Ref {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	acknowledged := map[string]blob.Ref{}
	var mu sync.Mutex
	var g sync.WaitGroup
	for writer := range 4 {
		g.Go(func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("round%d/%d/%d", round, writer, i)
				ref, err := blob.PutAs(ctx, objects, key, fmt.Appendf(make([]byte, 1000*i), "%s", key))
				if err != nil {
					return
				}
				mu.Lock()
				acknowledged[key] = ref
				enough := len(acknowledged) == 100
				mu.Unlock()
				if enough {
					c.kill()
					cancel()
				}
			}
		})
	}
	g.Wait()
	require.GreaterOrEqual(t, len(acknowledged), 100)
	return acknowledged
}
