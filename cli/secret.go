package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"tokend/config"
)

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
	signal.Notify(interrupted, interrupts...)
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

// interrupts are the signals that end a command.
var interrupts = []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT}

// newPassphrase asks for a passphrase twice, or reads it from a file.
func newPassphrase(cmd *cobra.Command, file string) (string, error) {
	passphrase, err := readPassphrase(cmd, file)
	if err == nil && file == "" {
		var again string
		if again, err = readSecret(cmd, "once more: "); err == nil && again != passphrase {
			err = errors.New("the passphrases differ")
		}
	}
	return passphrase, err
}

// readPassphrase asks for a passphrase, or reads it from a file.
func readPassphrase(cmd *cobra.Command, file string) (passphrase string, err error) {
	switch {
	case file != "":
		content, err := config.ReadSecret(file)
		if err != nil {
			return "", fmt.Errorf("passphrase: %w", err)
		}
		line, _, _ := bytes.Cut(content, []byte{'\n'})
		passphrase = string(bytes.TrimSuffix(line, []byte{'\r'}))
	case isTerminal(cmd.InOrStdin()):
		if passphrase, err = readSecret(cmd, "passphrase: "); err != nil {
			return "", err
		}
	default:
		return "", &usageError{errors.New("there is no terminal to ask for the passphrase; give --passphrase-file")}
	}
	if passphrase == "" {
		return "", errors.New("the passphrase is empty")
	}
	return passphrase, nil
}
