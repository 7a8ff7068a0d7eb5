// Package config is what a process must know about its surroundings: addresses, queues, credentials, backend, logging.
//
// Values come from flags, then the environment (MULTIATTEMPT_ and the key in capitals), then a YAML file, then defaults.
// They never influence what a run computes; that is spec.Run's.
package config

import (
	"fmt"
	"slices"
	"time"
)

// Config holds every process setting. Load is how to get one.
type Config struct {
	Temporal Temporal `mapstructure:"temporal"`
	Store    Store    `mapstructure:"store"`
	Backend  Backend  `mapstructure:"backend"`
	Worker   Worker   `mapstructure:"worker"`
	Log      Log      `mapstructure:"log"`
	Web      Web      `mapstructure:"web"`
	Metrics  Metrics  `mapstructure:"metrics"`
	Tracing  Tracing  `mapstructure:"tracing"`
	Tracking Tracking `mapstructure:"tracking"`
	Rewards  Rewards  `mapstructure:"rewards"`
	// DataDir is where data sets and model folders are looked for by name; empty means the working directory.
	DataDir string `mapstructure:"data_dir"`
	// StateDir is where the embedded services keep their state, and say where they listen.
	StateDir string `mapstructure:"state_dir"`
	// CacheDir keeps what can be had again: downloads, weights fetched from the store, the XLA plugin.
	CacheDir string `mapstructure:"cache_dir"`
}

// Temporal says how the Temporal frontend is reached.
type Temporal struct {
	Address   string      `mapstructure:"address"` // host:port; empty: the embedded services, or 127.0.0.1:7233
	Namespace string      `mapstructure:"namespace"`
	Queue     string      `mapstructure:"queue"` // task queue of workflows; those of sampling and training derive from it
	APIKey    Secret      `mapstructure:"api_key"`
	TLS       TemporalTLS `mapstructure:"tls"`
	Codec     Codec       `mapstructure:"codec"`
}

// Codec encrypts what histories hold (AES-256-GCM), for everybody who has no key. All processes of a run need the same.
type Codec struct {
	// Key is 32 random bytes in base64; KeyFile names a file with such lines, of which the first encrypts and all decrypt.
	// At most one of both is given; without any, histories are plain.
	Key     Secret `mapstructure:"key"`
	KeyFile string `mapstructure:"key_file"`
}

// On reports whether histories are encrypted.
func (c Codec) On() bool { return c.Key != "" || c.KeyFile != "" }

// TemporalTLS encrypts the connection to Temporal; a client certificate authenticates this process (mTLS).
type TemporalTLS struct {
	Enabled    bool   `mapstructure:"enabled"` // implied by an API key or any file below
	CAFile     string `mapstructure:"ca_file"` // PEM; empty means the system's authorities
	CertFile   string `mapstructure:"cert_file"`
	KeyFile    string `mapstructure:"key_file"`
	ServerName string `mapstructure:"server_name"` // expected in the server's certificate; empty means the host of the address
}

// On reports whether the connection is encrypted.
func (t Temporal) On() bool {
	return t.TLS.Enabled || t.APIKey != "" || t.TLS.CAFile != "" || t.TLS.CertFile != ""
}

// Store says where artefacts are kept: an S3-compatible service.
type Store struct {
	Dir       string `mapstructure:"dir"`      // a folder of this machine, in place of a service; every worker must see it
	Endpoint  string `mapstructure:"endpoint"` // host:port; empty: the embedded services
	Bucket    string `mapstructure:"bucket"`
	Region    string `mapstructure:"region"`
	TLS       bool   `mapstructure:"tls"`
	CAFile    string `mapstructure:"ca_file"`    // PEM; empty means the system's authorities
	AccessKey string `mapstructure:"access_key"` // empty, with SecretKey: the usual AWS variables, files and instance roles
	SecretKey Secret `mapstructure:"secret_key"`
	// SessionToken belongs to temporary keys. They do not refresh themselves: leave all three empty where a role can.
	SessionToken Secret `mapstructure:"session_token"`
}

