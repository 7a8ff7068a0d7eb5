package stack_test

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"multiattempt/internal/blob"
	"multiattempt/internal/blob/blobtest"
	"multiattempt/internal/blob/s3"
	"multiattempt/internal/telemetry"
	"multiattempt/standalone/stack"
)

func options(t *testing.T) stack.Options {
	return stack.Options{DataDir: t.TempDir(), Namespace: "default", Bucket: "multiattempt"}
}

// start runs a stack for the length of the test.
func start(t *testing.T, o stack.Options) *stack.Stack {
	t.Helper()
	s, err := stack.Start(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Stop()) })
	return s
}

func dial(t *testing.T, address string) client.Client {
	t.Helper()
	c, err := client.Dial(client.Options{HostPort: address})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func store(t *testing.T, s *stack.Stack) *s3.Store {
	t.Helper()
	b, err := s3.Open(t.Context(), access(s))
	require.NoError(t, err)
	return b
}

func access(s *stack.Stack) s3.Options {
	return s3.Options{Endpoint: s.S3Endpoint, Bucket: "multiattempt", AccessKey: s.AccessKey, SecretKey: s.SecretKey}
}

func TestObjectsKeepTheContract(t *testing.T) {
	s := start(t, options(t))
	blobtest.Run(t, func(t *testing.T) blob.Store { return store(t, s) })
}

func TestRefusedConnections(t *testing.T) {
	s := start(t, options(t))
	good := access(s)
	for name, c := range map[string]struct {
		change func(*s3.Options)
		want   error
	}{
		"another bucket":     {func(o *s3.Options) { o.Bucket = "nobody-made-it" }, s3.ErrNoBucket},
		"another access key": {func(o *s3.Options) { o.AccessKey = "nobody" }, s3.ErrCredentials},
		"another secret":     {func(o *s3.Options) { o.SecretKey = "wrong" }, s3.ErrCredentials},
		"nobody listens":     {func(o *s3.Options) { o.Endpoint = "127.0.0.1:1"; o.MaxRetries = 1 }, s3.ErrUnreachable},
		"https to http":      {func(o *s3.Options) { o.Secure = true; o.MaxRetries = 1 }, s3.ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			o := good
			c.change(&o)
			_, err := s3.Open(t.Context(), o)
			require.ErrorIs(t, err, c.want)
		})
	}
}

// add is a workflow of one activity.
func add(ctx workflow.Context, a, b int) (sum int, err error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 10 * time.Second})
	err = workflow.ExecuteActivity(ctx, addActivity, a, b).Get(ctx, &sum)
	return sum, err
}

func addActivity(_ context.Context, a, b int) (int, error) { return a + b, nil }

func runWorker(t *testing.T, c client.Client) {
	t.Helper()
	w := worker.New(c, "test", worker.Options{})
	w.RegisterWorkflow(add)
	w.RegisterActivity(addActivity)
	require.NoError(t, w.Start())
	t.Cleanup(w.Stop)
}

func TestServicesAnswerAndRemember(t *testing.T) {
	o := options(t)
	o.Namespace = "default"
	t.Run("first start", func(t *testing.T) {
		s := start(t, o)
		resp, err := http.Get(s.UIURL)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusOK, resp.StatusCode)

		c := dial(t, s.TemporalAddress)
		attributes, err := c.OperatorService().ListSearchAttributes(t.Context(), &operatorservice.ListSearchAttributesRequest{Namespace: "default"})
		require.NoError(t, err)
		for _, want := range telemetry.SearchAttributes() {
			require.Equal(t, want.GetValueType(), attributes.GetCustomAttributes()[want.GetName()], want.GetName())
		}

		runWorker(t, c)
		run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "sum", TaskQueue: "test"}, add, 2, 3)
		require.NoError(t, err)
		var sum int
		require.NoError(t, run.Get(t.Context(), &sum))
		require.Equal(t, 5, sum)
		_, err = blob.PutAs(t.Context(), store(t, s), "kept/a", []byte("kept"))
		require.NoError(t, err)
	})
	t.Run("second start", func(t *testing.T) {
		s := start(t, o)
		var sum int
		require.NoError(t, dial(t, s.TemporalAddress).GetWorkflow(t.Context(), "sum", "").Get(t.Context(), &sum))
		require.Equal(t, 5, sum)
		_, err := blob.PutAs(t.Context(), store(t, s), "kept/a", []byte("kept"))
		require.NoError(t, err)
	})
}

func TestAnotherNamespaceIsCreated(t *testing.T) {
	o := options(t)
	for _, o.Namespace = range []string{"default", "science", "science"} {
		t.Run(o.Namespace, func(t *testing.T) {
			s := start(t, o)
			_, err := stack.Start(t.Context(), options(t))
			require.ErrorIs(t, err, stack.ErrInUse, "a second stack in one process")
			c, err := client.Dial(client.Options{HostPort: s.TemporalAddress, Namespace: o.Namespace})
			require.NoError(t, err)
			defer c.Close()
			_, err = c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: "nobody"}, add, 1, 2)
			require.NoError(t, err)
		})
	}
}

func TestGroundIsChecked(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, busy.Close()) })
	taken := busy.Addr().(*net.TCPAddr).Port
	for name, c := range map[string]struct {
		prepare func(t *testing.T, o *stack.Options)
		want    error
		says    []string
	}{
		"every taken port is named": {
			func(_ *testing.T, o *stack.Options) { o.TemporalPort, o.S3Port = taken, taken },
			stack.ErrPortTaken, []string{"Temporal server", "S3 store", strconv.Itoa(taken), "configure another port"},
		},
		"relative directory": {
			func(_ *testing.T, o *stack.Options) { o.DataDir = "data" }, nil, []string{"not absolute"},
		},
		"a file in the place of the directory": {
			func(t *testing.T, o *stack.Options) {
				o.DataDir = filepath.Join(o.DataDir, "file")
				require.NoError(t, os.WriteFile(o.DataDir, nil, 0o600))
			}, nil, []string{"file", "not a directory"},
		},
		"database of another version": {
			func(t *testing.T, o *stack.Options) {
				write(t, filepath.Join(o.DataDir, "temporal", "temporal.db"), "x")
				write(t, filepath.Join(o.DataDir, "temporal", "schema"), "sqlite 0.1")
			}, stack.ErrForeignData, []string{"sqlite 0.1", "move the folder"},
		},
		"database without a stamp": {
			func(t *testing.T, o *stack.Options) {
				write(t, filepath.Join(o.DataDir, "temporal", "temporal.db"), "x")
			}, stack.ErrForeignData, nil,
		},
		"broken credentials": {
			func(t *testing.T, o *stack.Options) { write(t, filepath.Join(o.DataDir, "credentials.json"), "{}") },
			stack.ErrForeignData, []string{"credentials.json", "remove it"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			c.prepare(t, &o)
			_, err := stack.Start(t.Context(), o)
			require.Error(t, err)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
			}
			for _, part := range c.says {
				require.ErrorContains(t, err, part)
			}
		})
	}
}

func TestCredentialsAreKeptSecret(t *testing.T) {
	o := options(t)
	s := start(t, o)
	info, err := os.Stat(filepath.Join(o.DataDir, "credentials.json"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.Len(t, s.AccessKey, 20)
	require.Len(t, s.SecretKey, 52)
}

func write(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}
