package cli_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// service is a process with a configuration that tests change.
type service struct {
	*process
	systemd *net.UnixConn // what it tells systemd
}

const minimal = "listen = [\"unix:tokend.sock\"]\ndata_dir = \"data\"\n"

// newService starts a server with a configuration, in a folder of its own, with a
// systemd that listens. The environment may have more.
func newService(t *testing.T, configuration string, env ...string) *service {
	t.Helper()
	return newServiceThat(t, configuration, func(s *service) { s.Cmd.Env = append(s.Cmd.Env, env...) })
}

// newServiceThat prepares the process before it starts.
func newServiceThat(t *testing.T, configuration string, prepare func(*service)) *service {
	t.Helper()
	dir := t.TempDir()
	notify := filepath.Join(dir, "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = systemd.Close() })
	s := &service{process: newProcess(t, dir, "--config", "config.toml"), systemd: systemd}
	s.Cmd.Dir = dir
	s.Cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify)
	s.configure(configuration)
	prepare(s)
	s.start()
	return s
}

func (s *service) configure(configuration string) { s.write("config.toml", configuration) }

func (s *service) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *service) read(name string) string {
	s.t.Helper()
	content, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(content)
}

// expectNotice waits until systemd is told something.
func (s *service) expectNotice(want string) (notice string) {
	s.t.Helper()
	if err := s.systemd.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	buffer := make([]byte, 4096)
	for {
		n, err := s.systemd.Read(buffer)
		if err != nil {
			s.t.Fatalf("systemd was not told %s: %v", want, err)
		}
		if notice = string(buffer[:n]); regexp.MustCompile(want).MatchString(notice) {
			return notice
		}
	}
}

// reload has the server reload and gives what systemd is told at its end.
func (s *service) reload() string {
	s.t.Helper()
	if err := s.Cmd.Process.Signal(syscall.SIGHUP); err != nil {
		s.t.Fatal(err)
	}
	s.expectNotice(`^RELOADING=1\nMONOTONIC_USEC=\d+$`)
	return s.expectNotice(`^READY=1\n`)
}

const isRefused = "the last reload was refused"

// expectTaken reloads.
func (s *service) expectTaken() {
	s.t.Helper()
	if got := s.reload(); strings.Contains(got, isRefused) {
		s.t.Errorf("%s\n%s", got, &s.Log)
	}
}

// expectRefused reloads, and the log tells why not.
func (s *service) expectRefused(reason string) {
	s.t.Helper()
	before := len(s.Log.String())
	if got := s.reload(); !strings.Contains(got, isRefused) {
		s.t.Errorf("systemd is told %s", got)
	}
	const line = `level=ERROR msg="the reload was refused; nothing has changed" err=`
	for range 500 {
		got := s.Log.String()[before:]
		if strings.Contains(got, line) && strings.Contains(got, reason) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Errorf("the log says\n%s\nwant %s", s.Log.String()[before:], reason)
}

// as gives the status of a list that somebody asks for.
func (s *service) as(token string) int {
	s.t.Helper()
	r, err := http.NewRequest(http.MethodGet, "http://localhost/_/token", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := s.Client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode
}

func (s *service) expectStatus(token string, want int) {
	s.t.Helper()
	if got := s.as(token); got != want {
		s.t.Errorf("%.8s…: status %d, want %d", token, got, want)
	}
}

func adminBlock(name, token string) string {
	return fmt.Sprintf("[[admin]]\nname = %q\ntoken_sha256 = \"%x\"\nwrite = true\n", name, sha256.Sum256([]byte(token)))
}

func TestReload(t *testing.T) {
	t.Parallel()
	const alice, bob = "alice-token-0123456789-0123456789", "bob-token-0123456789-0123456789-ab"
	s := newService(t, minimal+adminBlock("alice", alice))
	first := strings.TrimSpace(s.read("data/admin.token"))
	s.expectStatus(alice, 200)
	s.expectStatus(first, 200)

	t.Run("admins rotate without a gap", func(*testing.T) {
		s.configure(minimal + adminBlock("alice", alice) + adminBlock("bob", bob))
		s.expectTaken()
		s.expectStatus(alice, 200)
		s.expectStatus(bob, 200)
		s.configure(minimal + adminBlock("bob", bob))
		s.expectTaken()
		s.expectStatus(alice, 401)
		s.expectStatus(bob, 200)
	})
	t.Run("the admin token file is read again", func(*testing.T) {
		second := "second-admin-token-0123456789-0123"
		s.write("data/admin.token", second+"\n")
		s.expectTaken()
		s.expectStatus(first, 401)
		s.expectStatus(second, 200)
		s.write("data/admin.token", first+"\n")
		s.expectTaken()
	})
	for _, c := range []struct{ name, configuration, want string }{
		{"no TOML", "listen = [", "config.toml:1:"},
		{"an unknown key", minimal + "listne = []\n", "unknown key"},
		{"a wrong value", minimal + "[log]\nlevel = \"loud\"\n", "log.level"},
		{"a key that needs a restart", strings.Replace(minimal, "tokend.sock", "other.sock", 1), "listen can only change with a restart"},
		{"several of them", minimal + "admin_socket = \"admin.sock\"\n[store]\nmin_free_bytes = 1\n", "admin_socket, store can only change with a restart"},
		{"a file that is not there", minimal + "[audit]\nfile = \"none/audit.log\"\n", "audit.file: open none/audit.log: no such file or directory"},
		{"TLS, that there was not", minimal + "[tls]\ncert_file = \"none\"\nkey_file = \"none\"\n", "tls.cert_file (from or to none) can only change with a restart"},
		{"one administrator twice", minimal + adminBlock("first", first), "give each its own token"},
	} {
		t.Run("refuses as a whole: "+c.name, func(*testing.T) {
			// A change that could be taken stands beside it.
			s.configure(c.configuration + adminBlock("alice", alice))
			s.expectRefused(c.want)
			s.expectStatus(alice, 401)
			s.expectStatus(bob, 200)
		})
	}
	t.Run("goes on after a refusal", func(*testing.T) {
		s.configure(minimal + adminBlock("alice", alice))
		s.expectTaken()
		s.expectStatus(alice, 200)
		s.expectStatus(bob, 401)
	})
	t.Run("leaves nothing open", func(t *testing.T) {
		s.configure(minimal + "[audit]\nfile = \"audit.log\"\n")
		s.expectTaken()
		opened := func() int {
			files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.Cmd.Process.Pid))
			if err != nil {
				t.Fatal(err)
			}
			return len(files)
		}
		before := opened()
		for range 20 {
			s.expectTaken()
		}
		if after := opened(); after > before+5 {
			t.Errorf("%d open files have become %d", before, after)
		}
	})
	t.Run("the log's level", func(t *testing.T) {
		s.configure(minimal + "[log]\nlevel = \"error\"\n")
		s.expectTaken()
		before := len(s.Log.String())
		s.reload()
		if got := s.Log.String()[before:]; strings.Contains(got, "reloaded") {
			t.Errorf("it says %s", got)
		}
	})
	s.Stop()
}

