// Tokend keeps bearer tokens for programs and answers whether one is good.
package main

import (
	"os"

	"tokend/cli"
)

func main() {
	os.Exit(cli.Run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
