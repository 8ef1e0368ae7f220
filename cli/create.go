package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"tokend/api/wire"
	"tokend/client"
	"tokend/internal/hint"
	"tokend/kv"
)

func (t *tokenCommands) newCreate() *cobra.Command {
	var (
		readOnly, inactive, ifAbsent bool
		expiry                       expiryFlags
		file                         valueFile
	)
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a token and print its value",
		Long: `Create a token and print its value.

With --if-absent a name that is taken is no failure, so that a script can be run again:
the token stays as it is and nothing is printed to standard output. With --value-file the
value goes to a file, readable by its owner only, in place of standard output. Together
they also write the value of a token that exists, if the file is missing, holds another
value or has another mode.`,
		Example: "  tokend token create backup --read-only --expires-in 90d\n" +
			"  tokend token create backup --if-absent --value-file /etc/backup/token",
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			wanted := client.NewToken{Name: args[0], Write: !readOnly, Inactive: inactive}
			expiry.pastToo = ifAbsent
			at, err := expiry.decide(cmd)
			if err != nil {
				return err
			}
			if at != nil {
				wanted.ExpiresAt = *at
			}
			if t.json && file != "" {
				return &usageError{errors.New("--json and --value-file cannot be given together")}
			}
			if err := file.check(); err != nil {
				return err
			}
			return unprinted(wanted.Name, t.one(cmd, wanted.Name, func(ctx context.Context, c *server) (func(time.Time) error, error) {
				created, err := c.Create(ctx, wanted)
				if ifAbsent && client.CodeOf(err) == wire.CodeNameTaken {
					return t.existing(ctx, cmd, c, wanted.Name, file)
				}
				return func(now time.Time) error {
					say(cmd.ErrOrStderr(), "created %q: %s\n", created.Name, token{created.Token}.summary(now))
					if file == "" {
						return printLine(cmd, created.Value)
					}
					if err := file.write(created.Value); err != nil {
						return hint.New(err, printsValue(created.Name))
					}
					return nil
				}, err
			}))
		},
	}
	cmd.Flags().BoolVar(&readOnly, "read-only", false, "it may not write")
	cmd.Flags().BoolVar(&inactive, "inactive", false, "it is not good until it is activated")
	cmd.Flags().BoolVar(&ifAbsent, "if-absent", false, "do nothing where the name is taken")
	cmd.Flags().StringVar((*string)(&file), "value-file", "", "write the value to this `file`, with mode 0600")
	expiry.register(cmd)
	return cmd
}

// existing is what a create does that finds the token there.
func (t *tokenCommands) existing(ctx context.Context, cmd *cobra.Command, c *server, name string, file valueFile) (func(time.Time) error, error) {
	there, err := c.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	if file != "" {
		value, err := c.Value(ctx, name)
		if err != nil {
			return nil, err
		}
		if !file.holds(value) {
			if err := file.write(value); err != nil {
				return nil, err
			}
			say(cmd.ErrOrStderr(), "wrote the value of %q to %s\n", name, file)
		}
	}
	return func(now time.Time) error {
		say(cmd.ErrOrStderr(), "%q exists already: %s\n", name, token{there}.summary(now))
		return nil
	}, nil
}

// valueFile is the path of a file that is to hold a value, or empty.
type valueFile string

// check refuses a file of something else, which is not to be lost to a mistyped path.
func (f valueFile) check() error {
	if f == "" {
		return nil
	}
	path, err := replaceable(string(f))
	if err != nil {
		return err
	}
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := kv.ParseValue(string(bytes.TrimSpace(content))); err != nil && len(content) > 0 {
		return hint.New(fmt.Errorf("%q holds something that is not a value", string(f)), "--value-file takes a file of its own; remove this one, or name another")
	}
	return nil
}

// holds reports whether the file is as write leaves it.
func (f valueFile) holds(value string) bool {
	info, err := os.Stat(string(f))
	if err != nil || info.Mode().Perm() != 0o600 {
		return false
	}
	content, err := os.ReadFile(string(f))
	return err == nil && string(bytes.TrimSpace(content)) == value
}

func (f valueFile) write(value string) error {
	_, err := writeFile(string(f), func(w io.Writer) error {
		_, err := fmt.Fprintln(w, value)
		return err
	})
	return err
}

// unprinted adds, to the error of a call that made a value, how to see the value that could not
// be printed.
func unprinted(name string, err error) error {
	if failed, ok := errors.AsType[*fs.PathError](err); ok && failed.Op == "write" {
		return hint.New(err, printsValue(name))
	}
	return err
}

func printsValue(name string) string {
	return "the value is made; tokend token value -- " + hint.Quote(name) + " prints it"
}
