//go:build production

package production_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// up starts everything in the order that the file's conditions ask for.
func (h *host) up() (worker *exec.Cmd) {
	h.t.Helper()
	h.startPostgres()
	postgres := map[string]string{"SQL_HOST": "127.0.0.1", "SQL_PORT": h.port("postgres:5432"), "SCHEMA_DIR": schema(h.t)}
	h.script("schema", postgres)
	require.Contains(h.t, h.script("schema", postgres), "temporal: up to date", "safe to repeat")

	ports := map[string]string{
		"POSTGRES_SEEDS": "127.0.0.1", "DB_PORT": h.port("postgres:5432"), "BIND_ON_IP": "127.0.0.1",
		"FRONTEND_GRPC_PORT": h.port("temporal:7233"),
	}
	for _, name := range []string{
		"FRONTEND_HTTP_PORT", "FRONTEND_MEMBERSHIP_PORT", "HISTORY_GRPC_PORT", "HISTORY_MEMBERSHIP_PORT",
		"MATCHING_GRPC_PORT", "MATCHING_MEMBERSHIP_PORT", "WORKER_GRPC_PORT", "WORKER_MEMBERSHIP_PORT",
	} {
		_, port, err := net.SplitHostPort(h.free())
		require.NoError(h.t, err)
		ports[name] = port
	}
	h.start("temporal", ports, "temporal-server", "start")
	h.healthy("temporal", nil)
	h.script("namespace", nil)
	h.script("namespace", nil) // safe to repeat

	gateway := filepath.Join(h.bin, "versitygw")
	h.start("objects", map[string]string{"VGW_PORT": h.places["objects:9000"], "VGW_BINARY": gateway}, "/bin/sh", entryPoint(h.t))
	h.healthy("objects", nil)
	h.script("bucket", nil)
	h.script("bucket", nil)

	ui := h.command(context.Background(), "ui", map[string]string{"TEMPORAL_UI_PORT": h.port("ui:8080")}, "ui-server", "--env", "docker", "start")
	ui.Dir = moduleDir(h.t, "github.com/temporalio/ui-server/v2") // which holds config/docker.yaml, as the image does
	h.launch("ui", ui)
	h.healthy("ui", nil)

	worker = h.start("worker", h.workerEnv(), "multiattempt", "worker")
	h.healthy("worker", h.workerEnv())
	return worker
}

// workerEnv is what differs between a worker here and one in its container.
func (h *host) workerEnv() map[string]string {
	more := map[string]string{
		"MULTIATTEMPT_METRICS_LISTEN": h.places["worker:9464"],
		"MULTIATTEMPT_CACHE_DIR":      filepath.Join(h.dir, "cache"),
		"MULTIATTEMPT_DATA_DIR":       h.dir,
	}
	if cache, err := os.UserCacheDir(); err == nil { // as the image sets it
		plugin := filepath.Join(cache, "multiattempt/xla/pjrt_c_api_cpu_plugin.so")
		if _, err := os.Stat(plugin); err == nil {
			more["MULTIATTEMPT_XLA_PLUGIN"] = plugin
		}
	}
	return more
}

func moduleDir(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

func schema(t *testing.T) string {
	return filepath.Join(moduleDir(t, "go.temporal.io/server"), "schema/postgresql/v12")
}

func entryPoint(t *testing.T) string {
	return filepath.Join(moduleDir(t, "github.com/versity/versitygw"), "docker-entrypoint.sh")
}

// multiattempt runs a command inside the worker's container, as docker compose exec does.
func (h *host) multiattempt(args ...string) string {
	h.t.Helper()
	return h.finish("worker", h.workerEnv(), append([]string{"multiattempt"}, args...)...)
}

// temporal runs the plain command in the container that made the namespace.
func (h *host) temporal(args ...string) string {
	h.t.Helper()
	return h.finish("namespace", nil, append([]string{"temporal"}, args...)...)
}

func (h *host) get(url string) string {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, url, nil)
	require.NoError(h.t, err)
	answer, err := http.DefaultClient.Do(r)
	require.NoError(h.t, err)
	b, err := io.ReadAll(answer.Body)
	require.NoError(h.t, err)
	require.NoError(h.t, answer.Body.Close())
	require.Equal(h.t, http.StatusOK, answer.StatusCode, url)
	return string(b)
}

