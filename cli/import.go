package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"tokend/client"
	"tokend/internal/hint"

	"filippo.io/age"
	"github.com/dustin/go-humanize"
	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"
)

func newImport() *cobra.Command {
	var (
		server         clientFlags
		asJSON         bool
		passphraseFile string
	)
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Make tokens from a file",
		Long: `Make tokens on a running server from a file, with - from standard input: what tokend
export wrote, or lines of your own. Each line is a JSON object with a name, optionally a
value that was made elsewhere, and what else is known:

  {"name":"backup","token":"s3cr3t-of-another-system","write":false}

Nothing that exists is changed. Every line that is not taken is reported with the
reason. Lines whose token exists with the same content are only counted, so an import
that was interrupted can be run again.`,
		Example: "  tokend import tokens.age",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := server.connect()
			if err != nil {
				return err
			}
			in, size, closeFile, err := openInput(cmd, args[0])
			if err != nil {
				return err
			}
			defer closeFile()
			im := newImporter(cmd, c, size, asJSON)
			lines, err := plainLines(cmd, io.TeeReader(in, im), passphraseFile)
			if err != nil {
				return err
			}
			// A signal just ends it: the server takes batches whole, and the same
			// import again does the rest.
			err = im.run(cmd.Context(), lines)
			return errors.Join(err, im.report(cmd, asJSON, err))
		},
	}
	server.register(cmd.Flags())
	cmd.Flags().StringVar(&passphraseFile, "passphrase-file", "", "`file` with the passphrase, instead of asking")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the account as JSON")
	return cmd
}

// plainLines are the lines of an export, decrypted where it is encrypted.
func plainLines(cmd *cobra.Command, in io.Reader, passphraseFile string) (*bufio.Reader, error) {
	const intro = "age-encryption.org/v1\n"
	lines := bufio.NewReaderSize(in, client.MaxLine)
	start, _ := lines.Peek(len(intro))
	if bytes.HasPrefix(start, []byte("\ufeff")) { // as some editors begin a file
		_, err := lines.Discard(len("\ufeff"))
		return lines, err
	}
	if err := anotherForm(start); err != nil {
		return nil, err
	}
	if string(start) != intro {
		return lines, nil
	}
	passphrase, err := readPassphrase(cmd, passphraseFile)
	if err != nil {
		return nil, err
	}
	identity, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, err
	}
	decrypted, err := age.Decrypt(lines, identity)
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return nil, errors.New("the passphrase is wrong: the file was exported under another one")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot decrypt the file: %w", err)
	}
	return bufio.NewReaderSize(decrypted, client.MaxLine), nil
}

// anotherForm says how to convert a file whose first bytes show that it is no JSON lines.
func anotherForm(start []byte) error {
	for _, form := range []struct{ begin, what, way string }{
		{"\x1f\x8b", "is compressed with gzip", "gzip -dc FILE | tokend import -"},
		{"\xff\xfe", "is in UTF-16", "iconv -f UTF-16 -t UTF-8 FILE | tokend import -"},
		{"\xfe\xff", "is in UTF-16", "iconv -f UTF-16 -t UTF-8 FILE | tokend import -"},
		{"[", "is a JSON array", "an import has a JSON object on each line, and nothing around them"},
		{`{"data":[`, "is an answer of the API", "an import has a JSON object on each line, and nothing around them; tokend export writes such"},
	} {
		if bytes.HasPrefix(start, []byte(form.begin)) {
			return hint.New(errors.New("the file "+form.what+", not JSON lines"), form.way)
		}
	}
	return nil
}

// report sums up what became of the lines. It is an error where one was not taken.
func (im *importer) report(cmd *cobra.Command, asJSON bool, failure error) error {
	say(im.talk, "imported %s of %s", humanize.Comma(int64(im.Created)), tokens(im.Lines))
	if im.AlreadyThere > 0 {
		say(im.talk, "; %s %s there already", humanize.Comma(int64(im.AlreadyThere)), were(im.AlreadyThere))
	}
	if im.refused > 0 {
		say(im.talk, "; %s %s not taken", humanize.Comma(int64(im.refused)), were(im.refused))
	}
	say(im.talk, "\n")
	var err error
	if asJSON {
		var encoded []byte
		if encoded, err = json.Marshal(im.account); err == nil {
			err = printLine(cmd, string(encoded))
		}
	}
	_, isServers := errors.AsType[*exitError](failure)
	switch {
	case err != nil:
		return err
	case isServers:
		return hint.New(errors.New("the import is not complete"), "run the same command again: lines that were taken are only counted")
	case failure != nil:
		return errors.New("the import is not complete")
	case im.refused == 1:
		return errors.New("1 line was not taken")
	case im.refused > 1:
		return fmt.Errorf("%s lines were not taken", humanize.Comma(int64(im.refused)))
	}
	return nil
}

// openInput opens a file to be read, or standard input for -.
func openInput(cmd *cobra.Command, path string) (io.Reader, int64, func(), error) {
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
