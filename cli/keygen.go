package cli

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"tokend/cli/daemon"
	"tokend/kv"
)

func newKeygen() *cobra.Command {
	keygen := &cobra.Command{
		Use:   "keygen",
		Short: "Make an admin token or a master key",
		Args:  args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return &usageError{errors.New("keygen needs to know what to make: admin or master")}
		},
	}
	keygen.AddCommand(
		&cobra.Command{
			Use:   "admin",
			Short: "Print a new admin token and, on a second line, its SHA-256",
			Args:  args(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error {
				token := kv.NewValue(daemon.AdminPrefix).Reveal()
				say(cmd.ErrOrStderr(), "only the administrator needs the first line; the second goes into\n"+
					"the configuration as token_sha256 of an [[admin]]\n")
				return printLine(cmd, fmt.Sprintf("%s\n%x", token, sha256.Sum256([]byte(token))))
			},
		},
		&cobra.Command{
			Use:   "master",
			Short: "Print a new master key, as a line for the key file",
			Args:  args(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error {
				return printLine(cmd, kv.NewMasterKey().Encode())
			},
		})
	return keygen
}
