package api

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// connection is a client's connection. One goroutine reads and writes it.
//
// It keeps the time-outs itself, since fasthttp would look at the clock and move
// a deadline several times for each request, which costs more than all of the
// checks on it. A deadline that is set stays for a while: a client may get a
// sixteenth less time to be idle, or more to take a piece of an answer.
type connection struct {
	net.Conn
	connections *connections
	peer        peer
	isTLS       bool
	role        listenerRole
	number      int         // of all that were made
	stripe      int         // of metrics
	spoke       atomic.Bool // a byte has come
	linger      bool        // the client may still be sending what will not be read

	awaits    awaited
	crowded   bool      // others were served a moment ago, so more are likely to wait
	answered  time.Time // when the answer that is about to be written was made; zero: another one is
	wrote     time.Time // when the last Write began
	readEnds  time.Time // the deadline that is set
	writeEnds time.Time // the deadline that is set
}

// awaited is what the next Read is for.
type awaited int

const (
	firstRequest awaited = iota // its deadline is set when the connection opens
	anotherRequest
	restOfHeaders // its deadline is not set yet
	restOfRequest
)

// answer is told when an answer was made, and whether the server has much to do.
func (c *connection) answer(at time.Time, crowded bool) { c.answered, c.crowded = at, crowded }

// onState follows what fasthttp does with the connection. It is told of a request
// when the first byte is there, be it from the network or from what was read
// with the request before.
func (c *connection) onState(state fasthttp.ConnState) {
	switch {
	case state == fasthttp.StateIdle:
		c.awaits = anotherRequest
	case state == fasthttp.StateActive && c.awaits == anotherRequest:
		c.awaits = restOfHeaders
	}
}

func (c *connection) Read(p []byte) (int, error) {
	if err := c.limitRead(); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	if plain, ok := errors.AsType[tls.RecordHeaderError](err); ok && plain.Conn != nil {
		_ = plain.Conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = io.WriteString(plain.Conn, speaksTLS)
	}
	if n > 0 {
		c.connections.metrics.Received(c.stripe, n)
		if !c.spoke.Load() {
			c.spoke.Store(true)
		}
	}
	return n, err
}

// speaksTLS is the answer to plain HTTP where TLS is spoken.
const speaksTLS = "HTTP/1.0 400 Bad Request\r\n" +
	"Connection: close\r\nCache-Control: no-store\r\n" +
	"Content-Type: application/problem+json\r\nContent-Length: 115\r\n\r\n" +
	`{"type":"about:blank","title":"Bad Request","status":400,"code":"bad_request","detail":"use https here: TLS only"}` + "\n"

// limitRead sees to the deadline of a Read. Mostly there is nothing to do: a
// request comes whole, and soon after the one before.
func (c *connection) limitRead() error {
	switch c.awaits {
	case anotherRequest:
		if c.crowded {
			// Looking now would find nothing and cost a system call and a wait. While
			// others have their turn, the client's next request may come.
			runtime.Gosched()
		}
		idle := c.connections.timeouts().Idle
		ends := c.wrote.Add(idle)
		if later := ends.Sub(c.readEnds); later < 0 || later > idle/16 {
			return c.setReadEnd(ends)
		}
	case restOfHeaders:
		c.awaits = restOfRequest
		return c.setReadEnd(time.Now().Add(c.connections.timeouts().Header))
	case firstRequest, restOfRequest:
	}
	return nil
}

func (c *connection) setReadEnd(t time.Time) error {
	c.readEnds = t
	if c.isTLS { // it also writes where we read: its part of the handshake, new keys
		c.writeEnds = time.Time{}
		if err := c.SetWriteDeadline(t.Add(c.connections.timeouts().Write)); err != nil {
			return err
		}
	}
	return c.Conn.SetReadDeadline(t)
}

// SetReadDeadline is called for a request's body.
func (c *connection) SetReadDeadline(t time.Time) error {
	c.awaits = restOfRequest
	return c.setReadEnd(t)
}

// Write gives each piece its own time, so that a long answer may take as long
// as the client keeps reading. (fasthttp's WriteTimeout is for the whole.)
func (c *connection) Write(p []byte) (int, error) {
	if c.wrote, c.answered = c.answered, (time.Time{}); c.wrote.IsZero() {
		c.wrote = time.Now()
	}
	timeout := c.connections.timeouts().Write
	if c.writeEnds.Sub(c.wrote) < timeout {
		c.writeEnds = c.wrote.Add(timeout + timeout/16)
		if err := c.SetWriteDeadline(c.writeEnds); err != nil {
			return 0, err
		}
	}
	n, err := c.Conn.Write(p)
	c.connections.metrics.Sent(c.stripe, n)
	return n, err
}

// Close closes the connection, gently where the client may still be sending.
func (c *connection) Close() error {
	defer c.connections.remove(c)
	if c.linger {
		closeGently(c.Conn)
		return nil
	}
	return c.Conn.Close()
}

// closeGently lets a client that was refused in the middle of its request read
// the refusal: closing a socket with unread bytes makes the kernel reset it, and
// the answer may be lost on the way.
func closeGently(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		_, _ = io.CopyN(io.Discard, c, 8<<20) // as much as any request may bring
	}
	_ = c.Close()
}
