package cli

import (
	"context"
	"errors"
	"io"
	"os/signal"

	"filippo.io/age"
	"github.com/spf13/cobra"
)

func newExport() *cobra.Command {
	var (
		server         clientFlags
		values         bool
		passphraseFile string
	)
	cmd := &cobra.Command{
		Use:   "export FILE",
		Short: "Write all tokens to a file",
		Long: `Write all tokens of a running server to a file, one JSON object on each line; with - to
standard output. Values are left out. With --values they are in it, and all of it is
encrypted under a passphrase (age, filippo.io/age). tokend import reads both.`,
		Example: "  tokend export tokens.jsonl\n  tokend export --values tokens.age",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case passphraseFile != "" && !values:
				return &usageError{errors.New("--passphrase-file is for --values")}
			case values && args[0] == "-" && isTerminal(cmd.OutOrStdout()):
				return &usageError{errors.New("an encrypted export is not for a terminal; give a file")}
			}
			c, err := server.connect()
			if err != nil {
				return err
			}
			passphrase := ""
			if values {
				if passphrase, err = newPassphrase(cmd, passphraseFile); err != nil {
					return err
				}
			}
			return exportTo(cmd, c, args[0], passphrase)
		},
	}
	server.register(cmd.Flags())
	cmd.Flags().BoolVar(&values, "values", false, "with their values, under a passphrase")
	cmd.Flags().StringVar(&passphraseFile, "passphrase-file", "", "`file` with the passphrase, instead of asking")
	return cmd
}

// exportTo writes a file whole or not at all.
func exportTo(cmd *cobra.Command, c *server, path, passphrase string) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), interrupts...)
	defer stop()
	if path == "-" {
		_, err := c.export(ctx, cmd.OutOrStdout(), passphrase)
		return err
	}
	exported := 0
	path, err := writeFile(path, func(to io.Writer) (err error) {
		exported, err = c.export(ctx, to, passphrase)
		return err
	})
	if err != nil {
		return err
	}
	say(cmd.ErrOrStderr(), "exported %s to %s\n", tokens(exported), path)
	if passphrase == "" {
		say(cmd.ErrOrStderr(), "their values are not in it; --values exports them under a passphrase\n")
	}
	return nil
}

// export copies an export, encrypted under a passphrase if there is one.
func (s *server) export(ctx context.Context, to io.Writer, passphrase string) (tokens int, err error) {
	end := func() error { return nil }
	if passphrase != "" {
		recipient, err := age.NewScryptRecipient(passphrase)
		if err != nil {
			return 0, err
		}
		encrypted, err := age.Encrypt(to, recipient)
		if err != nil {
			return 0, err
		}
		to, end = encrypted, encrypted.Close
	}
	if tokens, err = s.Export(ctx, to, passphrase != ""); err != nil {
		return 0, s.explain(err)
	}
	return tokens, end()
}
