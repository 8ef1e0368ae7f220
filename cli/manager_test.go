package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"tokend/kv"
)

func TestNotify(t *testing.T) {
	t.Parallel()
	s := newService(t, minimal)
	s.expectNotice(`^READY=1\nSTATUS=(0 tokens, )?serving at unix:tokend.sock; version `)
	s.Stop()
	s.expectNotice(`^STOPPING=1\nSTATUS=stopping$`)
}

// The watchdog is fed while the store can be read, and no longer than the process
// runs.
func TestNotify_watchdog(t *testing.T) {
	t.Parallel()
	s := newService(t, minimal, fmt.Sprint("WATCHDOG_USEC=", 1_500_000))
	s.expectNotice(`^READY=1`)
	begin := time.Now()
	for range 4 {
		s.expectNotice(`^WATCHDOG=1$`)
	}
	if took := time.Since(begin); took > 3*750*time.Millisecond {
		t.Errorf("four times took %v; every 750 ms is wanted", took)
	}
	s.Stop()
}

// Each line has its priority, and no time, which the journal has itself.
func TestJournal(t *testing.T) {
	t.Parallel()
	var journal *os.File
	s := newServiceThat(t, minimal+"[log]\nlevel = \"debug\"\n", func(s *service) {
		var err error
		if journal, err = os.Create(filepath.Join(s.dir, "journal")); err != nil {
			t.Fatal(err)
		}
		info, err := journal.Stat()
		if err != nil {
			t.Fatal(err)
		}
		stat := info.Sys().(*syscall.Stat_t)
		s.Cmd.Stderr = journal
		s.Cmd.Env = append(s.Cmd.Env, fmt.Sprintf("JOURNAL_STREAM=%d:%d", stat.Dev, stat.Ino))
	})
	s.expectStatus("no-token-0123456789-0123456789-012", 401)
	s.configure("listne = 1\n")
	s.reload()
	s.Stop()
	again := newProcess(t, s.dir, "--config", "config.toml")
	again.Cmd.Dir, again.Cmd.Stderr, again.Cmd.Env = s.dir, journal, s.Cmd.Env
	if err := again.Cmd.Run(); err == nil {
		t.Error("it starts with a wrong configuration")
	}
	got := s.read("journal")
	for line := range strings.Lines(got) {
		if !regexp.MustCompile(`^<[3-7]>`).MatchString(line) || strings.Contains(line, "time=") || strings.Contains(line, "level=") {
			t.Errorf("a line is %q", line)
		}
	}
	for _, want := range []string{
		"<6>msg=serving ", `<6>msg="this was the first start`, "<6>msg=audit ", `<7>msg="the index is filled"`,
		`<3>msg="the reload was refused`, `<3>error: config.toml:1:1: unknown key "listne"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in\n%s", want, got)
		}
	}
}

// What systemd gives as credentials is used, and nothing is made in its place.
func TestCredentials(t *testing.T) {
	t.Parallel()
	const admin = "credential-token-0123456789-012345"
	s := newServiceThat(t, minimal, func(s *service) {
		if err := os.Mkdir(filepath.Join(s.dir, "credentials"), 0o700); err != nil {
			t.Fatal(err)
		}
		s.write("credentials/tokend.admin-token", admin+"\n")
		s.write("credentials/tokend.master-key", kv.NewMasterKey().Encode()+"\n")
		s.Cmd.Env = append(s.Cmd.Env, "CREDENTIALS_DIRECTORY="+filepath.Join(s.dir, "credentials"))
	})
	s.expectStatus(admin, 200)
	for _, name := range []string{"admin.token", "master.key"} {
		if _, err := os.Stat(filepath.Join(s.dir, "data", name)); err == nil {
			t.Errorf("%s was made", name)
		}
	}
	s.Stop()
}
