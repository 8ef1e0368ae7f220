package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json"
)

// client asks a running server. It follows no redirect and uses no proxy: what
// it sends is worth stealing.
type client struct {
	address string // as the user knows it
	base    string // of URLs
	token   string // of an administrator; empty: none
	source  string // of token, for people
	http    *http.Client
}

// newClient makes a client for an address: a URL, host:port or unix:PATH.
func newClient(address string, allowPlaintext bool) (*client, error) {
	c := &client{address: address}
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		return &patientConn{conn}, err
	}
	transport := &http.Transport{DialContext: dial, TLSHandshakeTimeout: 10 * time.Second}
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
		return nil, &usageError{fmt.Errorf("the address %q is neither a URL like http://127.0.0.1:8470 nor unix:PATH", c.address)}
	}
	if u.Scheme == "http" && !isLoopback(u.Hostname()) && !allowPlaintext {
		return nil, &hintedError{
			fmt.Errorf("%s is not a loopback address: tokens would cross the network in plain text", c.address),
			"use https://, or --allow-plaintext where the network is trusted",
		}
	}
	c.base = u.Scheme + "://" + u.Host
	return c, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// patientConn waits for a bounded time whenever it waits, however long it lasts
// altogether.
type patientConn struct{ net.Conn }

const patience = time.Minute

func (c *patientConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *patientConn) Write(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil { // also of a read that waits since the last answer
		return 0, err
	}
	return c.Conn.Write(p)
}

// exitError is an error with an exit code of its own.
type exitError struct {
	error
	code int
}

func (e *exitError) Unwrap() error { return e.error }

// problem is a server's refusal (RFC 9457).
type problem struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Field  string `json:"field"`
	ID     string `json:"request_id"`
}

func (p *problem) Error() string {
	if p.Code == "internal" {
		return fmt.Sprintf("%s (request %s)", p.Detail, p.ID)
	}
	return p.Detail
}

// Content types of answers.
const (
	jsonType     = "application/json"
	linesType    = "application/x-ndjson"
	sequenceType = "application/cbor-seq"
)

// send sends a request as the administrator. The body of the answer, which is a
// success of the wanted type, must be closed.
func (c *client) send(ctx context.Context, want, method, path string, query url.Values, body []byte) (*http.Response, error) {
	return c.sendAs(ctx, c.token, want, method, path, query, body)
}

func (c *client) sendAs(ctx context.Context, token, want, method, path string, query url.Values, body []byte) (*http.Response, error) {
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	r.Header.Set("User-Agent", "tokend/"+build().Version)
	response, err := c.http.Do(r)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	isSuccess := response.StatusCode == http.StatusOK || response.StatusCode == http.StatusCreated
	if isSuccess && response.Header.Get("Content-Type") == want {
		return response, nil
	}
	defer func() { _ = response.Body.Close() }()
	if isSuccess {
		return nil, c.senseless()
	}
	return nil, c.refusal(response)
}

// unreachable explains why there is no answer.
func (c *client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errInterrupted
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // without the URL, which says nothing new
	}
	hint := "is it running? tokend starts it; --addr or TOKEND_ADDR says where it is"
	if errors.Is(err, fs.ErrPermission) {
		hint = "your user may not use the socket; try sudo"
	}
	if operation, ok := errors.AsType[*net.OpError](err); ok && operation.Op == "dial" {
		err = cause(operation.Err)
	} else {
		hint = "if something was to be changed, it may have been; the list shows it"
	}
	return &exitError{&hintedError{fmt.Errorf("no server answers at %s: %w", c.address, err), hint}, exitUnreachable}
}

// refusal is what the server has against a request.
func (c *client) refusal(response *http.Response) error {
	var p problem
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err == nil {
		err = json.Unmarshal(body, &p)
	}
	if err != nil || p.Code == "" || p.Detail == "" || !isPlain(p.Detail+p.ID) {
		return c.senseless()
	}
	switch p.Code {
	case "invalid_token", "unauthorized":
		if c.token == "" && p.Code == "unauthorized" {
			return &hintedError{errors.New("your user is no administrator of this server"),
				"try sudo, have your user put into admin_users, or name an admin token with --admin-token-file or TOKEND_ADMIN_TOKEN_FILE"}
		}
		if c.token != "" {
			return &hintedError{fmt.Errorf("the server does not know the admin token in %s", c.source),
				"--admin-token-file or TOKEND_ADMIN_TOKEN_FILE names another one"}
		}
	case "insufficient_scope":
		if c.token != "" {
			return fmt.Errorf("the admin token in %s may not do this: %w", c.source, &p)
		}
	case "name_taken":
		return &hintedError{&p, "tokend token rotate gives it another value, tokend token update changes it"}
	case "shutting_down", "overloaded":
		return &exitError{&p, exitUnreachable}
	}
	return &p
}

// ask sends a request and gives the objects of the answer, and the answer as it
// came.
func ask[T any](ctx context.Context, c *client, method, path string, query url.Values, body any) (data []T, raw []byte, err error) {
	var encoded []byte
	if body != nil {
		if encoded, err = json.Marshal(body); err != nil {
			return nil, nil, err
		}
	}
	response, err := c.send(ctx, jsonType, method, path, query, encoded)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if raw, err = c.readAnswer(ctx, response); err != nil {
		return nil, nil, err
	}
	data, err = decodeData[T](c, raw)
	return data, raw, err
}

// readAnswer reads an answer that is not a stream.
func (c *client) readAnswer(ctx context.Context, response *http.Response) ([]byte, error) {
	const most = 16 << 20
	raw, err := io.ReadAll(io.LimitReader(response.Body, most+1))
	switch {
	case err != nil:
		return nil, c.unreachable(ctx, err)
	case len(raw) > most:
		return nil, c.senseless()
	}
	return raw, nil
}

func encodeData[T any](one T) ([]byte, error) {
	encoded, err := json.Marshal(struct {
		Data []T `json:"data"`
	}{[]T{one}})
	return append(encoded, '\n'), err
}

// decodeData takes an answer of one object, if that makes sense.
func decodeData[T any](c *client, raw []byte) ([]T, error) {
	var answer struct {
		Data []T `json:"data"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil || len(answer.Data) != 1 {
		return nil, c.senseless()
	}
	if sensible, ok := any(&answer.Data[0]).(interface{ makesSense() bool }); ok && !sensible.makesSense() {
		return nil, c.senseless()
	}
	return answer.Data, nil
}

// senseless is an answer that no tokend gives.
func (c *client) senseless() error {
	return &exitError{&hintedError{
		fmt.Errorf("what answers at %s is not tokend", c.address),
		"--addr or TOKEND_ADDR says where it is",
	}, exitUnreachable}
}

// isPlain reports whether a text has nothing that a terminal acts upon, and is
// one line: what holds for names.
func isPlain(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) }) < 0
}
