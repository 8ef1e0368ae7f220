package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"tokend/api/wire"
	"tokend/client"
	"tokend/internal/hint"
	"tokend/kv"
)

func (t *tokenCommands) newVerify() *cobra.Command {
	var need string
	cmd := &cobra.Command{
		Use:     "verify",
		Short:   "Read a value from standard input and say what it is good for",
		Long:    "Read a value from standard input and print its token's name and rights. The exit code\nis 1 if it is not good. No admin token is needed. It counts as a use of the token.",
		Example: "  tokend token verify --need write < backup.token",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if need != "read" && need != "write" {
				return &usageError{fmt.Errorf("--need must be read or write, not %q", need)}
			}
			c, err := t.server.connectAnonymous()
			if err != nil {
				return err
			}
			return t.verify(cmd, c, need)
		},
	}
	cmd.Flags().StringVar(&need, "need", "read", "what it must be good for: `read` or write")
	_ = cmd.RegisterFlagCompletionFunc("need", cobra.FixedCompletions([]string{"read", "write"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (t *tokenCommands) verify(cmd *cobra.Command, c *server, need string) error {
	text, err := readSecret(cmd, "value: ")
	if err != nil {
		return err
	}
	value, err := kv.ParseValue(text)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	if t.json {
		ctx = client.CopyAnswer(ctx, cmd.OutOrStdout())
	}
	verified, err := c.Verify(ctx, text, need)
	if client.CodeOf(err) == wire.CodeInvalidToken && value.HasTypo() {
		return hint.New(err, "its checksum is wrong: it was mistyped or cut short")
	}
	if err != nil {
		return c.explain(err)
	}
	if verified.Rotated {
		say(cmd.ErrOrStderr(), "this is the value before the last rotation; it will end soon\n")
	}
	if t.json {
		return nil
	}
	return printLine(cmd, fmt.Sprintf("%s: %s", verified.Name, rights(verified.Write)))
}