// Backend says what computes.
type Backend struct {
	Choice string `mapstructure:"choice"` // auto, xla, xla:cuda or go
}

// Role is a kind of work that a worker process takes.
type Role string

// The roles, each with task queues of its own. Control runs on any machine; the other two want an accelerator.
const (
	RoleControl Role = "control" // workflows, data, rewards, scores
	RoleRollout Role = "rollout" // samples episodes
	RoleLearner Role = "learner" // trains and keeps checkpoints
)

// Roles returns every role.
func Roles() []Role { return []Role{RoleControl, RoleRollout, RoleLearner} }

// Worker limits one worker process.
type Worker struct {
	Roles              []Role        `mapstructure:"roles"`               // what this process takes, each once
	RolloutConcurrency int           `mapstructure:"rollout_concurrency"` // shards sampled at the same time
	StopTimeout        time.Duration `mapstructure:"stop_timeout"`        // for activities to finish after a stop; longer than one checkpoint
	// Deployment and BuildID name the version of a Temporal Worker Deployment that this process belongs to; both or neither.
	Deployment string `mapstructure:"deployment"`
	BuildID    string `mapstructure:"build_id"`
	// Versioning says whether a workflow ends on the version that it began with (pinned), or goes on with each version that
	// becomes current (auto_upgrade).
	Versioning string `mapstructure:"versioning"`
}

// The values of Worker.Versioning.
const (
	VersioningPinned      = "pinned"
	VersioningAutoUpgrade = "auto_upgrade"
)

// Has reports whether the process takes work of role r.
func (w Worker) Has(r Role) bool { return slices.Contains(w.Roles, r) }

// Web says where the pages about runs are served, and to whom.
type Web struct {
	Listen string `mapstructure:"listen"` // host:port; beyond loopback only with a token
	Token  Secret `mapstructure:"token"`  // to be given once in each browser; empty: whoever reaches the pages sees them
}

// Log says what is written to standard error.
type Log struct {
	Level  string `mapstructure:"level"`  // debug, info, warn or error
	Format string `mapstructure:"format"` // text or json
}

// Metrics says where a process that works shows its numbers to Prometheus.
type Metrics struct {
	Listen string `mapstructure:"listen"` // host:port of GET /metrics; empty: nowhere
}

// Tracing says where spans of workflows, activities and store calls go.
type Tracing struct {
	Endpoint string  `mapstructure:"endpoint"` // of an OTLP collector (gRPC): http://host:4317, or https://…; empty: nowhere
	Ratio    float64 `mapstructure:"ratio"`    // share of runs that are traced
}

// Tracking says which experiment trackers a learner keeps up to date while it trains; empty: none.
type Tracking struct {
	TensorBoard string `mapstructure:"tensorboard"` // directory of event files
	MLflow      MLflow `mapstructure:"mlflow"`
}

// Rewards says how HTTP endpoints of rewards are reached.
type Rewards struct {
	CAFile     string `mapstructure:"ca_file"`     // PEM; empty means the system's authorities
	SecretsDir string `mapstructure:"secrets_dir"` // holds the files that runs may name as reward.secret; empty: none
}

// MLflow says how an MLflow tracking server is reached.
type MLflow struct {
	URL        string `mapstructure:"url"` // http://host:5000, or https://…
	Experiment string `mapstructure:"experiment"`
	Username   string `mapstructure:"username"`
	Password   Secret `mapstructure:"password"`
	Token      Secret `mapstructure:"token"` // a bearer token, in place of name and password
}

// Secret is text that prints as **redacted** in every format; Reveal is the only way to it.
type Secret string

const redacted = "**redacted**"

// Reveal returns the secret itself, to be handed to the client that needs it.
func (s Secret) Reveal() string { return string(s) }

// Format writes the redaction for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// String returns the redaction, or nothing when there is no secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// MarshalText makes JSON, YAML and structured logs redact.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
