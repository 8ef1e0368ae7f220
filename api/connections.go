package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tokend/metrics"
)

// connections knows every open connection of all listeners, to limit their
// number and to close them.
type connections struct {
	settings  *atomic.Pointer[Settings]
	metrics   *metrics.Metrics
	log       *slog.Logger
	lingering chan struct{}

	mu       sync.Mutex
	open     map[*connection]struct{}
	watchers int // those of them on a listener for metrics
	made     int // connections, ever

	complained map[listenerRole]time.Time // when it was last said that connections are refused
}

// maxWatchers is how many connections there may be on listeners for metrics, beside
// the others.
const maxWatchers = 16

func (cs *connections) timeouts() *Timeouts { return &cs.settings.Load().Timeouts }

func (cs *connections) listen(l net.Listener, role listenerRole) net.Listener {
	return &listener{l, cs, role}
}

type listener struct {
	net.Listener
	connections *connections
	role        listenerRole
}

// Accept gives the next connection within the limit. It outlives a shortage of
// file descriptors or memory, which fasthttp would take for the listener's end.
func (l *listener) Accept() (net.Conn, error) {
	var wait time.Duration
	for {
		accepted, err := l.Listener.Accept()
		switch {
		case isShortage(err):
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			l.connections.log.Error("cannot accept a connection", "err", err, "next_try", wait)
			time.Sleep(wait)
			continue
		case err != nil:
			return nil, err
		}
		wait = 0
		if c := l.connections.add(accepted, l.role); c != nil {
			return c, nil
		}
		l.connections.refuse(accepted, l.role)
	}
}

func isShortage(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) ||
		errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}

// refuse tells a connection beyond the limit so: fasthttp's own answer says
// nothing of when to come again. The answer fits the socket's buffer; one of TLS
// must wait for the client's part of the handshake before.
func (cs *connections) refuse(accepted net.Conn, role listenerRole) {
	limit := maxWatchers
	if role != metricsOnly {
		limit = cs.settings.Load().MaxConnections
		cs.metrics.RefusedConnections.Inc()
	}
	cs.complain(role, limit)
	isTLS := underTLS(accepted) != accepted
	_ = accepted.SetDeadline(time.Now().Add(time.Second))
	if !isTLS {
		_, _ = io.WriteString(accepted, tooManyConnections)
	}
	select {
	case cs.lingering <- struct{}{}:
		go func() {
			if isTLS {
				_, _ = io.WriteString(accepted, tooManyConnections)
			}
			closeGently(accepted)
			<-cs.lingering
		}()
	default: // too many at once to be gentle
		_ = underTLS(accepted).Close()
	}
}

// complain says, once a minute, that connections are refused.
func (cs *connections) complain(role listenerRole, limit int) {
	cs.mu.Lock()
	silent := time.Since(cs.complained[role]) < time.Minute
	if !silent {
		cs.complained[role] = time.Now()
	}
	cs.mu.Unlock()
	if !silent {
		cs.log.Warn("connection limit reached", "limit", limit, "for_metrics", role == metricsOnly)
	}
}

// underTLS is the connection that carries another one, or that itself.
func underTLS(c net.Conn) net.Conn {
	if carried, ok := c.(interface{ NetConn() net.Conn }); ok {
		return carried.NetConn()
	}
	return c
}

// maxLingering is how many refused connections may be read to their end at once,
// beside those within the limit.
func maxLingering(limit int) int { return min(64, 1+limit/16) }

const tooManyConnections = "HTTP/1.1 503 Service Unavailable\r\n" +
	"Connection: close\r\nRetry-After: 1\r\nCache-Control: no-store\r\n" +
	"Content-Type: application/problem+json\r\nContent-Length: 118\r\n\r\n" +
	`{"type":"about:blank","title":"Service Unavailable","status":503,"code":"overloaded","detail":"too many connections"}` + "\n"

// add takes a connection in, unless there are too many.
func (cs *connections) add(accepted net.Conn, role listenerRole) *connection {
	peer := peerOf(accepted)
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if !cs.hasRoom(role) {
		return nil
	}
	cs.made++
	if role == metricsOnly {
		cs.watchers++
	} else {
		cs.metrics.Connections.Inc()
	}
	carrier := underTLS(accepted)
	if tcp, ok := carrier.(*net.TCPConn); ok {
		// A write then waits for tens of kilobytes to be read, not for megabytes,
		// and its deadline means that the client does not read.
		_ = tcp.SetWriteBuffer(sendBuffer)
	}
	c := &connection{
		Conn: accepted, connections: cs, peer: peer, isTLS: carrier != accepted,
		role: role, number: cs.made, stripe: cs.made % metrics.Stripes,
	}
	_ = c.setReadEnd(time.Now().Add(cs.timeouts().Header))
	if cs.open == nil {
		cs.open = map[*connection]struct{}{}
	}
	cs.open[c] = struct{}{}
	return c
}

func (cs *connections) hasRoom(role listenerRole) bool {
	if role == metricsOnly {
		return cs.watchers < maxWatchers
	}
	return len(cs.open)-cs.watchers < cs.settings.Load().MaxConnections
}

const sendBuffer = 64 << 10

func (cs *connections) remove(c *connection) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if _, ok := cs.open[c]; ok {
		delete(cs.open, c)
		if c.role == metricsOnly {
			cs.watchers--
		} else {
			cs.metrics.Connections.Dec()
		}
	}
}

// wait waits until the last connection has been served.
func (cs *connections) wait(ctx context.Context) error { return cs.waitWhere(ctx, all) }

// waitWhere waits until there is no such connection.
func (cs *connections) waitWhere(ctx context.Context, chosen func(*connection) bool) error {
	for cs.countWhere(chosen) > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// count is the number of connections that are open or still being served.
func (cs *connections) count() int { return cs.countWhere(all) }

func (cs *connections) countWhere(chosen func(*connection) bool) (n int) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for c := range cs.open {
		if chosen(c) {
			n++
		}
	}
	return n
}

func all(*connection) bool { return true }

// firstWords is how long a client that was just accepted has for its first
// request when the server stops.
const firstWords = 200 * time.Millisecond

// stop closes the connections on which nothing has come yet, after a moment in
// which their request may come: it was under way when the server was told to stop.
// fasthttp knows the idle ones between requests, but waits seconds for these.
func (cs *connections) stop(ctx context.Context) {
	isSilent := func(c *connection) bool { return !c.spoke.Load() }
	limited, cancel := context.WithTimeout(ctx, firstWords)
	defer cancel()
	_ = cs.waitWhere(limited, isSilent)
	cs.closeWhere(isSilent)
}

func (cs *connections) closeAll() { cs.closeWhere(all) }

func (cs *connections) closeWhere(chosen func(*connection) bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for c := range cs.open {
		if chosen(c) {
			_ = underTLS(c.Conn).Close() // without the words of TLS, which could wait
		}
	}
}
