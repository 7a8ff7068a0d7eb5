package engine_test

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/engine"
	"multiattempt/internal/nn"
)

// opened are the backends that tests share, so that each program is compiled once. XLA takes seconds over a gradient: tests
// there keep to micro-batches of two rows, and to a few shapes.
var opened sync.Map

// ownMemory names pure Go behaving like a device with its own memory.
const ownMemory = "own memory"

// choices are the devices that every test runs on: pure Go, XLA on the CPU, and the GPU where there is one with a plugin for it;
// the GPU alone where somebody names that plugin (tools/cuda/check.sh).
func choices() []string {
	if os.Getenv(engine.CUDAPluginVariable) != "" {
		return []string{engine.XLACUDA}
	}
	all := []string{engine.PureGo, engine.XLA}
	if engine.HasCUDA() {
		all = append(all, engine.XLACUDA)
	}
	return all
}

// compiles says whether each program costs seconds on a backend.
func compiles(backend string) bool { return backend == engine.XLA || backend == engine.XLACUDA }

// open returns the shared backend of a choice or ownMemory; nil where there is no XLA, except in continuous integration.
func open(t *testing.T, choice string) *engine.Backend {
	t.Helper()
	if b, ok := opened.Load(choice); ok {
		return b.(*engine.Backend)
	}
	b := openNew(t, choice)
	if b != nil {
		opened.Store(choice, b)
	}
	return b
}

// openNew is open for a backend of the caller's own.
func openNew(t *testing.T, choice string) *engine.Backend {
	t.Helper()
	if choice == ownMemory {
		b := openNew(t, engine.PureGo)
		engine.Unshare(b)
		return b
	}
	b, err := engine.Open(choice)
	if err != nil && choice == engine.XLA && os.Getenv("CI") == "" {
		t.Logf("not run on XLA: %v", err)
		return nil
	}
	require.NoError(t, err)
	return b
}

// onEach runs a test on every device.
func onEach(t *testing.T, test func(t *testing.T, b *engine.Backend)) {
	for _, choice := range choices() {
		if b := open(t, choice); b != nil {
			t.Run(choice, func(t *testing.T) { test(t, b) })
		}
	}
}

// backends are the shared ones of all devices by name, with one that behaves like a device with its own memory.
func backends(t *testing.T) map[string]*engine.Backend {
	t.Helper()
	all := map[string]*engine.Backend{}
	for _, name := range append(choices(), ownMemory) {
		if b := open(t, name); b != nil {
			all[name] = b
		}
	}
	return all
}

// networks are those whose dialogues are tested on a backend: one where each costs many seconds of compilation.
func networks(backend string) []nn.Config {
	if compiles(backend) {
		return []nn.Config{tinyLlama}
	}
	return []nn.Config{tinyLlama, tinyQwen}
}

// TestChecksOfAGPUNameTests: every test that tools/cuda/check.sh asks for, in this package and in internal/nn, exists.
func TestChecksOfAGPUNameTests(t *testing.T) {
	script, err := os.ReadFile("../../tools/cuda/check.sh")
	require.NoError(t, err)
	asked := regexp.MustCompile(`/(\w+)\.test" .*-test\.run '([^']+)'`).FindAllStringSubmatch(string(script), -1)
	require.Len(t, asked, 3)
	for _, a := range asked {
		files, err := os.ReadDir("../" + a[1])
		require.NoError(t, err)
		var names []string
		for _, f := range files {
			if strings.HasSuffix(f.Name(), "_test.go") {
				text, err := os.ReadFile("../" + a[1] + "/" + f.Name())
				require.NoError(t, err)
				for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)`).FindAllStringSubmatch(string(text), -1) {
					names = append(names, m[1])
				}
			}
		}
		for word := range strings.SplitSeq(a[2], "|") {
			pattern := regexp.MustCompile(word)
			require.True(t, slices.ContainsFunc(names, pattern.MatchString), "no test of internal/%s is called %s", a[1], word)
		}
	}
	require.NoError(t, exec.Command("bash", "-n", "../../tools/cuda/check.sh").Run())
}
