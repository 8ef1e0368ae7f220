package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"

	"filippo.io/age"
	"github.com/go-json-experiment/json"
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
func exportTo(cmd *cobra.Command, c *client, path, passphrase string) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), ends...)
	defer stop()
	if path == "-" {
		_, err := c.export(ctx, cmd.OutOrStdout(), passphrase)
		return err
	}
	path, err := replaceable(path)
	if err != nil {
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

// replaceable is the path of a file, or where a link to it leads. A device, a
// pipe or a folder is not to be replaced by a file.
func replaceable(path string) (string, error) {
	resolved, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(path); err == nil {
			return "", fmt.Errorf("%q leads nowhere", path)
		}
		return path, nil
	}
	if err != nil {
		return "", err
	}
	info, err := os.Stat(resolved)
	if err == nil && !info.Mode().IsRegular() {
		err = &hintedError{fmt.Errorf("%q is not a file", path), "- writes to standard output"}
	}
	return resolved, err
}

// export copies an export, encrypted under a passphrase if there is one.
func (c *client) export(ctx context.Context, to io.Writer, passphrase string) (tokens int, err error) {
	query := url.Values{}
	if passphrase != "" {
		query.Set("values", "true")
	}
	response, err := c.send(ctx, linesType, http.MethodGet, "/_/token/export", query, nil)
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
	if tokens, err = c.copyLines(to, response.Body); err != nil {
		if ctx.Err() != nil {
			err = errInterrupted
		}
		return 0, err
	}
	return tokens, end()
}

// copyLines copies tokens, each on a line, and counts them.
func (c *client) copyLines(to io.Writer, from io.Reader) (count int, err error) {
	lines := bufio.NewReaderSize(&answerReader{c, from}, maxLine)
	for {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return count, nil
		}
		if errors.Is(err, io.EOF) || errors.Is(err, bufio.ErrBufferFull) || err == nil && !isToken(line) {
			err = c.senseless()
		}
		if err == nil {
			_, err = to.Write(line)
		}
		if err != nil {
			return count, err
		}
		count++
	}
}

func isToken(line []byte) bool {
	var t token
	return json.Unmarshal(line, &t) == nil && t.makesSense() && t.Status != ""
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
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%q is a folder", path)
	}
	if err != nil {
		return nil, 0, nil, errors.Join(err, file.Close())
	}
	return file, info.Size(), func() { _ = file.Close() }, nil
}
