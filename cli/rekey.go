package cli

import (
	"github.com/spf13/cobra"
)

func newRekey() *cobra.Command {
	var server clientFlags
	cmd := &cobra.Command{
		Use:   "rekey",
		Short: "Have a running server take up a new master key",
		Long: `Have a running server take up the master key that is the first line of its key file
now. The line that was the first before must follow it; once this is done it can go,
unless a backup is sealed with it. Tokens are verified all the while.

A key that systemd hands over as a credential is fixed while the service runs: a
restart takes up a new one.`,
		Example: "  (umask 077; (tokend keygen master; cat master.key) > master.new)\n  mv master.new master.key && tokend rekey && sed -i 1q master.key",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := server.connect()
			if err != nil {
				return err
			}
			changed, err := c.Rekey(cmd.Context())
			if err != nil {
				return c.explain(err)
			}
			if changed {
				say(cmd.ErrOrStderr(), "the first line of the key file seals the store now; the others are needed for older backups alone\n")
			} else {
				say(cmd.ErrOrStderr(), "the first line of the key file sealed the store already; nothing was changed\n")
			}
			return nil
		},
	}
	server.register(cmd.Flags())
	return cmd
}
