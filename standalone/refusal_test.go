package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/types/known/durationpb"
)

// TestServicesThatCannotStart tells the user in one sentence what is in the way, with the exit code for services.
func TestServicesThatCannotStart(t *testing.T) {
	up := newInstallation(t)
	running := up.start(t, "up")
	running.untilReady(t)

	t.Run("another process runs on the state directory", func(t *testing.T) {
		p := up.start(t, "up")
		require.Equal(t, 3, p.wait(t))
		require.Contains(t, p.out.String(), "process "+strconv.Itoa(running.cmd.Process.Pid)+" ")
		require.Contains(t, p.out.String(), "stop it, or choose another data directory")
	})
	t.Run("ports are taken", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close() //nolint:errcheck // only the port matters
		_, taken, err := net.SplitHostPort(l.Addr().String())
		require.NoError(t, err)
		in := newInstallation(t)
		in.flags = append(in.flags, "--ui-port", taken)
		p := in.start(t, "up")
		require.Equal(t, 3, p.wait(t))
		require.Contains(t, p.out.String(), "Temporal UI is to listen on 127.0.0.1:"+taken)
		require.Contains(t, p.out.String(), "configure another port")
	})
	running.kill()
}

// TestServicesThatAreNotWhatTheyShouldBe names what is wrong, where, and what to do about it.
func TestServicesThatAreNotWhatTheyShouldBe(t *testing.T) {
	in := newInstallation(t)
	up := in.start(t, "up")
	up.untilReady(t)
	var there struct {
		S3        string
		AccessKey string `json:"access_key"`
		SecretKey string `json:"secret_key"`
	}
	b, err := os.ReadFile(filepath.Join(in.state, "endpoints.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &there))
	t.Setenv("MULTIATTEMPT_STORE_ACCESS_KEY", there.AccessKey)
	t.Setenv("MULTIATTEMPT_STORE_SECRET_KEY", there.SecretKey)
	nobody := net.JoinHostPort("127.0.0.1", strconv.Itoa(freePorts(t, 1)[0]))
	for name, c := range map[string]struct {
		args []string
		says []string
	}{
		"nobody answers as Temporal":    {[]string{"runs", "--temporal", nobody}, []string{"connect to Temporal at " + nobody, "connection refused", "start them with"}},
		"nobody answers as the store":   {[]string{"checkpoints", "r", "--s3", nobody}, []string{nobody + "/multiattempt", "is it running"}},
		"a bucket that does not exist":  {[]string{"checkpoints", "r", "--s3", there.S3, "--bucket", "nope"}, []string{there.S3 + "/nope", "bucket does not exist: create it"}},
		"a worker and another's bucket": {[]string{"worker", "--s3", there.S3, "--bucket", "nope"}, []string{there.S3 + "/nope", "bucket does not exist: create it"}},
		"a namespace that is not there": {[]string{"show", "r", "--temporal", in.address(), "--namespace", "nope"}, []string{"Namespace nope is not found", "temporal operator namespace create"}},
	} {
		t.Run(name, func(t *testing.T) {
			code, out := in.run(t, c.args...)
			require.Equal(t, 3, code, out)
			for _, part := range c.says {
				require.Contains(t, out, part)
			}
		})
	}
	t.Run("a secret key that is not the store's", func(t *testing.T) {
		t.Setenv("MULTIATTEMPT_STORE_SECRET_KEY", "wrong")
		code, out := in.run(t, "checkpoints", "r", "--s3", there.S3)
		require.Equal(t, 3, code, out)
		require.Contains(t, out, "check access key and secret key")
	})
	t.Run("a namespace without our search attributes", func(t *testing.T) {
		namespaces, err := client.NewNamespaceClient(client.Options{HostPort: in.address()})
		require.NoError(t, err)
		defer namespaces.Close()
		require.NoError(t, namespaces.Register(t.Context(), &workflowservice.RegisterNamespaceRequest{
			Namespace: "bare", WorkflowExecutionRetentionPeriod: durationpb.New(24 * time.Hour),
		}))
		bare := []string{"--temporal", in.address(), "--namespace", "bare"}
		up.until(t, "the server knew the namespace", func(context.Context) bool {
			code, out := in.run(t, append([]string{"doctor"}, bare...)...)
			require.Equal(t, 3, code, out)
			return strings.Contains(out, "namespace bare lacks search attribute") && strings.Contains(out, "temporal operator search-attribute create")
		})
		beside := installation{state: in.state, flags: in.flags[:4]}
		worker := beside.start(t, append([]string{"worker", "--roles", "control"}, bare...)...) // it registers them
		worker.until(t, "the doctor was content", func(context.Context) bool {
			code, _ := in.run(t, append([]string{"doctor"}, bare...)...)
			return code == 0
		})
	})
}
