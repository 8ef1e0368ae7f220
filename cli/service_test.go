package cli_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
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
	return newServiceThat(t, configuration, func(s *service) { s.cmd.Env = append(s.cmd.Env, env...) })
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
	s.cmd.Dir = dir
	s.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify)
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
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
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
		s.t.Errorf("%s\n%s", got, &s.log)
	}
}

// expectRefused reloads, and the log tells why not.
func (s *service) expectRefused(reason string) {
	s.t.Helper()
	before := len(s.log.String())
	if got := s.reload(); !strings.Contains(got, isRefused) {
		s.t.Errorf("systemd is told %s", got)
	}
	const line = `level=ERROR msg="the reload was refused; all stays as it was" err=`
	for range 500 {
		got := s.log.String()[before:]
		if strings.Contains(got, line) && strings.Contains(got, reason) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Errorf("the log says\n%s\nwant %s", s.log.String()[before:], reason)
}

// as gives the status of a list that somebody asks for.
func (s *service) as(token string) int {
	s.t.Helper()
	r, err := http.NewRequest(http.MethodGet, "http://localhost/_/token", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := s.client.Do(r)
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
		{"a key that needs a restart", strings.Replace(minimal, "tokend.sock", "other.sock", 1), "listen can change with a restart only"},
		{"several of them", minimal + "admin_socket = \"admin.sock\"\n[store]\nmin_free_bytes = 1\n", "admin_socket, store can change with a restart only"},
		{"a file that is not there", minimal + "[audit]\nfile = \"none/audit.log\"\n", "audit.file: open none/audit.log: no such file or directory"},
		{"TLS, that there was not", minimal + "[tls]\ncert_file = \"none\"\nkey_file = \"none\"\n", "tls.cert_file (from or to none) can change with a restart only"},
		{"one administrator twice", minimal + adminBlock("first", first), "give each a token of his own"},
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
	t.Run("the log's level", func(t *testing.T) {
		s.configure(minimal + "[log]\nlevel = \"error\"\n")
		s.expectTaken()
		before := len(s.log.String())
		s.reload()
		if got := s.log.String()[before:]; strings.Contains(got, "reloaded") {
			t.Errorf("it says %s", got)
		}
	})
	s.stop()
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
	if got := s.read("audit.log"); strings.Count(got, "operation=list") != 2 || strings.Contains(s.log.String(), "msg=audit") {
		t.Errorf("%s\nand the log:\n%s", got, &s.log)
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
		if strings.Contains(s.log.String(), "msg=audit") {
			t.Error("it is in the log")
		}
	})
	s.stop()
}

func TestNotify(t *testing.T) {
	t.Parallel()
	s := newService(t, minimal)
	s.expectNotice(`^READY=1\nSTATUS=(0 tokens, )?serving at unix:tokend.sock; version `)
	s.stop()
	s.expectNotice(`^STOPPING=1\nSTATUS=stopping$`)
}

// The watchdog is fed while the store can be read, and no longer than the process
// runs.
func TestNotify_watchdog(t *testing.T) {
	t.Parallel()
	s := newService(t, minimal, fmt.Sprint("WATCHDOG_USEC=", 300_000))
	s.expectNotice(`^READY=1`)
	begin := time.Now()
	for range 4 {
		s.expectNotice(`^WATCHDOG=1$`)
	}
	if took := time.Since(begin); took > 600*time.Millisecond {
		t.Errorf("four times took %v, of 300 ms each", took)
	}
	s.stop()
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
		s.cmd.Stderr = stuck
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
	s.stop()
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
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.expectNotice(`^RELOADING=1`)
	s.stop()
}

// authority makes certificates.
type authority struct {
	t           *testing.T
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
	serial      int64
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.certificate, a.key = a.make(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) make(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.serial++
	template.SerialNumber, template.Subject = big.NewInt(a.serial), pkix.Name{CommonName: fmt.Sprint("number ", a.serial)}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.certificate, a.key
	if parent == nil {
		parent, signer = template, key
	}
	encoded, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(encoded)
	if err != nil {
		a.t.Fatal(err)
	}
	return certificate, key
}

// issue gives a certificate for 127.0.0.1, and for clients, and its key, in PEM.
func (a *authority) issue() (certificate, key string) {
	a.t.Helper()
	made, private := a.make(&x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	return asPEM("CERTIFICATE", made.Raw), asPEM("PRIVATE KEY", encoded)
}

func asPEM(kind string, content []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}))
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// freePort is one that nobody uses now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	address, dir := freePort(t), t.TempDir()
	put := func(name, content string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	renew := func() {
		certificate, key := ca.issue()
		put("cert.pem", certificate)
		put("key.pem", key)
	}
	renew()
	configuration := fmt.Sprintf("listen = [%q, \"unix:tokend.sock\"]\ndata_dir = \"data\"\n[tls]\ncert_file = %q\nkey_file = %q\n",
		address, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	s := newService(t, configuration)

	client := func(c *tls.Config) *http.Client {
		c.RootCAs = ca.pool()
		transport := &http.Transport{TLSClientConfig: c}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport, Timeout: 10 * time.Second}
	}
	get := func(c *http.Client) (serial int64, err error) {
		response, err := c.Get("https://" + address + "/healthz")
		if err != nil {
			return 0, err
		}
		_, err = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		return response.TLS.PeerCertificates[0].SerialNumber.Int64(), err
	}
	expect := func(t *testing.T, c *http.Client, serial int64) {
		t.Helper()
		if got, err := get(c); err != nil || got != serial {
			t.Errorf("certificate %d, want %d (%v)", got, serial, err)
		}
	}
	kept := client(&tls.Config{})
	expect(t, kept, 2)
	t.Run("1.2 with a sound suite", func(t *testing.T) {
		expect(t, client(&tls.Config{MaxVersion: tls.VersionTLS12}), 2)
	})
	t.Run("not 1.2 with another one", func(t *testing.T) {
		weak := &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA}}
		if _, err := get(client(weak)); err == nil {
			t.Error("it is spoken")
		}
	})
	t.Run("not 1.1", func(t *testing.T) {
		if _, err := get(client(&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})); err == nil {
			t.Error("it is spoken")
		}
	})
	t.Run("plain HTTP is told so", func(t *testing.T) {
		response, err := http.Get("http://" + address + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || response.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "https") {
			t.Errorf("%d %s (%v)", response.StatusCode, body, err)
		}
	})
	t.Run("a Unix socket is plain", func(*testing.T) {
		s.expectStatus("no-token-0123456789-0123456789", 401)
	})
	t.Run("a new certificate is shown after a reload, and open connections go on", func(t *testing.T) {
		renew()
		expect(t, client(&tls.Config{}), 2)
		s.expectTaken()
		expect(t, client(&tls.Config{}), 3)
		expect(t, kept, 2)
	})
	t.Run("a key of another certificate is refused", func(t *testing.T) {
		_, other := ca.issue()
		key, err := os.ReadFile(filepath.Join(dir, "key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		put("key.pem", other)
		s.expectRefused("do not go together")
		expect(t, client(&tls.Config{}), 3)
		put("key.pem", string(key))
	})
	t.Run("clients show a certificate where authorities are named", func(t *testing.T) {
		s.configure(configuration + fmt.Sprintf("client_ca_file = %q\n", put("ca.pem", asPEM("CERTIFICATE", ca.certificate.Raw))))
		s.expectTaken()
		if _, err := get(client(&tls.Config{})); err == nil {
			t.Error("none is needed")
		}
		certificate, key := ca.issue()
		pair, err := tls.X509KeyPair([]byte(certificate), []byte(key))
		if err != nil {
			t.Fatal(err)
		}
		expect(t, client(&tls.Config{Certificates: []tls.Certificate{pair}}), 3)
	})
	t.Run("who does not say a word is cut off", func(t *testing.T) {
		s.configure(configuration + "[timeouts]\nheader = \"200ms\"\n")
		s.expectTaken()
		silent, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = silent.Close() }()
		_ = silent.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.ReadAll(silent); err != nil {
			t.Errorf("it is waited for: %v", err)
		}
	})
	s.stop()
}

