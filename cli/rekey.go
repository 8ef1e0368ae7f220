package cli

import (
	"github.com/spf13/cobra"
)

func newRekey() *cobra.Command {
	var server clientFlags
	cmd := &cobra.Command{
		Use:   "rekey",
		Short: "Have a running server take up a new master key",
		Long: `Have a running server seal its store with the master key that is now the first line of
its key file. The old line must follow it. Afterwards the old line can go, unless a
backup needs it. Tokens are verified all the while.

A key that is a credential of systemd is fixed while the service runs: restart it to take
up a new one.`,
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
				say(cmd.ErrOrStderr(), "the first line of the key file seals the store now; only older backups need the other lines\n")
			} else {
				say(cmd.ErrOrStderr(), "the first line of the key file seals the store already; nothing was changed\n")
			}
			return nil
		},
	}
	server.register(cmd.Flags())
	return cmd
}
