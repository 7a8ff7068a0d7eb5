package config

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"multiattempt/internal/spec"
)

const (
	envPrefix     = "MULTIATTEMPT_"
	envFile       = "MULTIATTEMPT_CONFIG"
	envTest       = "MULTIATTEMPT_TEST_"           // variables of the test suite, which are no settings
	envPlugin     = "MULTIATTEMPT_XLA_PLUGIN"      // read by the engine: the path of a PJRT plugin
	envCUDAPlugin = "MULTIATTEMPT_XLA_CUDA_PLUGIN" // the same for NVIDIA GPUs

	// The command line's own library reads these; its completion scripts set them.
	envActiveHelp   = "MULTIATTEMPT_ACTIVE_HELP"
	envDescriptions = "MULTIATTEMPT_COMPLETION_DESCRIPTIONS"
)

// Load collects the settings. flags, which may be nil, are those that AddFlags registered. Unknown keys, in the file or
// as a MULTIATTEMPT_ variable, and values out of range come back together as a *spec.InvalidError.
func Load(flags *pflag.FlagSet) (Config, error) {
	v := viper.New()
	for _, k := range keys() {
		v.SetDefault(k.path, k.fallback)
		if err := v.BindEnv(append([]string{k.path}, k.envNames()...)...); err != nil {
			return Config{}, err
		}
		if flags != nil && k.flag != "" && flags.Changed(k.flag) {
			v.Set(k.path, flags.Lookup(k.flag).Value.String())
		}
	}
	if err := readFile(v, flags); err != nil {
		return Config{}, err
	}
	wrong := append(unknownKeys(v), unknownVariables(os.Environ())...)
	if len(wrong) > 0 {
		return Config{}, invalid(wrong)
	}
	var c Config
	if err := v.UnmarshalExact(&c); err != nil {
		return Config{}, fmt.Errorf("%w: configuration: %w", spec.ErrInvalid, err)
	}
	return c.absolute()
}

// readFile reads the file that --config or the environment names; there may be none.
func readFile(v *viper.Viper, flags *pflag.FlagSet) error {
	file := os.Getenv(envFile)
	if flags != nil && flags.Changed("config") {
		file = flags.Lookup("config").Value.String()
	}
	if file == "" {
		return nil
	}
	v.SetConfigFile(file)
	v.SetConfigType("yaml")
	if err := v.ReadInConfig(); err != nil {
		return fmt.Errorf("%w: configuration file %s: %w", spec.ErrInvalid, file, err)
	}
	return nil
}

func unknownKeys(v *viper.Viper) []spec.FieldError {
	var wrong []spec.FieldError
	for _, path := range slices.Sorted(slices.Values(v.AllKeys())) {
		if !slices.ContainsFunc(keys(), func(k key) bool { return k.path == path }) {
			wrong = append(wrong, spec.FieldError{Path: path, Allowed: "no such setting: correct or remove it"})
		}
	}
	return wrong
}

// unknownVariables finds misspelt MULTIATTEMPT_ variables among NAME=value entries.
func unknownVariables(environ []string) []spec.FieldError {
	known := []string{envFile, envPlugin, envCUDAPlugin, envActiveHelp, envDescriptions}
	for _, k := range keys() {
		known = append(known, k.envNames()...)
	}
	var wrong []spec.FieldError
	for _, entry := range slices.Sorted(slices.Values(environ)) {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, envPrefix) && !strings.HasPrefix(name, envTest) && !slices.Contains(known, name) {
			wrong = append(wrong, spec.FieldError{Path: "$" + name, Allowed: "no such setting: correct or unset it"})
		}
	}
	return wrong
}

// absolute validates the settings and makes their paths independent of the working directory.
func (c Config) absolute() (Config, error) {
	if err := c.Validate(); err != nil {
		return Config{}, err
	}
	for _, path := range []*string{&c.DataDir, &c.StateDir, &c.CacheDir} {
		abs, err := filepath.Abs(*path)
		if err != nil {
			return Config{}, err
		}
		*path = abs
	}
	tls := &c.Temporal.TLS
	for _, path := range []*string{
		&tls.CAFile, &tls.CertFile, &tls.KeyFile, &c.Temporal.Codec.KeyFile, &c.Store.CAFile, &c.Store.Dir, &c.Tracking.TensorBoard,
		&c.Rewards.CAFile, &c.Rewards.SecretsDir,
	} {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return Config{}, err
		}
		*path = abs
	}
	return c, nil
}

