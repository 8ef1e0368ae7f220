package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tokend/cli"
)

// Every command has a page, and every flag is on its command's page.
func TestWrite(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "man")
	if err := write([]string{folder}); err != nil {
		t.Fatal(err)
	}
	pages := 0
	var check func(*cobra.Command)
	check = func(cmd *cobra.Command) {
		pages++
		path := filepath.Join(folder, strings.ReplaceAll(cmd.CommandPath(), " ", "-")+".8")
		page, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		cmd.Flags().VisitAll(func(flag *pflag.Flag) {
			if !strings.Contains(string(page), "--"+flag.Name) {
				t.Errorf("%s lacks --%s", path, flag.Name)
			}
		})
		for _, sub := range cmd.Commands() {
			check(sub)
		}
	}
	check(cli.NewRoot())
	if written, err := os.ReadDir(folder); err != nil || len(written) != pages {
		t.Errorf("%d pages, %d commands (%v)", len(written), pages, err)
	}
	if err := write(nil); err == nil {
		t.Error("no folder is no error")
	}
}
