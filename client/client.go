// Package client is the Go client of tokend's HTTP API. The tokend command line is its first
// user.
//
//	c, err := client.New("unix:/run/tokend/tokend.sock", client.Options{Token: adminToken})
//	created, err := c.Create(ctx, client.NewToken{Name: "backup", Write: true})
//	fmt.Println(created.Value)
//
// # Errors
//
// What the server has against a request is a [*Problem]. An [*UnreachableError] is a server
// that does not answer, or not to the end; [ErrNotTokend] is an answer that no tokend gives. A
// client believes nothing that makes no sense, and gives back no text that a terminal would
// act upon: names, values and details have no control characters.
//
// # Concurrency
//
// A [Client] is safe for concurrent use. All its methods end when their context does. Whether
// a change was made is then unknown.
package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tokend/api/wire"
)

// Options say how a client asks.
type Options struct {
	// Token is an administrator's token. Without one, only Verify and Ready work, and on the
	// server's admin socket everything.
	Token string

	// AllowPlaintext lets tokens cross a network over http://. Without it, an address must be
	// a Unix socket, on loopback, or https://.
	AllowPlaintext bool

	// UserAgent is sent with each request. Empty is "tokend-client".
	UserAgent string

	// Patience bounds each wait for the server, not the whole of an answer. Zero is a minute.
	Patience time.Duration
}

// Client asks a running server. It follows no redirect and uses no proxy: what it sends is
// worth stealing.
type Client struct {
	address   string // as the user knows it
	base      string // of URLs
	token     string
	userAgent string
	http      *http.Client
}

// AddressError is an address that New does not take.
type AddressError struct{ Address string }

func (e *AddressError) Error() string {
	return fmt.Sprintf("the address %q is neither a URL like http://127.0.0.1:8470 nor unix:PATH", e.Address)
}

// PlaintextError is an address at which tokens would cross a network in plain text. See
// Options.AllowPlaintext.
type PlaintextError struct{ Address string }

func (e *PlaintextError) Error() string {
	return e.Address + " is not a loopback address: tokens would cross the network in plain text"
}

// New makes a client for an address: a URL, host:port or unix:PATH. It does not connect. It
// fails with an AddressError or a PlaintextError.
func New(address string, o Options) (*Client, error) {
	c := &Client{address: address, token: o.Token, userAgent: o.UserAgent}
	if c.userAgent == "" {
		c.userAgent = "tokend-client"
	}
	patience := o.Patience
	if patience == 0 {
		patience = time.Minute
	}
	dialer := &net.Dialer{Timeout: min(patience, 5*time.Second)}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		return &patientConn{conn, patience}, err
	}
	transport := &http.Transport{DialContext: dial, TLSHandshakeTimeout: min(patience, 10*time.Second)}
	c.http = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		c.base = "http://localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dial(ctx, "unix", path)
		}
		return c, nil
	}
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, &AddressError{c.address}
	}
	if u.Scheme == "http" && !isLoopback(u.Hostname()) && !o.AllowPlaintext {
		return nil, &PlaintextError{c.address}
	}
	c.base = u.Scheme + "://" + u.Host
	return c, nil
}

// Address is the server's address as it was given to New.
func (c *Client) Address() string { return c.address }

// HasToken reports whether the client asks with an administrator's token.
func (c *Client) HasToken() bool { return c.token != "" }

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// patientConn waits for a bounded time whenever it waits, however long it lasts altogether.
type patientConn struct {
	net.Conn

	patience time.Duration
}

func (c *patientConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.patience)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *patientConn) Write(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.patience)); err != nil { // also of a read that waits since the last answer
		return 0, err
	}
	return c.Conn.Write(p)
}

// request is what is asked.
type request struct {
	method, path string
	query        url.Values
	body         []byte
	accepts      string  // the content type of a success
	accepted     int     // a status that is a success too
	presents     *string // instead of the administrator's token
}

// send sends a request. The body of the answer, which is a success of the type that the
// request accepts, must be closed.
func (c *Client) send(ctx context.Context, asked request) (*http.Response, error) {
	target := c.base + asked.path
	if len(asked.query) > 0 {
		target += "?" + asked.query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, asked.method, target, bytes.NewReader(asked.body))
	if err != nil {
		return nil, err
	}
	token := c.token
	if asked.presents != nil {
		token = *asked.presents
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	r.Header.Set("User-Agent", c.userAgent)
	response, err := c.http.Do(r)
	if err != nil {
		return nil, c.unreachable(ctx, asked.method, err)
	}
	isSuccess := response.StatusCode == http.StatusOK || response.StatusCode == http.StatusCreated || response.StatusCode == asked.accepted
	if isSuccess && response.Header.Get("Content-Type") == asked.accepts {
		return response, nil
	}
	defer func() { _ = response.Body.Close() }()
	if isSuccess {
		return nil, c.NotTokend()
	}
	return nil, c.refusal(response)
}

// read reads an answer that is not a stream.
func (c *Client) read(ctx context.Context, response *http.Response) ([]byte, error) {
	const most = 16 << 20
	raw, err := io.ReadAll(io.LimitReader(c.body(ctx, response), most+1))
	if err == nil && len(raw) > most {
		err = c.NotTokend()
	}
	return raw, err
}

// body is the body of an answer. That it is cut off is an UnreachableError.
func (c *Client) body(ctx context.Context, response *http.Response) io.Reader {
	return &answerReader{c, ctx, response.Request.Method, response.Body}
}

type answerReader struct {
	client *Client
	ctx    context.Context //nolint:containedctx // for as long as the answer is read
	method string
	from   io.Reader
}

func (r *answerReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return n, err
	case r.ctx.Err() != nil:
		return n, context.Cause(r.ctx)
	}
	return n, &UnreachableError{Address: r.client.address, MayHaveChanged: mayChange(r.method), CutOff: true, Err: err}
}

type answerKey struct{}

// CopyAnswer gives a context whose requests copy the bodies of successful answers to a writer,
// as they are, once they were checked.
func CopyAnswer(ctx context.Context, to io.Writer) context.Context {
	return context.WithValue(ctx, answerKey{}, to)
}

func copyOf(ctx context.Context) io.Writer {
	if to, ok := ctx.Value(answerKey{}).(io.Writer); ok {
		return to
	}
	return io.Discard
}

// Ready asks whether tokens can be looked up, and changed.
func (c *Client) Ready(ctx context.Context) (ready wire.Readiness, err error) {
	nobody := ""
	response, err := c.send(ctx, request{
		method: http.MethodGet, path: wire.PathReady, accepts: wire.JSON, accepted: http.StatusServiceUnavailable, presents: &nobody,
	})
	if err != nil {
		return ready, err
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := c.read(ctx, response)
	if err == nil {
		err = c.decode(raw, &ready)
	}
	if err == nil && (ready.Status == "" || !isPlain(ready.Status+ready.Reason)) { // an overloaded server has a Problem
		err = c.NotTokend()
	}
	return ready, err
}
