package main

import (
	"bytes"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

// process is a server under measurement.
type process struct {
	cmd     *exec.Cmd
	address string // host:port
	log     bytes.Buffer
}

// start runs a server that will listen on the address.
func start(address, name string, args ...string) *process {
	p := &process{cmd: exec.Command(name, args...), address: address}
	p.cmd.Stderr = &p.log
	// It must not outlive the bench.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	check(p.cmd.Start())
	return p
}

// stop ends a server as an operator would, and waits.
func (p *process) stop() {
	check(p.cmd.Process.Signal(syscall.SIGTERM))
	_ = p.cmd.Wait() // etcd ends by the signal
}

// kill ends a server as a crash would.
func (p *process) kill() {
	check(p.cmd.Process.Kill())
	_ = p.cmd.Wait()
}

// awaitTCP waits until the server accepts connections.
func (p *process) awaitTCP() {
	for range 2000 {
		c, err := net.Dial("tcp", p.address)
		if err == nil {
			_ = c.Close()
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	log.Fatalf("%s does not come up:\n%s", p.cmd.Path, &p.log)
}

// anonymous is the memory of the process that no file backs, in bytes. Badger
// maps its files, so that the resident size counts the page cache too.
func (p *process) anonymous() int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	check(err)
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			check(err)
			return kilobytes << 10
		}
	}
	log.Fatal("/proc has no RssAnon")
	return 0
}

// tokend is a running tokend and the way to its tokens.
type tokend struct {
	*process
	data  string
	admin string
}

// startTokend starts tokend and waits until it is ready, for which it gives the
// time.
func (b *bench) startTokend(data string) (*tokend, time.Duration) {
	return b.startBinary(b.binary, data)
}

// startBinary is startTokend for some build.
func (b *bench) startBinary(binary, data string) (*tokend, time.Duration) {
	address := freeAddress()
	begin := time.Now()
	t := &tokend{
		process: start(address, binary, "--listen", address, "--data-dir", data),
		data:    data,
	}
	for {
		status, _, err := fasthttp.Get(nil, "http://"+address+"/readyz")
		if err == nil && status == fasthttp.StatusOK {
			break
		}
		if time.Since(begin) > 30*time.Second {
			log.Fatalf("tokend does not become ready:\n%s", &t.log)
		}
		time.Sleep(500 * time.Microsecond)
	}
	took := time.Since(begin)
	admin, err := os.ReadFile(filepath.Join(data, "admin.token"))
	check(err)
	t.admin = strings.TrimSpace(string(admin))
	return t, took
}

// freeAddress is an address on loopback that nobody listens on.
func freeAddress() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	defer func() { check(l.Close()) }()
	return l.Addr().String()
}

func portOf(address string) string {
	_, port, err := net.SplitHostPort(address)
	check(err)
	return port
}

func run(name string, args ...string) {
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	check(cmd.Run())
}