// loop is that of `multiattempt quickstart --small`: train both arms, evaluate, compare; then steer a run with the plain
// temporal command.
func (h *host) loop() {
	h.t.Helper()
	began := time.Now()
	h.multiattempt("train", "--preset", "quickstart-small", "--run", "multi", "--follow")
	h.multiattempt("train", "--preset", "quickstart-small-single", "--run", "single", "--follow")
	compared := h.multiattempt("compare", "single", "multi")
	h.t.Logf("both arms of quickstart-small after %s:\n%s", time.Since(began).Round(time.Second), compared)
	require.Contains(h.t, compared, "multi")
	require.Contains(h.t, h.multiattempt("runs"), "multi")
	require.Contains(h.t, h.multiattempt("export-metrics", "multi", "--csv", "-"), "reward/reward_mean_per_episode")

	metrics := h.get("http://" + h.places["worker:9464"] + "/metrics")
	for _, name := range []string{
		`multiattempt_iterations_total{run="multi"}`, `multiattempt_reward_mean_per_episode{run="multi"}`,
		`multiattempt_store_bytes_total{op="put"}`, `temporal_activity_execution_latency_seconds_count`,
		`temporal_activity_schedule_to_start_latency_seconds_bucket`, `temporal_worker_task_slots_used`,
	} {
		require.Contains(h.t, metrics, name)
	}

	// "All runs of this model that are paused."
	h.temporal("workflow", "start", "--workflow-id", "long", "--task-queue", "multiattempt", "--type", "Train", "--input", `{"preset":"tiny","iterations":1000000}`)
	h.multiattempt("pause", "long")
	var listed []struct{ Execution struct{ WorkflowID string } }
	require.Eventually(h.t, func() bool { // visibility follows the history
		out := h.temporal("workflow", "list", "--query", `Model = "builtin:smudged-base" AND Phase = "paused"`, "--output", "json")
		listed = nil
		require.NoError(h.t, json.Unmarshal([]byte(out), &listed), out)
		return len(listed) == 1
	}, time.Minute, 500*time.Millisecond)
	require.Equal(h.t, "long", listed[0].Execution.WorkflowID)
	h.multiattempt("stop", "long")
	require.Contains(h.t, h.temporal("workflow", "result", "--workflow-id", "long"), "COMPLETED")
}

// drain stops the worker as an engine does, and measures it against the grace period.
func (h *host) drain(worker *exec.Cmd) {
	h.t.Helper()
	began := time.Now()
	require.NoError(h.t, worker.Process.Signal(syscall.SIGTERM))
	err := worker.Wait()
	h.t.Logf("the worker drained in %s: %v", time.Since(began).Round(time.Millisecond), worker.ProcessState)
	require.NoError(h.t, err)
	require.Less(h.t, time.Since(began), time.Duration(*h.project.Services["worker"].StopGracePeriod))
	ctx, cancel := context.WithTimeout(h.t.Context(), 15*time.Second)
	defer cancel()
	require.Error(h.t, h.command(ctx, "worker", h.workerEnv(), "multiattempt", "health").Run(), "a dead worker is not healthy")
}

func TestComposeServicesTrain(t *testing.T) {
	h := newHost(t, project(t, nil))
	worker := h.up()
	h.loop()
	require.Contains(t, h.get("http://"+h.places["ui:8080"]+"/api/v1/namespaces/default"), `"default"`)
	require.True(t, strings.Contains(readable(h.temporal("workflow", "show", "--workflow-id", "multi", "--output", "json")), "runs/multi/"), "plain without a key")
	h.drain(worker)
}

func TestComposeServicesTrainEncrypted(t *testing.T) {
	key, err := exec.CommandContext(t.Context(), "openssl", "rand", "-base64", "32").Output()
	require.NoError(t, err)
	h := newHost(t, project(t, []string{"CODEC_KEY=" + strings.TrimSpace(string(key))}, "deploy/compose/tls.yml"))
	certificates, err := filepath.Abs(filepath.Join(root, "deploy/compose/certificates.sh"))
	require.NoError(t, err)
	h.finish("worker", nil, certificates, filepath.Join(h.dir, "certs"))
	worker := h.up()
	h.multiattempt("train", "--preset", "tiny", "--run", "multi", "--follow")

	history := readable(h.temporal("workflow", "show", "--workflow-id", "multi", "--output", "json"))
	require.Contains(t, history, encrypted)
	for _, text := range []string{"runs/multi/", "reward_mean_per_episode", "tiny", "problems_per_step", "iteration 1"} {
		require.False(t, strings.Contains(history, text), "the history holds %q", text)
	}

	codec := h.free()
	h.start("codec", map[string]string{"MULTIATTEMPT_TEMPORAL_CODEC_KEY": strings.TrimSpace(string(key))}, "multiattempt", "codec", "--listen", codec)
	require.Eventually(t, func() bool {
		c, err := net.DialTimeout("tcp", codec, time.Second)
		return err == nil && c.Close() == nil
	}, 30*time.Second, 100*time.Millisecond)
	opened := readable(h.temporal("workflow", "show", "--workflow-id", "multi", "--output", "json", "--codec-endpoint", "http://"+codec))
	require.True(t, strings.Contains(opened, "runs/multi/"), "the codec server opens it")

	// Without a client certificate, or in the clear, nobody gets in.
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	stranger := h.command(ctx, "namespace", map[string]string{
		"TEMPORAL_TLS_CLIENT_CERT_PATH": "", "TEMPORAL_TLS_CLIENT_KEY_PATH": "", "TEMPORAL_TLS_CERT": "", "TEMPORAL_TLS_KEY": "",
	}, "temporal", "workflow", "list", "--command-timeout", "10s")
	require.Error(t, stranger.Run())
	h.drain(worker)
}

// encrypted is the encoding of sealed payloads.
const encrypted = "binary/encrypted"

// readable is a history with every base64 text of it decoded behind it: the command prints payloads in one form or the
// other.
func readable(history string) string {
	all := []string{history}
	for _, m := range regexp.MustCompile(`"([A-Za-z0-9+/]{4,}={0,2})"`).FindAllStringSubmatch(history, -1) {
		if b, err := base64.StdEncoding.DecodeString(m[1]); err == nil {
			all = append(all, string(b))
		}
	}
	return strings.Join(all, "\n")
}