// Validate checks every setting and returns all that is wrong as one *spec.InvalidError.
func (c Config) Validate() error {
	var wrong []spec.FieldError
	want := func(ok bool, path string, value any, allowed string) {
		if !ok {
			wrong = append(wrong, spec.FieldError{Path: path, Value: value, Allowed: allowed})
		}
	}
	want(c.Temporal.Address == "" || isHostPort(c.Temporal.Address), "temporal.address", c.Temporal.Address, "host:port")
	want(c.Temporal.Namespace != "", "temporal.namespace", c.Temporal.Namespace, "a namespace's name")
	want((c.Temporal.TLS.CertFile == "") == (c.Temporal.TLS.KeyFile == ""), "temporal.tls.cert_file", c.Temporal.TLS.CertFile,
		"together with temporal.tls.key_file, or neither")
	want(c.Store.Dir == "" || c.Store.Endpoint == "", "store.dir", c.Store.Dir, "nothing beside store.endpoint: artefacts are kept in one place")
	want(c.Store.Endpoint == "" || isHostPort(c.Store.Endpoint), "store.endpoint", c.Store.Endpoint, "host:port, without http://")
	want(c.Store.Bucket != "", "store.bucket", c.Store.Bucket, "a bucket's name")
	want(c.Store.AccessKey == "" || c.Store.SecretKey != "", "store.secret_key", nil, "must be given with store.access_key")
	want(c.Temporal.Codec.Key == "" || c.Temporal.Codec.KeyFile == "", "temporal.codec.key_file", c.Temporal.Codec.KeyFile, "not together with temporal.codec.key")
	want(c.Store.SessionToken == "" || c.Store.AccessKey != "", "store.session_token", nil, "only with store.access_key and store.secret_key")
	want(c.Store.CAFile == "" || c.Store.TLS, "store.ca_file", c.Store.CAFile, "only with store.tls")
	want(c.Temporal.Queue != "", "temporal.queue", c.Temporal.Queue, "a task queue's name")
	want(slices.Contains([]string{"auto", "xla", "xla:cuda", "go"}, c.Backend.Choice), "backend.choice", c.Backend.Choice,
		"one of auto, xla, xla:cuda, go")
	want(areRoles(c.Worker.Roles), "worker.roles", c.Worker.Roles, "one or more of control, rollout, learner, each once")
	want(1 <= c.Worker.RolloutConcurrency && c.Worker.RolloutConcurrency <= 64, "worker.rollout_concurrency", c.Worker.RolloutConcurrency, "from 1 to 64")
	want(time.Second <= c.Worker.StopTimeout && c.Worker.StopTimeout <= 24*time.Hour, "worker.stop_timeout", c.Worker.StopTimeout, "from 1s to 24h")
	want((c.Worker.Deployment == "") == (c.Worker.BuildID == ""), "worker.build_id", c.Worker.BuildID, "together with worker.deployment, or neither")
	want(isDeployment(c.Worker.Deployment), "worker.deployment", c.Worker.Deployment, "a name without dots and colons that does not begin with __")
	want(slices.Contains([]string{VersioningPinned, VersioningAutoUpgrade}, c.Worker.Versioning), "worker.versioning", c.Worker.Versioning, "one of pinned, auto_upgrade")
	want(slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level), "log.level", c.Log.Level, "one of debug, info, warn, error")
	want(slices.Contains([]string{"text", "json"}, c.Log.Format), "log.format", c.Log.Format, "one of text, json")
	want(isHostPort(c.Web.Listen), "web.listen", c.Web.Listen, "host:port, as in 127.0.0.1:8234")
	want(c.Metrics.Listen == "" || isHostPort(c.Metrics.Listen), "metrics.listen", c.Metrics.Listen, "host:port, as in 127.0.0.1:9464")
	want(c.Tracing.Endpoint == "" || isURL(c.Tracing.Endpoint), "tracing.endpoint", c.Tracing.Endpoint, "http://host:port or https://host:port")
	want(0 < c.Tracing.Ratio && c.Tracing.Ratio <= 1, "tracing.ratio", c.Tracing.Ratio, "above 0, at most 1")
	want(c.Tracking.MLflow.URL == "" || isURL(c.Tracking.MLflow.URL), "tracking.mlflow.url", c.Tracking.MLflow.URL, "http://host:port or https://host:port")
	want(c.Tracking.MLflow.Experiment != "", "tracking.mlflow.experiment", c.Tracking.MLflow.Experiment, "an experiment's name")
	want(c.Tracking.MLflow.Token == "" || c.Tracking.MLflow.Username == "", "tracking.mlflow.token", nil, "in place of a name and password")
	want(c.StateDir != "", "state_dir", c.StateDir, "a directory")
	want(c.CacheDir != "", "cache_dir", c.CacheDir, "a directory")
	if len(wrong) == 0 {
		return nil
	}
	return invalid(wrong)
}

// areRoles reports whether the list names known roles, each once, and at least one.
func areRoles(roles []Role) bool {
	for i, r := range roles {
		if !slices.Contains(Roles(), r) || slices.Contains(roles[:i], r) {
			return false
		}
	}
	return len(roles) > 0
}

// isDeployment reports whether Temporal takes the name of a Worker Deployment; empty is none.
func isDeployment(name string) bool {
	return !strings.ContainsAny(name, ".:") && !strings.HasPrefix(name, "__")
}

func invalid(wrong []spec.FieldError) error {
	return &spec.InvalidError{What: "configuration", Fields: wrong}
}

func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || strings.ContainsAny(host, "/@") {
		return false
	}
	_, err = net.LookupPort("tcp", port)
	return err == nil
}

// isURL reports whether s is a web address without credentials in it.
func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil
}
