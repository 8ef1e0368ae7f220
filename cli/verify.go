package cli

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"tokend/kv"
)

func (t *tokenCommands) newVerify() *cobra.Command {
	var need string
	cmd := &cobra.Command{
		Use:     "verify",
		Short:   "Read a value from standard input and say what it is good for",
		Long:    "Read a value from standard input and print whose it is and what it may do. The exit\ncode is 1 where it is not good. No admin token is needed; it counts as a use.",
		Example: "  tokend token verify --need write < backup.token",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if need != "read" && need != "write" {
				return &usageError{fmt.Errorf("--need must be read or write, not %q", need)}
			}
			c, err := t.server.connectAsNobody()
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

func (t *tokenCommands) verify(cmd *cobra.Command, c *client, need string) error {
	text, err := readSecret(cmd, "value: ")
	if err != nil {
		return err
	}
	value, err := kv.ParseValue(text)
	if err != nil {
		return err
	}
	response, err := c.sendAs(cmd.Context(), text, jsonType, http.MethodGet, verifyPath, url.Values{"need": {need}}, nil)
	if refused, ok := errors.AsType[*problem](err); ok && refused.Code == "invalid_token" && value.HasTypo() {
		return &hintedError{err, "its checksum is wrong: it was mistyped or cut short"}
	}
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := c.readAnswer(cmd.Context(), response)
	if err != nil {
		return err
	}
	data, err := decodeData[token](c, raw)
	if err != nil {
		return err
	}
	if response.Header.Get("X-Token-Rotated") == "true" {
		say(cmd.ErrOrStderr(), "this is the value before the last rotation; it will end soon\n")
	}
	if t.json {
		_, err = cmd.OutOrStdout().Write(raw)
		return err
	}
	return printLine(cmd, fmt.Sprintf("%s: %s", data[0].Name, data[0].rights()))
}
