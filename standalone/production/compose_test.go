// Package production_test holds docker-compose.yml to what production on one host must be: by reading it and, with the tag
// production, by running its services from their packages.
package production_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"
)

// secrets fill .env as its example says.
var secrets = []string{"POSTGRES_PASSWORD=pg-secret-of-the-test", "S3_ACCESS_KEY=access-of-the-test", "S3_SECRET_KEY=s3-secret-of-the-test"}

const root = "../.."

func load(t *testing.T, env []string, overrides ...string) (*types.Project, error) {
	t.Helper()
	files := []string{filepath.Join(root, "docker-compose.yml")}
	for _, o := range overrides {
		files = append(files, filepath.Join(root, o))
	}
	options, err := cli.NewProjectOptions(files, cli.WithWorkingDirectory(root), cli.WithEnv(env), cli.WithDefaultProfiles("gpu"))
	require.NoError(t, err)
	return options.LoadProject(t.Context())
}

func project(t *testing.T, env []string, overrides ...string) *types.Project {
	t.Helper()
	p, err := load(t, append(append([]string{}, secrets...), env...), overrides...)
	require.NoError(t, err)
	return p
}

func TestEverySecretMustBeGiven(t *testing.T) {
	for i, s := range secrets {
		rest := append(append([]string{}, secrets[:i]...), secrets[i+1:]...)
		name, _, _ := strings.Cut(s, "=")
		_, err := load(t, rest)
		require.ErrorContains(t, err, name)
		_, err = load(t, append(rest, name+"="))
		require.ErrorContains(t, err, name, "an empty one is none")
	}
}

// oneShot services end when their work is done.
var oneShot = map[string]bool{"schema": true, "namespace": true, "bucket": true}

func TestServicesAreFitForProduction(t *testing.T) {
	pinned := regexp.MustCompile(`^[a-z0-9./-]+:[a-z0-9][A-Za-z0-9._-]*(@sha256:[0-9a-f]{64})?$`)
	for _, override := range [][]string{nil, {"deploy/compose/tls.yml"}} {
		p := project(t, nil, override...)
		require.Len(t, p.Services, 9)
		for name, s := range p.Services {
			require.Regexp(t, pinned, s.Image, name)
			require.NotContains(t, s.Image, "latest", name)
			for _, port := range s.Ports {
				require.Equal(t, "127.0.0.1", port.HostIP, "%s publishes beyond loopback", name)
			}
			require.Empty(t, s.NetworkMode, name)
			require.False(t, s.Privileged, name)
			if oneShot[name] {
				require.Empty(t, s.Restart, name)
				continue
			}
			require.Equal(t, "unless-stopped", s.Restart, name)
			require.NotNil(t, s.HealthCheck, name)
			require.NotEmpty(t, s.HealthCheck.Test, name)
			for on, d := range s.DependsOn {
				want := types.ServiceConditionHealthy
				if oneShot[on] {
					want = types.ServiceConditionCompletedSuccessfully
				}
				require.Equal(t, want, d.Condition, "%s on %s", name, on)
			}
		}
		require.True(t, p.Networks["database"].Internal, "the database is for Temporal only")
		for name, s := range p.Services {
			_, reaches := s.Networks["database"]
			require.Equal(t, name == "postgres" || name == "schema" || name == "temporal", reaches, name)
		}
	}
}

func TestWorkersDrainAndProveThatTheyPoll(t *testing.T) {
	p := project(t, nil)
	for _, name := range []string{"worker", "worker-gpu"} {
		s := p.Services[name]
		stop, err := time.ParseDuration(*s.Environment["MULTIATTEMPT_WORKER_STOP_TIMEOUT"])
		require.NoError(t, err)
		require.Greater(t, time.Duration(*s.StopGracePeriod), stop, name)
		require.Equal(t, []string{"CMD", "multiattempt", "health"}, []string(s.HealthCheck.Test), name)
	}
	gpu := p.Services["worker-gpu"]
	require.Equal(t, []string{"gpu"}, gpu.Profiles)
	require.Equal(t, "xla:cuda", *gpu.Environment["MULTIATTEMPT_BACKEND_CHOICE"])
	require.Equal(t, "cuda", gpu.Build.Target)
	require.Contains(t, gpu.Deploy.Resources.Reservations.Devices[0].Capabilities, "gpu")
	require.NotEqual(t, p.Services["worker"].Volumes[0].Source, gpu.Volumes[0].Source, "two workers, two caches")
}

func TestTLSChangesEveryAddress(t *testing.T) {
	p := project(t, nil, "deploy/compose/tls.yml")
	w := p.Services["worker"].Environment
	require.Equal(t, "true", *w["MULTIATTEMPT_STORE_TLS"])
	require.Equal(t, "/certs/ca.pem", *w["MULTIATTEMPT_TEMPORAL_TLS_CA_FILE"])
	require.Equal(t, "temporal:7233", *w["MULTIATTEMPT_TEMPORAL_ADDRESS"], "what was set before stays")
	require.Equal(t, "https://objects:9000", *p.Services["bucket"].Environment["S3_ENDPOINT"])
	require.Equal(t, "true", *p.Services["temporal"].Environment["TEMPORAL_TLS_REQUIRE_CLIENT_AUTH"])
}
