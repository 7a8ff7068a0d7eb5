package cli

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func (a *app) newVersion() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print what this binary was built from",
		Example: "  multiattempt version",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			services := "no embedded services"
			if startStack != nil {
				services = "with embedded services"
			}
			a.printf("multiattempt %s %s/%s %s, %s\n", revision(), runtime.GOOS, runtime.GOARCH, runtime.Version(), services)
			return nil
		},
	}
}

// revision is the commit the binary was built from, as far as the build recorded one.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	commit, changed := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "+changes"
		}
	}
	if commit == "" {
		return info.Main.Version
	}
	return commit[:min(12, len(commit))] + changed
}
