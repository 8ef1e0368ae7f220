// Package cli is tokend's command line: one file for each command or group of them, thin: flags, a call of
// package client or daemon, and what is printed. connect.go finds the server, explain.go puts
// the client's errors into a person's words.
package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"tokend/cli/daemon"
	"tokend/internal/hint"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/spf13/cobra"
)

// Exit codes are part of the contract.
const (
	exitDone        = 0
	exitRefused     = 1
	exitUsage       = 2
	exitUnreachable = 3 // the server
)

// Run carries out a command line and gives the exit code. Data goes to stdout,
// talk to stderr; secrets come from stdin.
func Run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := NewRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteC()
	if err == nil {
		return exitDone
	}
	if usage, ok := errors.AsType[*usageError](err); ok {
		explain(stderr, hint.New(usage.error, cmd.CommandPath()+" --help shows how it is used"))
		return exitUsage
	}
	explain(stderr, err)
	if exit, ok := errors.AsType[*exitError](err); ok {
		return exit.code
	}
	return exitRefused
}

// NewRoot is the whole command line, also for what documents it.
func NewRoot() *cobra.Command {
	root := newServe("tokend")
	root.Short = "tokend keeps bearer tokens for programs"
	root.Long = `tokend keeps bearer tokens for programs and answers whether one is good.

Without a command it serves, as tokend serve does.`
	root.Version = build().Version
	root.SilenceErrors = true // explain says them
	root.SilenceUsage = true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(newServe("serve"), newToken(), newExport(), newImport(), newBackup(), newRestore(), newRekey(), newCheck(), newCheckConfig(), newKeygen(), newVersion(), newCompletion())
	return root
}

// explain tells a person what went wrong and, where there is one, the way out.
func explain(w io.Writer, err error) {
	priority := ""
	if daemon.IsJournal(w) {
		priority = fmt.Sprintf("<%d>", journal.PriErr)
	}
	var text strings.Builder
	for line := range strings.Lines(err.Error()) {
		say(&text, "%serror: %s\n", priority, strings.TrimSuffix(line, "\n"))
	}
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) && hinted.Hint() != "" {
		say(&text, "%shint: %s\n", priority, hinted.Hint())
	}
	say(daemon.NewSink(w), "%s", &text) // a service that failed must end, whoever reads why
}

// say writes to a stream of a person, where a failure has nobody to be told.
func say(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }

// usageError is a command line that cannot be understood.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

// exitError is an error with an exit code of its own.
type exitError struct {
	error
	code int
}

func (e *exitError) Unwrap() error { return e.error }

// args says how many arguments a command takes, as a usage error.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &usageError{err}
		}
		return nil
	}
}

// printLine writes data to stdout. Data that could not be written is a failure.
func printLine(cmd *cobra.Command, line string) error {
	_, err := fmt.Fprintln(cmd.OutOrStdout(), line)
	return err
}
