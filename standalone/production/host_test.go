//go:build production

package production_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"
)

// host runs the services of a compose file as processes of this machine: the same programs, with the file's environment.
// What differs is where they listen: on free ports of loopback, which every name:port in a setting is translated to.
type host struct {
	t       *testing.T
	project *types.Project
	dir     string            // of this test alone
	bin     string            // first in PATH
	places  map[string]string // what a container sees → where it is here
}

// services is where `make bin/services` puts the programs.
func services(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("MULTIATTEMPT_TEST_SERVICES")
	if dir == "" {
		dir = filepath.Join(root, "bin", "services")
	}
	dir, err := filepath.Abs(dir)
	require.NoError(t, err)
	return dir
}

func newHost(t *testing.T, p *types.Project) *host {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755)) // PostgreSQL has a user of its own
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	h := &host{t: t, project: p, dir: dir, bin: filepath.Join(dir, "bin"), places: map[string]string{}}
	require.NoError(t, os.Mkdir(h.bin, 0o755))
	lite, err := filepath.Abs(filepath.Join(root, "bin", "multiattempt-lite"))
	require.NoError(t, err)
	for name, program := range map[string]string{
		"temporal-sql-tool": "sql", "temporal-server": "server", "versitygw": "versitygw", "temporal": "temporal", "ui-server": "ui", "multiattempt": lite,
	} {
		if !filepath.IsAbs(program) {
			program = filepath.Join(services(t), program)
		}
		require.FileExists(t, program, "make test-production builds it")
		require.NoError(t, os.Symlink(program, filepath.Join(h.bin, name)))
	}
	for _, address := range []string{"postgres:5432", "temporal:7233", "objects:9000", "ui:8080", "worker:9464"} {
		h.places[address] = h.free()
	}
	objects := filepath.Join(dir, "objects")
	require.NoError(t, os.Mkdir(objects, 0o755))
	h.places["/objects"] = objects
	h.places["/certs"] = filepath.Join(dir, "certs")
	h.places["/etc/temporal/dynamicconfig.yaml"], err = filepath.Abs(filepath.Join(root, "deploy/compose/dynamicconfig.yaml"))
	require.NoError(t, err)
	return h
}

// nextPort is where the search for a free port goes on. Temporal keeps the ports of its parts in a smallint.
var nextPort = 20000 + os.Getpid()%10000

// free returns a free address of loopback.
func (h *host) free() string {
	h.t.Helper()
	for ; nextPort < 32767; nextPort++ {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(nextPort))
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		require.NoError(h.t, l.Close())
		nextPort++
		return address
	}
	require.FailNow(h.t, "no port is free")
	return ""
}

func (h *host) port(address string) string {
	h.t.Helper()
	_, port, err := net.SplitHostPort(h.places[address])
	require.NoError(h.t, err)
	return port
}

// here translates what a container sees.
func (h *host) here(text string) string {
	for there, here := range h.places {
		if strings.HasPrefix(there, "/") {
			if text == there || strings.HasPrefix(text, there+"/") {
				text = here + strings.TrimPrefix(text, there)
			}
			continue
		}
		text = strings.ReplaceAll(text, there, here)
	}
	return text
}

