// Package deploy_test holds what lies in this folder to what the program does.
package deploy_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"multiattempt/activities"
	"multiattempt/config"
	"multiattempt/internal/reward"
	"multiattempt/internal/rollout"
	"multiattempt/internal/telemetry"
	"multiattempt/internal/telemetry/metrics"
	"multiattempt/internal/track"
)

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(b)
}

// exported returns the name of every metric of ours, histograms with their parts.
func exported(t *testing.T) map[string]bool {
	t.Helper()
	m, err := metrics.New(map[string]string{"worker": "w"})
	require.NoError(t, err)
	m.Stage("Update", time.Second, 2, "other")
	m.Rollout("r", 1, 1, time.Second)
	m.Store("put", 1, time.Second, true)
	m.TrackerFailed("t")
	scalars, err := track.Scalars(activities.StepRecord{Reward: reward.Summary{
		SolvedAt: []float64{1}, Outcomes: map[rollout.Outcome]float64{rollout.Correct: 1},
	}})
	require.NoError(t, err)
	it := metrics.Iteration{Run: "r"}
	for _, s := range scalars {
		it.Facts = append(it.Facts, metrics.Fact{Name: s.Name, Part: s.Part, Value: s.Value})
	}
	m.Iteration(it)
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	names := map[string]bool{}
	for _, name := range regexp.MustCompile(`(?m)^multiattempt_\w+`).FindAllString(answer.Body.String(), -1) {
		names[name] = true
	}
	return names
}

// sdk are the metrics of Temporal's SDK that are used, which its documentation lists.
var sdk = map[string]bool{
	"temporal_activity_schedule_to_start_latency_seconds_bucket": true,
	"temporal_request_failure_total":                             true,
	"temporal_worker_task_slots_used":                            true,
}

func TestDashboardAndAlertsUseMetricsThatExist(t *testing.T) {
	names := exported(t)
	require.True(t, json.Valid([]byte(read(t, "grafana/multiattempt.json"))))
	for _, file := range []string{"grafana/multiattempt.json", "prometheus/alerts.yml", "prometheus/alerts_test.yml"} {
		used := regexp.MustCompile(`\b(multiattempt|temporal)_[a-z0-9_]+`).FindAllString(read(t, file), -1)
		require.NotEmpty(t, used, file)
		for _, name := range used {
			require.True(t, names[name] || sdk[name], "%s uses %s, which no worker exports", file, name)
		}
	}
}

func TestAlertsNameSectionsOfTheRunbook(t *testing.T) {
	runbook := read(t, "../docs/runbook.md")
	for _, m := range regexp.MustCompile(`docs/runbook\.md, ([^"]+)"`).FindAllStringSubmatch(read(t, "prometheus/alerts.yml"), -1) {
		require.Contains(t, runbook, "\n## "+m[1]+"\n")
	}
}

func TestSetUpRegistersTheSearchAttributes(t *testing.T) {
	script := read(t, "compose/namespace.sh")
	for _, a := range telemetry.SearchAttributes() {
		kind := map[string]string{"Keyword": "Keyword", "Int": "Int", "Double": "Double"}[a.GetValueType().String()]
		require.Contains(t, script, "\nregister "+a.GetName()+" "+kind+"\n")
	}
	require.Equal(t, len(telemetry.SearchAttributes()), strings.Count(script, "\nregister "), "and no other")
}

// settings loads variables as a worker would and fails at misspelt ones.
func settings(t *testing.T, variables map[string]string) config.Config {
	t.Helper()
	for name, value := range variables {
		if strings.HasPrefix(name, "MULTIATTEMPT_") {
			t.Setenv(name, value)
		}
	}
	c, err := config.Load(nil)
	require.NoError(t, err)
	return c
}

func TestSystemdWaitsForTheDrain(t *testing.T) {
	for _, unit := range []string{"systemd/multiattempt-worker.service", "systemd/multiattempt-up.service"} {
		text := read(t, unit)
		variables := map[string]string{}
		for _, m := range regexp.MustCompile(`(MULTIATTEMPT_\w+)=(\S+)`).FindAllStringSubmatch(text, -1) {
			variables[m[1]] = m[2]
		}
		stop := regexp.MustCompile(`TimeoutStopSec=(\d+)`).FindStringSubmatch(text)
		require.NotNil(t, stop, unit)
		grace, err := time.ParseDuration(stop[1] + "s")
		require.NoError(t, err)
		require.Greater(t, grace, settings(t, variables).Worker.StopTimeout, unit)
	}
	variables := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^#?(MULTIATTEMPT_\w+)=(.+)$`).FindAllStringSubmatch(read(t, "systemd/worker.env.example"), -1) {
		variables[m[1]] = m[2]
	}
	settings(t, variables)
}

func TestKubernetesWaitsForTheDrain(t *testing.T) {
	type container struct {
		Args           []string
		Env            []struct{ Name, Value string }
		ReadinessProbe struct {
			Exec struct{ Command []string }
		}
	}
	type object struct {
		Kind string
		Data map[string]string
		Spec struct {
			Template struct {
				Spec struct {
					TerminationGracePeriodSeconds int
					Containers                    []container
				}
			}
		}
	}
	var shared map[string]string
	pods := 0
	for document := range strings.SplitSeq(read(t, "kubernetes/worker.yaml"), "\n---\n") {
		var o object
		require.NoError(t, yaml.Unmarshal([]byte(document), &o))
		if o.Kind == "ConfigMap" {
			shared = o.Data
		}
		for _, c := range o.Spec.Template.Spec.Containers {
			pods++
			variables := map[string]string{}
			for name, value := range shared {
				variables[name] = value
			}
			for _, e := range c.Env {
				variables[e.Name] = e.Value
				if e.Value == "" {
					variables[e.Name] = "from-a-secret"
				}
			}
			cfg := settings(t, variables)
			grace := time.Duration(o.Spec.Template.Spec.TerminationGracePeriodSeconds) * time.Second
			require.Greater(t, grace, cfg.Worker.StopTimeout, o.Kind)
			require.Equal(t, []string{"multiattempt", "health"}, c.ReadinessProbe.Exec.Command)
		}
	}
	require.Equal(t, 2, pods)
}

func TestScriptsAreExecutable(t *testing.T) {
	for _, file := range []string{"compose/certificates.sh", "../tools/debian/postgres.sh", "../tools/debian/promtool.sh"} {
		info, err := os.Stat(filepath.FromSlash(file))
		require.NoError(t, err)
		require.NotZero(t, info.Mode()&0o111, file)
	}
}
