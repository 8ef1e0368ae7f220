package daemon_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tokend/cli/daemon"
	"tokend/internal/testkit"
)

func TestIsAt(t *testing.T) {
	tcp := func(text string) net.Addr {
		at, err := net.ResolveTCPAddr("tcp", text)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	unix := &net.UnixAddr{Net: "unix", Name: "/run/x.sock"}
	for _, c := range []struct {
		listener net.Addr
		address  string
		want     bool
	}{
		{tcp("127.0.0.1:80"), "127.0.0.1:80", true},
		{tcp("127.0.0.1:80"), "localhost:80", true},
		{tcp("127.0.0.1:80"), "127.0.0.1:81", false},
		{tcp("127.0.0.1:80"), "[::1]:80", false},
		{tcp("127.0.0.1:80"), "0.0.0.0:80", false},
		{tcp("[::]:80"), "0.0.0.0:80", true},
		{tcp("[::]:80"), ":80", true},
		{tcp("[::]:80"), "127.0.0.1:80", false},
		{tcp("0.0.0.0:80"), "0.0.0.0:80", true},
		{tcp("0.0.0.0:80"), "[::]:80", false},
		{unix, "unix:/run/x.sock", true},
		{unix, "unix:/run/y.sock", false},
		{unix, "127.0.0.1:80", false},
		{tcp("127.0.0.1:80"), "unix:127.0.0.1:80", false},
	} {
		if got := daemon.IsAt(c.listener, c.address); got != c.want {
			t.Errorf("%v at %s: %t", c.listener, c.address, got)
		}
	}
}

// A store that cannot be read is not hidden from systemd.
func TestWatch_failing(t *testing.T) {
	notify := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = systemd.Close() }()
	t.Setenv("NOTIFY_SOCKET", notify)
	t.Setenv("WATCHDOG_USEC", "30000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	failing := errors.New("the disk is gone")
	buffer := make([]byte, 100)
	expect := func(prefix string) {
		t.Helper()
		_ = systemd.SetReadDeadline(time.Now().Add(10 * time.Second))
		for {
			n, err := systemd.Read(buffer)
			testkit.Do(t, err)
			if strings.HasPrefix(string(buffer[:n]), prefix) {
				return
			}
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var fails atomic.Bool
	var log strings.Builder
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		daemon.Watch(ctx, slog.New(slog.NewTextHandler(&log, nil)), func() error {
			if fails.Load() {
				return failing
			}
			return nil
		})
	}()
	expect("WATCHDOG=1")
	fails.Store(true)
	expect("STATUS=") // of the check that may have been under way
	expect("STATUS=")
	for range 5 {
		_ = systemd.SetReadDeadline(time.Now().Add(time.Second))
		if n, err := systemd.Read(buffer); err != nil || strings.HasPrefix(string(buffer[:n]), "WATCHDOG") {
			t.Errorf("systemd is told %s (%v)", buffer[:n], err)
		}
	}
	cancel()
	<-ended
	if !strings.Contains(log.String(), "the disk is gone") {
		t.Errorf("the log does not say so:\n%s", &log)
	}
}
