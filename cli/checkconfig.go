package cli

import (
	"github.com/spf13/cobra"

	"tokend/config"
)

func newCheckConfig() *cobra.Command {
	return &cobra.Command{
		Use:   "check-config FILE",
		Short: "Say whether a configuration file is good",
		Long: `Say whether a configuration file is good: what it says is known and allowed.
The key and token files that it names are not read.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := config.Load(args[0])
			if err == nil {
				err = c.Validate()
			}
			if err != nil {
				return err
			}
			return printLine(cmd, args[0]+": ok")
		},
	}
}
