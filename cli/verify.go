package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

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

// readSecret reads a line from standard input, from a terminal without showing
// it.
func readSecret(cmd *cobra.Command, prompt string) (string, error) {
	in := cmd.InOrStdin()
	if isTerminal(in) {
		say(cmd.ErrOrStderr(), "%s", prompt)
		defer say(cmd.ErrOrStderr(), "\n")
		return readUnseen(int(in.(*os.File).Fd()))
	}
	line, err := bufio.NewReader(io.LimitReader(in, 64<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// readUnseen reads a line from a terminal that shows again what is typed whatever
// ends the reading.
func readUnseen(terminal int) (string, error) {
	before, err := term.GetState(terminal)
	if err != nil {
		return "", err
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, ends...)
	defer signal.Stop(interrupted)
	type outcome struct {
		secret []byte
		err    error
	}
	read := make(chan outcome, 1)
	go func() {
		secret, err := term.ReadPassword(terminal)
		read <- outcome{secret, err}
	}()
	select {
	case <-interrupted:
		return "", errors.Join(errInterrupted, term.Restore(terminal, before))
	case o := <-read:
		return string(o.secret), o.err
	}
}

var errInterrupted = errors.New("interrupted")

// ends are the signals that end a command.
var ends = []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT}
