// Man writes the man pages of tokend, made from its own commands and flags, into
// a folder:
//
//	go run ./cli/man FOLDER
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra/doc"

	"tokend/cli"
)

func main() {
	if err := write(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func write(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: man FOLDER")
	}
	if err := os.MkdirAll(args[0], 0o755); err != nil { //nolint:gosec // for everybody to read
		return err
	}
	root := cli.NewRoot()
	root.DisableAutoGenTag = true
	return doc.GenManTree(root, &doc.GenManHeader{Title: "TOKEND", Section: "8", Source: "tokend", Manual: "tokend"}, args[0])
}
