package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"tokend/api/wire"
)

// Problem is a server's refusal (RFC 9457). Its Code is stable; its Field is as the server
// sent it and may hold anything.
type Problem wire.Problem

func (p *Problem) Error() string {
	if p.Code == wire.CodeInternal {
		return fmt.Sprintf("%s (request %s)", p.Detail, p.RequestID)
	}
	return p.Detail
}

// CodeOf is the code of the Problem in an error, empty where there is none.
func CodeOf(err error) wire.Code {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p.Code
	}
	return ""
}

// UnreachableError is a server that does not answer.
type UnreachableError struct {
	Address        string
	MayHaveChanged bool // a change was asked for, and may have been made
	CutOff         bool // an answer began
	Err            error
}

func (e *UnreachableError) Error() string {
	if e.CutOff {
		return fmt.Sprintf("the answer of %s is cut off: %v", e.Address, e.Err)
	}
	return fmt.Sprintf("no server answers at %s: %v", e.Address, e.Err)
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// ErrNotTokend is returned for an answer that no tokend gives.
var ErrNotTokend = errors.New("this is not tokend")

type notTokendError struct{ address string }

func (e *notTokendError) Error() string { return "what answers at " + e.address + " is not tokend" }

func (*notTokendError) Is(target error) bool { return target == ErrNotTokend }

// NotTokend is the error of an answer that makes no sense, for whoever checks more of it than the
// client does. It is ErrNotTokend.
func (c *Client) NotTokend() error { return &notTokendError{c.address} }

// unreachable explains why there is no answer.
func (c *Client) unreachable(ctx context.Context, method string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // without the URL, which says nothing new
	}
	failure := &UnreachableError{Address: c.address, MayHaveChanged: mayChange(method), Err: err}
	if operation, ok := errors.AsType[*net.OpError](err); ok && operation.Op == "dial" {
		failure.MayHaveChanged = false
		failure.Err = operation.Err
		if syscall, ok := errors.AsType[*os.SyscallError](operation.Err); ok {
			failure.Err = syscall.Err // without the system call's name
		}
	}
	return failure
}

func mayChange(method string) bool { return method != http.MethodGet }

// refusal is what the server has against a request.
func (c *Client) refusal(response *http.Response) error {
	var p Problem
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err == nil {
		err = json.Unmarshal(body, &p)
	}
	if err != nil || p.Code == "" || p.Detail == "" || !isPlain(p.Type+p.Title+p.Code+p.Detail+p.RequestID) {
		return c.NotTokend()
	}
	return &p
}

// decode takes an answer that must be of a type.
func (c *Client) decode(raw []byte, into any) error {
	if err := json.Unmarshal(raw, into); err != nil {
		return c.NotTokend()
	}
	return nil
}

// isPlain reports whether a text is one line without anything that a terminal acts upon.
func isPlain(text string) bool {
	return utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool {
		return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
	}) < 0
}

func isName(name string) bool { return name != "" && isPlain(name) }

// isValue reports whether a text could be a value: visible ASCII.
func isValue(text string) bool {
	return text != "" && strings.IndexFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

func isStatus(status string) bool {
	return status == "active" || status == "inactive" || status == "expired"
}
