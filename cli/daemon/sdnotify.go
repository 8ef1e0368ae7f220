package daemon

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// sdNotifier tells systemd how the service does (sd_notify(3)). Without a systemd
// that wants to know, it does nothing.
type sdNotifier struct {
	log    *slog.Logger
	status func() string // one line, for systemctl status
	remark atomic.Value  // string, after the status
	ending atomic.Bool   // what comes late is not told any more
}

func (m *sdNotifier) notify(states ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(states, "\n")); err != nil {
		m.log.Warn("cannot notify systemd", "err", err)
	}
}

func (m *sdNotifier) ready() {
	if !m.ending.Load() {
		m.notify(daemon.SdNotifyReady, m.statusLine())
	}
}

// reloading is followed by ready, however the reload ends.
func (m *sdNotifier) reloading() {
	m.notify(daemon.SdNotifyReloading, strings.TrimSpace(daemon.SdNotifyMonotonicUsec()))
}

func (m *sdNotifier) stopping() {
	m.ending.Store(true)
	m.notify(daemon.SdNotifyStopping, "STATUS=stopping")
}

func (m *sdNotifier) statusLine() string {
	remark, _ := m.remark.Load().(string)
	return "STATUS=" + m.status() + remark
}

// watch feeds the watchdog while the service can do its work, and keeps the
// status fresh, until ctx ends. A check that hangs feeds nothing.
func (m *sdNotifier) watch(ctx context.Context, check func() error) {
	const fresh = 20 * time.Second
	timeout, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		m.log.Warn("cannot feed the watchdog of systemd", "err", err)
	}
	interval := fresh
	if timeout > 0 {
		interval = min(interval, timeout/3) // systemd asks for at most a half
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		err := check()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			m.log.Error("the store cannot be read; the watchdog is not fed", "err", err)
		case timeout > 0:
			m.notify(daemon.SdNotifyWatchdog)
		}
		if !m.ending.Load() {
			m.notify(m.statusLine())
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
