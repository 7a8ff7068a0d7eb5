package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"
	"go.temporal.io/api/operatorservice/v1"

	"multiattempt/config"
	"multiattempt/internal/engine"
	"multiattempt/internal/telemetry"
	"multiattempt/presets"
)

// finding is one line of the doctor's report.
type finding struct {
	what string
	says string
	err  error
}

func (a *app) newDoctor() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Check backend, directories and services, and say what to do about what is wrong",
		Long: `Checks what a run needs from this machine. A backend that cannot be opened, or a service that is configured but does not
answer, is a failure; services that are merely not configured are not.`,
		Example: "  multiattempt doctor",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			findings := []finding{
				{what: "machine", says: fmt.Sprintf("%s/%s, %d CPUs, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())},
				checkWritable("cache directory", a.cfg.CacheDir),
				{what: "data directory", says: a.cfg.DataDir},
				{what: "built-in models", says: fmt.Sprint(presets.Models())},
			}
			findings = append(findings, checkBackend(cmd.Context(), a.cfg.Backend.Choice)...)
			findings = append(findings, a.checkServices(cmd.Context())...)
			var failed []error
			for _, f := range findings {
				if f.err != nil {
					a.printf("!!  %-16s %v\n", f.what, f.err)
					failed = append(failed, fmt.Errorf("%s: %w", f.what, f.err))
					continue
				}
				a.printf("ok  %-16s %s\n", f.what, f.says)
			}
			if len(failed) > 0 {
				return fmt.Errorf("%d of %d checks failed: %w", len(failed), len(findings), errors.Join(failed...))
			}
			return nil
		},
	}
}

// checkBackend says what computes, why, how much memory its device has, and how to get a faster one.
func checkBackend(ctx context.Context, choice string) []finding {
	b, err := engine.Open(choice)
	if err != nil {
		return []finding{{what: "backend", err: err}}
	}
	defer b.Close()
	why, faster := b.Advise(choice)
	if faster == "" {
		faster = "nothing faster is known for this machine"
	}
	findings := []finding{{what: "backend", says: b.Describe()}, {what: "backend, why", says: why}, {what: "backend, faster", says: faster}}
	if n := b.Capacity(ctx); n > 0 {
		findings = append(findings, finding{what: "device memory", says: fmt.Sprintf("%.1f GB", float64(n)/1e9)})
	}
	return findings
}

// checkWritable makes the directory if it is missing and writes a file in it.
func checkWritable(what, dir string) finding {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return finding{what: what, err: err}
	}
	probe, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return finding{what: what, err: err}
	}
	return finding{what: what, says: filepath.Clean(dir), err: errors.Join(probe.Close(), os.Remove(probe.Name()))}
}

// checkServices reaches Temporal and the store, where there are any to reach.
func (a *app) checkServices(ctx context.Context) []finding {
	found, err := readEndpoints(a.cfg.StateDir)
	if err != nil {
		return []finding{{what: "services", err: err}}
	}
	if cfg := found.into(a.cfg); cfg.Temporal.Address == "" && cfg.Store.Endpoint+cfg.Store.Dir == "" {
		says := "none run from " + a.cfg.StateDir + "; `multiattempt up` or train start them"
		if startStack == nil {
			says = "none configured, and none inside this build: set temporal.address and store.endpoint"
		}
		return []finding{{what: "services", says: says}}
	}
	s, err := a.connect(ctx)
	if err != nil {
		return []finding{{what: "services", err: err}}
	}
	defer s.Close()
	return []finding{
		{what: "Temporal", says: s.cfg.Temporal.Address + ", namespace " + s.cfg.Temporal.Namespace, err: s.checkAttributes(ctx)},
		{what: "store", says: storeAt(s.cfg.Store)},
	}
}

// checkAttributes reports search attributes that the namespace lacks.
func (s *services) checkAttributes(ctx context.Context) error {
	list, err := s.temporal.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: s.cfg.Temporal.Namespace})
	if err != nil {
		return err
	}
	for _, key := range telemetry.SearchAttributes() {
		if got, ok := list.CustomAttributes[key.GetName()]; !ok || got != key.GetValueType() {
			return fmt.Errorf("%w: namespace %s lacks search attribute %s; `temporal operator search-attribute create --name %s --type %s` adds it",
				errServices, s.cfg.Temporal.Namespace, key.GetName(), key.GetName(), key.GetValueType())
		}
	}
	return nil
}

// storeAt says where artefacts are kept.
func storeAt(c config.Store) string {
	if c.Dir != "" {
		return c.Dir
	}
	return c.Endpoint + ", bucket " + c.Bucket
}
