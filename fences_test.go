// Package multiattempt_test holds the architecture: which package may import which.
package multiattempt_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "multiattempt/"

// stages in the order of data; each may import those to its left only.
var stages = []string{"dataset", "rollout", "reward", "experience", "update", "checkpoint"}

// confined says which of our packages (path prefixes) may import a dependency (a path prefix) directly.
var confined = []struct {
	dependency, why string
	allowed         []string
}{
	{"github.com/gomlx/gomlx/core/graph", "graphs", []string{"internal/nn", "internal/engine"}},
	{"github.com/gomlx/gomlx/ml", "graphs", []string{"internal/nn", "internal/engine"}},
	{"github.com/gomlx/gomlx/backends", "backends", []string{"internal/engine"}},
	{"github.com/gomlx/go-xla", "backends", []string{"internal/engine"}},
	{"github.com/minio/minio-go", "S3", []string{"internal/blob/s3"}},
	{"github.com/spf13/viper", "process settings", []string{"config"}},
	{"github.com/spf13/cobra", "the command line", []string{"internal/cli", "cmd"}},
	{"go.opentelemetry.io", "observation", []string{"internal/telemetry", "internal/blob/watch", "worker"}},
	{"github.com/prometheus", "observation", []string{"internal/telemetry"}},
	{"go.temporal.io", "Temporal", []string{"workflows", "activities", "worker", "cmd", "internal/cli", "internal/telemetry", "bench/durability"}},
}

// unreachable says what a package must not link, however indirectly.
var unreachable = []struct{ pkg, dependency, why string }{
	{"internal/spec", module, "a specification is a leaf"},
	{"internal/seed", module, "draws are a leaf"},
	{"internal/verify", module, "grading stands alone"},
	{"internal/blob", module, "references are a leaf"},
	{"workflows", "github.com/gomlx/gomlx/core/graph", "workflow code is light and deterministic"},
	{"workflows", "github.com/gomlx/go-xla", "workflow code is light and deterministic"},
	{"workflows", "github.com/minio", "workflow code is light and deterministic"},
	{"workflows", "github.com/spf13/viper", "workflow code is light and deterministic"},
	{"workflows", module + "config", "a run depends on its specification only"},
	{"internal/rollout", "go.temporal.io", "stages know nothing of Temporal"},
	{"internal/update", "go.temporal.io", "stages know nothing of Temporal"},
}

type listed struct {
	ImportPath string
	Imports    []string // direct, tests left out
	Deps       []string // all
}

func TestFences(t *testing.T) {
	packages := listPackages(t)
	for _, p := range packages {
		name := strings.TrimPrefix(p.ImportPath, module)
		for _, c := range confined {
			if within(name, c.allowed) {
				continue
			}
			for _, i := range p.Imports {
				require.False(t, under(i, c.dependency), "%s imports %s: %s belongs to %s", name, i, c.why, strings.Join(c.allowed, ", "))
			}
		}
		at := slices.Index(stages, strings.TrimPrefix(name, "internal/"))
		for _, d := range p.Deps {
			to := slices.Index(stages, strings.TrimPrefix(d, module+"internal/"))
			require.False(t, at >= 0 && to > at, "%s imports %s: stages import leftwards only, in the order %s", name, d, strings.Join(stages, " → "))
		}
	}
	for _, u := range unreachable {
		i := slices.IndexFunc(packages, func(p listed) bool { return p.ImportPath == module+u.pkg })
		require.GreaterOrEqual(t, i, 0, "package %s", u.pkg)
		for _, d := range packages[i].Deps {
			own := under(d, module+u.pkg) // its own sub-packages
			require.False(t, under(d, u.dependency) && !own, "%s links %s: %s", u.pkg, d, u.why)
		}
	}
}

// under reports whether path is prefix or lies below it.
func under(path, prefix string) bool {
	prefix = strings.TrimSuffix(prefix, "/")
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

func within(name string, allowed []string) bool {
	return slices.ContainsFunc(allowed, func(a string) bool { return under(name, a) })
}

func listPackages(t *testing.T) []listed {
	t.Helper()
	dependOnAllSources(t)
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Deps", "./...")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.NoError(t, err, errs.String())
	var packages []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		require.NoError(t, err)
		packages = append(packages, p)
	}
}

// dependOnAllSources reads every directory: so Go's test cache knows that a changed source makes this test run again.
func dependOnAllSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != "." {
			return filepath.SkipDir
		}
		return err
	})
	require.NoError(t, err)
}