// command is a program with the environment of a service.
func (h *host) command(ctx context.Context, service string, more map[string]string, args ...string) *exec.Cmd {
	h.t.Helper()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	if path := filepath.Join(h.bin, args[0]); !strings.Contains(args[0], "/") {
		if _, err := os.Stat(path); err == nil {
			cmd.Path, cmd.Err = path, nil
		}
	}
	cmd.Dir = h.dir
	cmd.Env = []string{"PATH=" + h.bin + ":" + os.Getenv("PATH"), "HOME=" + h.dir}
	for name, value := range h.project.Services[service].Environment {
		if _, ok := more[name]; !ok && value != nil && *value != "" {
			cmd.Env = append(cmd.Env, name+"="+h.here(*value))
		}
	}
	for name, value := range more {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// start runs a service until the test ends. Its output is shown if the test fails.
func (h *host) start(service string, more map[string]string, args ...string) *exec.Cmd {
	h.t.Helper()
	return h.launch(service, h.command(context.Background(), service, more, args...))
}

func (h *host) launch(service string, cmd *exec.Cmd) *exec.Cmd {
	h.t.Helper()
	log, err := os.OpenFile(filepath.Join(h.dir, service+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(h.t, err)
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(h.t, cmd.Start())
	h.t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		_ = log.Close()
		if h.t.Failed() {
			b, _ := os.ReadFile(log.Name())
			h.t.Logf("%s says at last:\n%s", service, b[max(0, len(b)-4000):])
		}
	})
	return cmd
}

// finish runs a service that ends by itself.
func (h *host) finish(service string, more map[string]string, args ...string) string {
	h.t.Helper()
	out, err := h.command(h.t.Context(), service, more, args...).CombinedOutput()
	require.NoError(h.t, err, "%s: %s", service, out)
	return string(out)
}

// script runs one of deploy/compose's scripts as a service's entry point.
func (h *host) script(service string, more map[string]string) string {
	h.t.Helper()
	entry := h.project.Services[service].Entrypoint
	require.Len(h.t, entry, 2)
	for _, v := range h.project.Services[service].Volumes {
		if v.Target == entry[1] {
			return h.finish(service, more, "/bin/sh", v.Source)
		}
	}
	require.FailNow(h.t, "no script "+entry[1])
	return ""
}

// healthy waits until the health check that the file names for a service holds.
func (h *host) healthy(service string, more map[string]string) {
	h.t.Helper()
	test := h.project.Services[service].HealthCheck.Test
	check := func(ctx context.Context) error {
		args := append([]string{}, test[1:]...)
		if test[0] == "CMD-SHELL" {
			args = []string{"/bin/sh", "-c", test[1]}
		}
		for i := range args { // a container's own ports
			for _, own := range []string{"9000", "8080"} {
				args[i] = strings.ReplaceAll(args[i], "127.0.0.1:"+own, h.places[service+":"+own])
			}
		}
		if args[0] == "nc" { // which Debian's base lacks
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", h.places["temporal:7233"])
			if err == nil {
				err = c.Close()
			}
			return err
		}
		return h.command(ctx, service, more, args...).Run()
	}
	var err error
	require.Eventually(h.t, func() bool { // health checks poll, as an engine does
		ctx, cancel := context.WithTimeout(h.t.Context(), 15*time.Second)
		defer cancel()
		err = check(ctx)
		return err == nil
	}, 3*time.Minute, 500*time.Millisecond, "%s is not healthy: %v", service, err)
}

// startPostgres does what the image's entry point does: a cluster with the superuser that the environment names, scram
// for everybody, and a database of the same name.
func (h *host) startPostgres() {
	h.t.Helper()
	programs := os.Getenv("MULTIATTEMPT_TEST_POSTGRES")
	require.NotEmpty(h.t, programs, "make test-production sets it")
	env := h.project.Services["postgres"].Environment
	dir := filepath.Join(h.dir, "postgres")
	require.NoError(h.t, os.Mkdir(dir, 0o700))
	password := filepath.Join(h.dir, "password")
	require.NoError(h.t, os.WriteFile(password, []byte(*env["POSTGRES_PASSWORD"]+"\n"), 0o600))
	as := func(cmd *exec.Cmd) *exec.Cmd { return cmd }
	if os.Geteuid() == 0 { // PostgreSQL refuses root
		u, err := user.Lookup("postgres")
		require.NoError(h.t, err)
		uid, err := strconv.Atoi(u.Uid)
		require.NoError(h.t, err)
		gid, err := strconv.Atoi(u.Gid)
		require.NoError(h.t, err)
		require.NoError(h.t, os.Chown(dir, uid, gid))
		require.NoError(h.t, os.Chown(password, uid, gid))
		as = func(cmd *exec.Cmd) *exec.Cmd {
			cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
			return cmd
		}
	}
	init := as(h.command(h.t.Context(), "postgres", nil, filepath.Join(programs, "initdb"), "--pgdata", dir,
		"--username", *env["POSTGRES_USER"], "--pwfile", password, "--auth", "scram-sha-256", "--no-sync"))
	out, err := init.CombinedOutput()
	require.NoError(h.t, err, "%s", out)
	h.launch("postgres", as(h.command(context.Background(), "postgres", nil, filepath.Join(programs, "postgres"), "-D", dir,
		"-c", "listen_addresses=127.0.0.1", "-c", "port="+h.port("postgres:5432"), "-c", "unix_socket_directories=")))
	where := map[string]string{"PGHOST": "127.0.0.1", "PGPORT": h.port("postgres:5432"), "PGPASSWORD": *env["POSTGRES_PASSWORD"]}
	h.healthy("postgres", where)
	h.finish("postgres", where, filepath.Join(programs, "createdb"), "--username", *env["POSTGRES_USER"], *env["POSTGRES_USER"])
}