// copyProgram puts tokend where other users may run it.
func copyProgram(t *testing.T, dir string) string {
	t.Helper()
	from, err := exec.LookPath("tokend")
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "tokend")
	if err := os.WriteFile(path, content, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// The command line needs no token where the server knows its user.
func TestAdminSocket(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can be root and another user")
	}
	const socketed = minimal + "admin_socket = \"admin.sock\"\n"
	s := newService(t, socketed)
	// Another user must reach the program and the folder.
	program := copyProgram(t, s.dir)
	for folder := s.dir; folder != "/"; folder = filepath.Dir(folder) {
		if err := os.Chmod(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(s.dir, "config.toml"), 0o644); err != nil {
		t.Fatal(err)
	}
	tokend := func(uid uint32, args ...string) (string, error) {
		cmd := exec.CommandContext(context.Background(), program, args...)
		cmd.Dir = s.dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		output, err := cmd.CombinedOutput()
		return string(output), err
	}
	expectMode := func(want os.FileMode) {
		t.Helper()
		if info, err := os.Stat(filepath.Join(s.dir, "admin.sock")); err != nil || info.Mode().Perm() != want {
			t.Error(info, err)
		}
	}
	expectMode(0o600)
	if err := os.Remove(filepath.Join(s.dir, "data", "admin.token")); err != nil {
		t.Fatal(err)
	}
	if output, err := tokend(0, "token", "create", "x", "--config", "config.toml"); err != nil {
		t.Errorf("root: %v %s", err, output)
	}
	const daemon = 1
	if output, err := tokend(daemon, "token", "list", "--addr", "unix:admin.sock", "--config", "config.toml"); err == nil || !strings.Contains(output, "permission denied") {
		t.Errorf("another user: %v %s", err, output)
	}
	s.write("config.toml", socketed+"admin_users = [\"daemon\"]\n")
	s.expectTaken()
	expectMode(0o666)
	if output, err := tokend(daemon, "token", "list", "--config", "config.toml"); err != nil || !strings.Contains(output, "x") {
		t.Errorf("a user among admin_users: %v %s", err, output)
	}
	if output, err := tokend(2, "token", "list", "--addr", "unix:admin.sock", "--config", "config.toml"); err == nil || !strings.Contains(output, "error: your user is no administrator of this server") {
		t.Errorf("a third user: %v %s", err, output)
	}
	s.write("config.toml", socketed+"admin_users = [\"no-such-user\"]\n")
	s.expectRefused(`there is no user \"no-such-user\" here`)
	if output, err := tokend(daemon, "token", "list", "--addr", "unix:admin.sock", "--config", "config.toml"); err != nil {
		t.Errorf("a refused reload took the right away: %v %s", err, output)
	}
	s.stop()
	if !strings.Contains(s.log.String(), `who=local:root from="uid=0,pid=`) {
		t.Errorf("the audit does not know him:\n%s", &s.log)
	}
}
