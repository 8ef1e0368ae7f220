package systemd_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// machine is a Debian with a systemd of its own, in a folder.
type machine struct {
	t      *testing.T
	root   string
	leader int // its first process
}

// need skips the test where a program is missing, unless all are required.
func need(t *testing.T, programs ...string) {
	t.Helper()
	missing := func(what string) {
		t.Helper()
		if os.Getenv("TOKEND_REQUIRE_ALL") != "" {
			t.Fatal(what)
		}
		t.Skip(what)
	}
	if os.Geteuid() != 0 {
		missing("only root can boot a machine")
	}
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			missing(program + " is not installed")
		}
	}
}

// debian makes a Debian in a folder: a copy of the one that an earlier run left in the user's
// cache, which it makes where there is none.
func debian(t *testing.T, folder string) {
	t.Helper()
	const packages = "systemd,systemd-sysv,dbus,init-system-helpers,curl"
	caches, err := os.UserCacheDir()
	if err != nil { // there is no home
		caches = t.TempDir()
	}
	cached := filepath.Join(caches, "tokend", "bookworm-"+strings.ReplaceAll(packages, ",", "-"))
	if _, err := os.Stat(cached); errors.Is(err, fs.ErrNotExist) {
		made := cached + fmt.Sprintf(".%d", os.Getpid())
		host(t, "mkdir", "-p", filepath.Dir(cached))
		t.Cleanup(func() { _ = os.RemoveAll(made) }) // where debootstrap was interrupted
		host(t, "debootstrap", "--variant=minbase", "--include="+packages, "bookworm", made)
		if err := os.Rename(made, cached); err != nil && !errors.Is(err, fs.ErrExist) { // another run was faster
			t.Fatal(err)
		}
	}
	host(t, "cp", "-a", cached, folder)
}

// boot makes a machine and starts it.
func boot(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, root: filepath.Join(t.TempDir(), "debian")}
	debian(t, m.root)
	var console bytes.Buffer
	nspawn := exec.Command("systemd-nspawn", "-D", m.root, "--boot", "--private-network", "--register=no", "--keep-unit")
	nspawn.Stdout, nspawn.Stderr = &console, &console
	if err := nspawn.Start(); err != nil {
		t.Fatal(err)
	}
	var failure error
	ended := make(chan struct{})
	go func() { failure = nspawn.Wait(); close(ended) }()
	t.Cleanup(func() {
		if m.leader != 0 {
			_ = syscall.Kill(m.leader, syscall.Signal(38)) // SIGRTMIN+4: systemd powers off
		}
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			_ = nspawn.Process.Kill()
			<-ended
		}
	})
	m.await("the machine to be up", func() bool {
		select {
		case <-ended:
			t.Fatalf("systemd-nspawn: %v\n%s", failure, &console)
		default:
		}
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", nspawn.Process.Pid))
		if err != nil {
			return false
		}
		for child := range strings.FieldsSeq(string(children)) {
			m.leader, _ = strconv.Atoi(child)
		}
		if m.leader == 0 {
			return false
		}
		state, _ := m.try("systemctl is-system-running")
		return strings.HasPrefix(state, "running") || strings.HasPrefix(state, "degraded")
	})
	return m
}

func host(t *testing.T, command ...string) {
	t.Helper()
	if output, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, output)
	}
}

// try runs a shell's command line on the machine and gives what it printed.
func (m *machine) try(command string) (string, error) {
	cmd := exec.Command("nsenter", "-t", strconv.Itoa(m.leader), "-a", "env", "-i",
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "sh", "-c", command)
	output, err := cmd.CombinedOutput()
	return string(output), err
}

// run fails the test where the command does.
func (m *machine) run(command string) string {
	m.t.Helper()
	output, err := m.try(command)
	if err != nil {
		journal, _ := m.try("journalctl -u tokend -n 30 --no-pager -o cat")
		m.t.Fatalf("%s: %v\n%s\nthe journal:\n%s", command, err, output, journal)
	}
	return output
}

// expect runs a command and wants to see something.
func (m *machine) expect(command, want string) {
	m.t.Helper()
	if output := m.run(command); !strings.Contains(output, want) {
		m.t.Errorf("%s:\n%s\nwant %s", command, output, want)
	}
}

// refuse runs a command that must fail, and wants to see something.
func (m *machine) refuse(command, want string) {
	m.t.Helper()
	if output, err := m.try(command); err == nil || !strings.Contains(output, want) {
		m.t.Errorf("%s: %v\n%s\nwant a failure and %s", command, err, output, want)
	}
}

func (m *machine) await(what string, done func() bool) {
	m.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if done() {
			return
		}
	}
	journal, _ := m.try("systemctl status tokend --no-pager; journalctl -u tokend -n 30 --no-pager -o cat")
	m.t.Fatalf("waited a minute for %s\n%s", what, journal)
}

func (m *machine) awaitOutput(command, want string) {
	m.t.Helper()
	m.await(command+" to show "+want, func() bool {
		output, _ := m.try(command)
		return strings.Contains(output, want)
	})
}

// pid is the number of the service's process, or "0".
func (m *machine) pid() string {
	m.t.Helper()
	return strings.TrimSpace(m.run("systemctl show -P MainPID tokend.service"))
}

// put copies a file onto the machine.
func (m *machine) put(from, to string) {
	m.t.Helper()
	host(m.t, "cp", from, filepath.Join(m.root, to))
}

// write makes a file on the machine.
func (m *machine) write(path, content string) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.root, path), []byte(content), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// certify makes a certificate for 127.0.0.1 that vouches for itself.
func (m *machine) certify(t *testing.T, certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tokend"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	made, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	m.write(certificate, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made})))
	m.write(key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})))
}

// dial connects from within the machine.
func (m *machine) dial(network, address string) (net.Conn, error) {
	if network == "unix" {
		return net.Dial(network, fmt.Sprintf("/proc/%d/root%s", m.leader, address))
	}
	type dialed struct {
		conn net.Conn
		err  error
	}
	result := make(chan dialed)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", m.leader))
		if err == nil {
			err = unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET)
			_ = namespace.Close()
		}
		if err != nil {
			result <- dialed{nil, err}
			return
		}
		conn, err := net.Dial(network, address)
		result <- dialed{conn, err}
	}()
	d := <-result
	return d.conn, d.err
}
