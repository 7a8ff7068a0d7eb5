package config

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// key is one setting: every way to give it, and its default.
type key struct {
	path     string // in the file, and of Config's mapstructure tags
	fallback any
	flag     string   // empty: none
	env      []string // standard names, after our own
	help     string
}

// keys lists every setting of Config.
func keys() []key {
	return []key{
		{path: "temporal.address", fallback: "", flag: "temporal", env: []string{"TEMPORAL_ADDRESS"}, help: "Temporal frontend, host:port"},
		{path: "temporal.namespace", fallback: "default", flag: "namespace", env: []string{"TEMPORAL_NAMESPACE"}, help: "Temporal namespace"},
		{path: "temporal.queue", fallback: "multiattempt", flag: "queue", help: "task queue of workflows"},
		{path: "temporal.api_key", fallback: "", env: []string{"TEMPORAL_API_KEY"}},
		{path: "temporal.tls.enabled", fallback: false, env: []string{"TEMPORAL_TLS"}},
		{path: "temporal.tls.ca_file", fallback: "", env: []string{"TEMPORAL_TLS_SERVER_CA_CERT_PATH"}},
		{path: "temporal.tls.cert_file", fallback: "", env: []string{"TEMPORAL_TLS_CLIENT_CERT_PATH"}},
		{path: "temporal.tls.key_file", fallback: "", env: []string{"TEMPORAL_TLS_CLIENT_KEY_PATH"}},
		{path: "temporal.tls.server_name", fallback: "", env: []string{"TEMPORAL_TLS_SERVER_NAME"}},
		{path: "temporal.codec.key", fallback: ""},
		{path: "temporal.codec.key_file", fallback: ""},
		{path: "store.endpoint", fallback: "", flag: "s3", help: "S3 service, host:port"},
		{path: "store.dir", fallback: "", flag: "store-dir", help: "a folder of this machine in place of an S3 service"},
		{path: "store.bucket", fallback: "multiattempt", flag: "bucket", help: "S3 bucket"},
		{path: "store.region", fallback: "us-east-1", env: []string{"AWS_REGION"}},
		{path: "store.tls", fallback: false},
		{path: "store.ca_file", fallback: ""},
		{path: "store.access_key", fallback: ""},
		{path: "store.secret_key", fallback: ""},
		{path: "store.session_token", fallback: ""},
		{path: "backend.choice", fallback: "auto", flag: "backend", help: "what computes: auto, xla, xla:cuda or go"},
		{path: "worker.roles", fallback: "control,rollout,learner", flag: "roles", help: "what a worker takes: control, rollout, learner, comma-separated"},
		{path: "worker.rollout_concurrency", fallback: 1},
		{path: "worker.stop_timeout", fallback: time.Minute},
		{path: "worker.deployment", fallback: "", flag: "deployment", help: "Worker Deployment that a worker belongs to, with --build-id"},
		{path: "worker.build_id", fallback: "", flag: "build-id", help: "a worker's version in its Worker Deployment"},
		{path: "worker.versioning", fallback: VersioningPinned},
		{path: "log.level", fallback: "warn", flag: "log-level", help: "what goes to standard error: debug, info, warn or error"},
		{path: "log.format", fallback: "text"},
		{path: "web.listen", fallback: "127.0.0.1:8234", flag: "web", help: "where the pages listen, host:port"},
		{path: "web.token", fallback: ""},
		{path: "metrics.listen", fallback: ""},
		{path: "tracing.endpoint", fallback: ""},
		{path: "tracing.ratio", fallback: 1.0},
		{path: "tracking.tensorboard", fallback: ""},
		{path: "tracking.mlflow.url", fallback: ""},
		{path: "tracking.mlflow.experiment", fallback: "multiattempt", env: []string{"MLFLOW_EXPERIMENT_NAME"}},
		{path: "tracking.mlflow.username", fallback: "", env: []string{"MLFLOW_TRACKING_USERNAME"}},
		{path: "tracking.mlflow.password", fallback: "", env: []string{"MLFLOW_TRACKING_PASSWORD"}},
		{path: "tracking.mlflow.token", fallback: "", env: []string{"MLFLOW_TRACKING_TOKEN"}},
		{path: "rewards.ca_file", fallback: ""},
		{path: "rewards.secrets_dir", fallback: ""},
		{path: "data_dir", fallback: "", flag: "data-dir", env: []string{"MULTIATTEMPT_DATA"}, help: "where data sets and model folders lie"},
		{path: "state_dir", fallback: "data", flag: "state-dir", help: "where the embedded services keep their state"},
		{path: "cache_dir", fallback: defaultCacheDir(), flag: "cache-dir", help: "where downloads and fetched weights are kept"},
	}
}

// envNames returns the environment variables that set the key, ours first.
func (k key) envNames() []string {
	return append([]string{envPrefix + strings.ToUpper(strings.ReplaceAll(k.path, ".", "_"))}, k.env...)
}

// defaultCacheDir is the user's cache directory, or the temporary one where a service account has no home.
func defaultCacheDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "multiattempt")
}

// AddFlags registers the settings that have a flag. A flag that was not given changes nothing.
func AddFlags(f *pflag.FlagSet) {
	f.String("config", "", "YAML file with process settings (also $"+envFile+")")
	for _, k := range keys() {
		if k.flag != "" {
			f.String(k.flag, "", k.help+" (also $"+k.envNames()[0]+")")
		}
	}
}
