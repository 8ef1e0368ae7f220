package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"filippo.io/age"
	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"tokend/config"
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
		Long: `Write all tokens of a running server to a file, one JSON object on each line, or
with - to standard output. Values are left out, or with --values encrypted
together with the rest under a passphrase (age, filippo.io/age); tokend import
reads both.`,
		Example: "  tokend export tokens.jsonl\n  tokend export --values tokens.age",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
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
func exportTo(cmd *cobra.Command, c *client, path, passphrase string) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if path == "-" {
		if passphrase != "" && isTerminal(cmd.OutOrStdout()) {
			return &usageError{errors.New("an encrypted export is not for a terminal; give a file")}
		}
		_, err := c.export(ctx, cmd.OutOrStdout(), passphrase)
		return err
	}
	file, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return err
	}
	defer func() { _ = file.Cleanup() }()
	exported, err := c.export(ctx, file, passphrase)
	if err != nil {
		return err
	}
	if err := file.CloseAtomicallyReplace(); err != nil {
		return err
	}
	say(cmd.ErrOrStderr(), "exported %s to %s\n", tokens(exported), path)
	if passphrase == "" {
		say(cmd.ErrOrStderr(), "their values are not in it; --values exports them under a passphrase\n")
	}
	return nil
}

// export copies an export, encrypted under a passphrase if there is one.
func (c *client) export(ctx context.Context, to io.Writer, passphrase string) (tokens int, err error) {
	query := url.Values{}
	if passphrase != "" {
		query.Set("values", "true")
	}
	response, err := c.send(ctx, http.MethodGet, "/_/token/export", query, nil)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
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
	lines := &lineCounter{Writer: to}
	if _, err := io.Copy(lines, &answerReader{c, response.Body}); err != nil {
		return 0, err
	}
	return lines.count, end()
}

// lineCounter counts the lines that are written through it.
type lineCounter struct {
	io.Writer
	count int
}

func (l *lineCounter) Write(p []byte) (int, error) {
	n, err := l.Writer.Write(p)
	l.count += bytes.Count(p[:n], []byte{'\n'})
	return n, err
}

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

// open opens a file to be read, or standard input for -.
func open(cmd *cobra.Command, path string) (io.Reader, int64, func(), error) {
	if path == "-" {
		return cmd.InOrStdin(), -1, func() {}, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, nil, errors.Join(err, file.Close())
	}
	return file, info.Size(), func() { _ = file.Close() }, nil
}
