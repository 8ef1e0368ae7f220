package api

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"tokend/metrics"
)

// connections knows every open connection of all listeners: to limit their
// number, to give each write its own deadline, and to close them.
type connections struct {
	max     int
	write   time.Duration
	metrics *metrics.Metrics

	mu   sync.Mutex
	open map[*connection]struct{}
}

func (cs *connections) listen(l net.Listener) net.Listener { return &listener{l, cs} }

type listener struct {
	net.Listener
	connections *connections
}

// Accept gives the next connection within the limit. One beyond it is told so
// and closed: fasthttp's own answer says nothing of when to come again.
func (l *listener) Accept() (net.Conn, error) {
	for {
		accepted, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.connections.add(accepted); c != nil {
			return c, nil
		}
		l.connections.metrics.RefusedConnections.Inc()
		_ = accepted.SetWriteDeadline(time.Now().Add(time.Second)) // it fits the socket's buffer
		_, _ = io.WriteString(accepted, tooManyConnections)
		_ = accepted.Close()
	}
}

const tooManyConnections = "HTTP/1.1 503 Service Unavailable\r\n" +
	"Connection: close\r\nRetry-After: 1\r\nCache-Control: no-store\r\n" +
	"Content-Type: application/problem+json\r\nContent-Length: 118\r\n\r\n" +
	`{"type":"about:blank","title":"Service Unavailable","status":503,"code":"overloaded","detail":"too many connections"}` + "\n"

func (cs *connections) add(accepted net.Conn) *connection {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if len(cs.open) >= cs.max {
		return nil
	}
	c := &connection{Conn: accepted, connections: cs}
	if cs.open == nil {
		cs.open = map[*connection]struct{}{}
	}
	cs.open[c] = struct{}{}
	cs.metrics.Connections.Inc()
	return c
}

func (cs *connections) remove(c *connection) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if _, ok := cs.open[c]; ok {
		delete(cs.open, c)
		cs.metrics.Connections.Dec()
	}
}

// count is the number of connections that are open or still being served.
func (cs *connections) count() int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return len(cs.open)
}

// closeSilent closes the connections on which nothing has come yet. fasthttp
// knows the idle ones between requests, but waits seconds for these.
func (cs *connections) closeSilent() {
	cs.closeWhere(func(c *connection) bool { return !c.spoke.Load() })
}

func (cs *connections) closeAll() { cs.closeWhere(func(*connection) bool { return true }) }

func (cs *connections) closeWhere(chosen func(*connection) bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for c := range cs.open {
		if chosen(c) {
			_ = c.Conn.Close()
		}
	}
}

// connection is a client's connection.
type connection struct {
	net.Conn
	connections *connections
	spoke       atomic.Bool // a byte has come
	linger      bool        // the client may still be sending what will not be read
}

func (c *connection) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.spoke.Load() {
		c.spoke.Store(true)
	}
	return n, err
}

// Write gives each piece its own time, so that a long answer may take as long
// as the client keeps reading. (fasthttp's WriteTimeout is for the whole.)
func (c *connection) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.connections.write)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// Close lets a client that was refused in the middle of its request read the
// refusal: closing a socket with unread bytes makes the kernel reset it, and
// the answer may be lost on the way.
func (c *connection) Close() error {
	defer c.connections.remove(c)
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && c.linger && half.CloseWrite() == nil {
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		_, _ = io.CopyN(io.Discard, c.Conn, 1<<20)
	}
	return c.Conn.Close()
}