func TestAuditFile(t *testing.T) {
	t.Parallel()
	const audited = minimal + "[audit]\nfile = \"audit.log\"\nrequired = true\n"
	s := newService(t, audited)
	admin := strings.TrimSpace(s.read("data/admin.token"))
	s.expectStatus(admin, 200)
	if info, err := os.Stat(filepath.Join(s.dir, "audit.log")); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	if got := s.read("audit.log"); strings.Count(got, "operation=list") != 2 || strings.Contains(s.Log.String(), "msg=audit") {
		t.Errorf("%s\nand the log:\n%s", got, &s.Log)
	}
	t.Run("is opened anew at a reload", func(t *testing.T) {
		if err := os.Rename(filepath.Join(s.dir, "audit.log"), filepath.Join(s.dir, "audit.log.1")); err != nil {
			t.Fatal(err)
		}
		s.expectStatus(admin, 200)
		s.expectTaken()
		s.expectStatus(admin, 200)
		if before, after := strings.Count(s.read("audit.log.1"), "outcome=begun"), strings.Count(s.read("audit.log"), "outcome=begun"); before != 2 || after != 1 {
			t.Errorf("%d and %d", before, after)
		}
	})
	t.Run("a full one stops management where it is required", func(*testing.T) {
		s.configure(minimal + "[audit]\nfile = \"/dev/full\"\nrequired = true\n")
		s.expectTaken()
		s.expectStatus(admin, 503)
		s.configure(minimal + "[audit]\nfile = \"/dev/full\"\n")
		s.expectTaken()
		s.expectStatus(admin, 200)
	})
	t.Run("is no pipe, which could hold everybody up", func(t *testing.T) {
		if err := syscall.Mkfifo(filepath.Join(s.dir, "pipe"), 0o600); err != nil {
			t.Fatal(err)
		}
		s.configure(minimal + "[audit]\nfile = \"pipe\"\n")
		s.expectRefused("audit.file: pipe is not a file")
		reader, err := os.OpenFile(filepath.Join(s.dir, "pipe"), os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = reader.Close() }()
		s.expectRefused("audit.file: pipe is not a file")
	})
	t.Run("can be taken away", func(*testing.T) {
		s.configure(minimal + "[audit]\nenabled = false\n")
		s.expectTaken()
		s.expectStatus(admin, 200)
		if strings.Contains(s.Log.String(), "msg=audit") {
			t.Error("it is in the log")
		}
	})
	s.Stop()
}

// A log that nobody reads holds up no verification and no stop.
func TestStuckLog(t *testing.T) {
	t.Parallel()
	s := newServiceThat(t, minimal+"[log]\naccess = true\n", func(s *service) {
		unread, stuck, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unread.Close(); _ = stuck.Close() })
		s.Cmd.Stderr = stuck
	})
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 300 { // some ten times of what a pipe holds
				if status, _, err := s.ask("GET", "/healthz", ""); err != nil || status != http.StatusOK {
					t.Errorf("status %d, %v", status, err)
				}
			}
		})
	}
	clients.Wait()
	s.expectStatus(strings.TrimSpace(s.read("data/admin.token")), 200)
	begin := time.Now()
	s.Stop()
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("the stop took %v", took)
	}
}

// A reload that waits for a file does not keep the server from ending.
func TestReload_stuck(t *testing.T) {
	t.Parallel()
	s := newService(t, minimal)
	if err := os.Remove(filepath.Join(s.dir, "config.toml")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(s.dir, "config.toml"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.expectNotice(`^RELOADING=1`)
	s.Stop()
}
