package config_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"multiattempt/config"
	"multiattempt/internal/spec"
)

func TestGoodFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.good.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			_, err := load(t, "--config", file)
			require.NoError(t, err)
		})
	}
}

// TestBadFiles loads each *.bad.yaml, whose "# want:" lines must all stand in one error.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			_, err := load(t, "--config", file)
			require.ErrorIs(t, err, spec.ErrInvalid)
			text, readErr := os.ReadFile(file)
			require.NoError(t, readErr)
			wants := 0
			for line := range strings.Lines(string(text)) {
				if want, ok := strings.CutPrefix(strings.TrimSpace(line), "# want: "); ok {
					require.ErrorContains(t, err, want)
					wants++
				}
			}
			require.Positive(t, wants, "the file says what it wants")
		})
	}
}

func TestEveryKeyIsRead(t *testing.T) {
	c, err := load(t, "--config", "testdata/everything.good.yaml")
	require.NoError(t, err)
	require.Equal(t, config.Config{
		Temporal: config.Temporal{Address: "temporal.example:7233", Namespace: "research", Queue: "q", APIKey: "key-that-must-not-show",
			TLS:   config.TemporalTLS{Enabled: true, CAFile: "/ca.pem", CertFile: "/cert.pem", KeyFile: "/key.pem", ServerName: "temporal"},
			Codec: config.Codec{KeyFile: "/keys"}},
		Store: config.Store{Endpoint: "[::1]:9000", Bucket: "runs", Region: "eu-west-1", TLS: true, CAFile: "/ca.pem", AccessKey: "ak",
			SecretKey: "secret-that-must-not-show", SessionToken: "token-that-must-not-show"},
		Backend: config.Backend{Choice: "xla"},
		Worker: config.Worker{Roles: []config.Role{config.RoleControl, config.RoleRollout}, RolloutConcurrency: 4, StopTimeout: 5 * time.Minute,
			Deployment: "multiattempt", BuildID: "v1.2.3", Versioning: config.VersioningAutoUpgrade},
		Log:     config.Log{Level: "debug", Format: "json"},
		Web:     config.Web{Listen: "0.0.0.0:8234", Token: "web-token-that-must-not-show"},
		Metrics: config.Metrics{Listen: "127.0.0.1:9464"},
		Tracing: config.Tracing{Endpoint: "http://127.0.0.1:4317", Ratio: 0.5},
		Tracking: config.Tracking{TensorBoard: "/tensorboard", MLflow: config.MLflow{
			URL: "http://127.0.0.1:5000", Experiment: "failures", Username: "u", Password: "password-that-must-not-show"}},
		Rewards:  config.Rewards{CAFile: "/rewards.pem", SecretsDir: "/rewards"},
		DataDir:  "/data",
		StateDir: "/state",
		CacheDir: "/cache",
	}, c)
}

func TestFlagsBeatEnvironmentBeatsFileBeatsDefaults(t *testing.T) {
	t.Setenv("MULTIATTEMPT_TEMPORAL_ADDRESS", "env:1")
	t.Setenv("MULTIATTEMPT_TEMPORAL_NAMESPACE", "env")
	t.Setenv("TEMPORAL_API_KEY", "standard name")
	t.Setenv("AWS_REGION", "ignored")
	t.Setenv("MULTIATTEMPT_STORE_REGION", "ours goes first")
	t.Setenv("MULTIATTEMPT_WORKER_ROLLOUT_CONCURRENCY", "3")
	t.Setenv("MULTIATTEMPT_CONFIG", "testdata/everything.good.yaml")
	c, err := load(t, "--temporal", "flag:2")
	require.NoError(t, err)
	require.Equal(t, "flag:2", c.Temporal.Address)
	require.Equal(t, "env", c.Temporal.Namespace)
	require.Equal(t, "standard name", c.Temporal.APIKey.Reveal())
	require.Equal(t, "ours goes first", c.Store.Region)
	require.Equal(t, 3, c.Worker.RolloutConcurrency)
	require.Equal(t, "q", c.Temporal.Queue, "from the file")
}

func TestDirectoriesAreAbsolute(t *testing.T) {
	c, err := load(t, "--data-dir", "x", "--state-dir", "y", "--cache-dir", "z")
	require.NoError(t, err)
	for _, dir := range []string{c.DataDir, c.StateDir, c.CacheDir} {
		require.True(t, filepath.IsAbs(dir), dir)
	}
}

func TestMisspeltVariablesAreNamed(t *testing.T) {
	t.Setenv("MULTIATTEMPT_TEMPORAL_ADDR", "x:1")
	t.Setenv("MULTIATTEMPT_BUCKET", "b")
	t.Setenv("MULTIATTEMPT_TEST_ANYTHING", "is left alone")
	_, err := load(t)
	require.ErrorIs(t, err, spec.ErrInvalid)
	require.ErrorContains(t, err, "$MULTIATTEMPT_TEMPORAL_ADDR")
	require.ErrorContains(t, err, "$MULTIATTEMPT_BUCKET")
	require.ErrorContains(t, err, "2 wrong settings")
}

func TestMissingFileIsAnError(t *testing.T) {
	_, err := load(t, "--config", "testdata/nowhere.yaml")
	require.ErrorContains(t, err, "nowhere.yaml")
}

func TestSecretsNeverPrint(t *testing.T) {
	c, err := load(t, "--config", "testdata/everything.good.yaml")
	require.NoError(t, err)
	asJSON, err := json.Marshal(c)
	require.NoError(t, err)
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("config", "config", c, "key", c.Temporal.APIKey)
	slog.New(slog.NewTextHandler(&log, nil)).Info("config", "config", c, "key", c.Temporal.APIKey)
	all := string(asJSON) + log.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		all += fmt.Sprintf(verb, c) + fmt.Sprintf(verb, &c) + fmt.Sprintf(verb, c.Store.SecretKey)
	}
	require.NotContains(t, all, "must-not-show")
	require.NotContains(t, all, fmt.Sprintf("%x", "must-not-show"))
	require.Contains(t, all, "**redacted**")
	require.Equal(t, "secret-that-must-not-show", c.Store.SecretKey.Reveal())
}

func load(t *testing.T, args ...string) (config.Config, error) {
	t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.AddFlags(flags)
	require.NoError(t, flags.Parse(args))
	return config.Load(flags)
}
