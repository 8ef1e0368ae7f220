package cli

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"tokend/metrics"
)

// version is set when a release is built:
// go build -ldflags "-X tokend/cli.version=1.2.3".
var version string

func build() metrics.Build {
	b := metrics.Build{Version: cmp.Or(version, "devel"), Revision: "unknown", Go: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				b.Revision = setting.Value
			}
		}
	}
	return b
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := build()
			return printLine(cmd, fmt.Sprintf("tokend %s (revision %s, %s)", b.Version, b.Revision, b.Go))
		},
	}
}
