package testkit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Process is a tokend of its own.
type Process struct {
	Cmd    *exec.Cmd
	Client *http.Client // whose connections lead to it, whatever the URL's host
	Log    Buffer       // its standard error

	t testing.TB
}

// NewProcess is a tokend that does not run yet, and will listen on an address: host:port or
// unix:PATH.
func NewProcess(t testing.TB, address string, cmd *exec.Cmd) *Process {
	t.Helper()
	network, at := "tcp", address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, at = "unix", path
	}
	p := &Process{t: t, Cmd: cmd, Client: &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 100,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, at)
		},
	}}}
	p.Cmd.Stderr = &p.Log
	return p
}

// Start runs it and waits until it is ready. It ends with the test at the latest.
func (p *Process) Start() {
	p.t.Helper()
	Do(p.t, p.Cmd.Start())
	p.t.Cleanup(func() {
		p.Kill()
		p.Client.CloseIdleConnections()
	})
	for range 3000 {
		if response, err := p.Client.Get("http://localhost/readyz"); err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.Kill() // then the log is whole
	p.t.Fatalf("the server is not ready:\n%s", &p.Log)
}

// Stop ends it gently, and fails the test where it does not end well.
func (p *Process) Stop() {
	p.t.Helper()
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Error(err)
	}
	if err := p.Cmd.Wait(); err != nil {
		p.t.Errorf("%v:\n%s", err, &p.Log)
	}
}

// Kill ends it at once. One that has ended already stays so.
func (p *Process) Kill() {
	_ = p.Cmd.Process.Kill()
	_ = p.Cmd.Wait()
}

// Build builds tokend from a checkout.
func Build(checkout, program string) error {
	cmd := exec.Command("go", "build", "-o", program, ".") //nolint:gosec // a test chooses the path
	cmd.Dir = checkout
	out, err := cmd.CombinedOutput()
	if err != nil {
		return errors.Join(fmt.Errorf("%s cannot be built: %s", checkout, out), err)
	}
	return nil
}
