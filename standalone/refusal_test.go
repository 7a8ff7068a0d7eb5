package main

import (
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
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
