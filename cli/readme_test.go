package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The README's first two sessions, typed in as they stand, print what they say
// there.
func TestReadme(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("TOKEND_REQUIRE_ALL") != "" {
			t.Fatal(err)
		}
		t.Skip("curl is not installed")
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.SplitN(string(readme), "```console\n", 4)
	if len(blocks) < 3 {
		t.Fatal("the README lacks sessions")
	}
	session := ""
	for _, block := range blocks[1:3] {
		lines, _, _ := strings.Cut(block, "```")
		session += lines
	}
	dir := t.TempDir()
	startProcess(t, dir)
	if err := os.Symlink("data", filepath.Join(dir, "tokend-data")); err != nil {
		t.Fatal(err)
	}

	var got strings.Builder
	for line := range strings.Lines(session) {
		command, ok := strings.CutPrefix(line, "$ ")
		if !ok {
			continue
		}
		got.WriteString(line)
		shell := exec.Command("sh", "-c", strings.NewReplacer("curl ", "curl -s --unix-socket tokend.sock ", "./tokend", "tokend").Replace(command))
		shell.Dir = dir
		shell.Env = append(os.Environ(), "TOKEND_ADDR=unix:tokend.sock", "TOKEND_ADMIN_TOKEN_FILE=")
		out, err := shell.CombinedOutput()
		if err != nil {
			t.Fatalf("%s%v\n%s", command, err, out)
		}
		got.Write(out)
	}
	if diff := cmp.Diff(timeless(session), timeless(got.String())); diff != "" {
		t.Errorf("README (-), real (+):\n%s", diff)
	}
}

// timeless replaces what differs from run to run.
func timeless(session string) string {
	for pattern, with := range map[string]string{
		`[0-9]{13}`:                "TIME",
		`\([0-9: -]* [A-Z]+\)`:     "(MOMENT)",
		`tkd_[0-9A-Za-z]{49}`:      "VALUE",
		`01[0-9A-HJKMNP-TV-Z]{24}`: "ID",
	} {
		session = regexp.MustCompile(pattern).ReplaceAllString(session, with)
	}
	return session
}
