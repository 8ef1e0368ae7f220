package api

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/valyala/fasthttp"

	"tokend/api/wire"
	"tokend/kv"
)

// problem is an answer that says what went wrong (RFC 9457). Its code is stable
// and documented in openapi.yaml.
type problem struct {
	status int
	code   string
	detail string
	field  string // where one field is at fault

	scheme     string // for WWW-Authenticate; empty: Bearer
	challenge  string // for WWW-Authenticate, after the realm
	allow      string // for 405
	retryAfter string // seconds, where a later try may succeed
	close      bool   // the connection is not fit for another request
	oauth      string // for OAuth clients: an error of RFC 6749, section 5.2
}

// refusesCaller is a problem with who asks for an introspection.
func (p *problem) refusesCaller() *problem {
	refusal := *p
	refusal.oauth = "invalid_client"
	return &refusal
}

func (p *problem) Error() string { return p.code + ": " + p.detail }

// Problems with a request as such.
var (
	errNotFound      = &problem{status: 404, code: wire.CodeNotFound, detail: "nothing is here; GET /openapi.yaml describes what is"}
	errNotFoundApart = &problem{status: 404, code: wire.CodeNotFound, detail: "nothing is here; this address has only /metrics, /healthz and /readyz"}
	errUnauthorized  = &problem{status: 401, code: wire.CodeUnauthorized, detail: "an admin token is expected: Authorization: Bearer <token>"}
	errNotLocalAdmin = &problem{status: 401, code: wire.CodeUnauthorized,
		detail: "your user is not an administrator here (admin_users), or a proxy passed the request on; an admin token is expected: Authorization: Bearer <token>"}
	errMalformed = &problem{status: 400, code: wire.CodeInvalidRequest, challenge: `error="invalid_request"`,
		detail: "exactly one Authorization header is expected: Bearer and one token"}
	errIssuedToken = &problem{status: 403, code: wire.CodeInsufficientScope, challenge: `error="insufficient_scope"`,
		detail: "issued tokens do not manage tokens; an admin token is expected"}
	errReadOnlyAdmin = &problem{status: 403, code: wire.CodeInsufficientScope, challenge: `error="insufficient_scope", scope="write"`,
		detail: "this admin token may only list"}
	errNoToken   = &problem{status: 401, code: wire.CodeUnauthorized, detail: "a token is expected: Authorization: Bearer <token>, or X-API-Key: <token>"}
	errTwoTokens = &problem{status: 400, code: wire.CodeInvalidRequest, challenge: `error="invalid_request"`,
		detail: "exactly one token is expected, in one Authorization or one X-API-Key header"}
	errReadOnlyToken = &problem{status: 403, code: wire.CodeInsufficientScope, challenge: `error="insufficient_scope", scope="write"`,
		detail: "this token may read, not write"}
	errNoCaller   = &problem{status: 401, code: wire.CodeUnauthorized, detail: "an admin token or an issued one is expected, as Bearer, as the password of Basic or as client_secret"}
	errTwoSecrets = &problem{status: 400, code: wire.CodeInvalidRequest, field: "client_secret",
		detail: "client_secret is given twice, or beside an Authorization header; one of them is expected (RFC 6749, section 2.3)"}
	errBasic           = &problem{status: 401, code: wire.CodeInvalidToken, scheme: "Basic", detail: "the password is not a token that is valid here"}
	errNothingToChange = &problem{status: 400, code: wire.CodeNothingToChange,
		detail: "nothing to change: give expiration_date, active or write beside the name"}
	errMisdirected = &problem{status: 421, code: wire.CodeMisdirected,
		detail: "this host name is not served here; use localhost, an IP address, or add it to allowed_hosts"}
	errHeaderTooLarge   = &problem{status: 431, code: wire.CodeHeadersTooLarge, detail: "the request's first line and headers are larger than 16 KiB", close: true}
	errTimeout          = &problem{status: 408, code: wire.CodeRequestTimeout, detail: "the request did not arrive in time", close: true}
	errAuditUnavailable = &problem{status: 503, code: wire.CodeAuditUnavailable, detail: "the call could not be recorded, so it was not carried out (audit.required)"}
	errVersion          = &problem{status: 505, code: wire.CodeHTTPVersion, detail: "HTTP/1.1 and HTTP/1.0 are spoken here", close: true}
	errBroken           = badRequest("the request is not valid HTTP")
	errInternalForProxy = &problem{status: 503, code: wire.CodeInternal, detail: errInternal.detail}
	errInternal         = &problem{status: 500, code: wire.CodeInternal, detail: "an unexpected failure; the server's log has it under the request id"}
)

// badRequest is a request whose framing cannot be trusted.
func badRequest(detail string) *problem {
	return &problem{status: 400, code: wire.CodeBadRequest, detail: detail, close: true}
}

func bodyTooLarge(limit int) *problem {
	return &problem{status: 413, code: wire.CodeBodyTooLarge, detail: fmt.Sprintf("the body is larger than %d KiB", limit>>10), close: true}
}

func methodNotAllowed(allow string) *problem {
	return &problem{status: 405, code: wire.CodeMethodNotAllowed, detail: "allowed here: " + allow, allow: allow}
}

// invalidField is a field or parameter that is not what it must be. The reason
// follows the field's name.
func invalidField(code, field, reason string) *problem {
	const longest = 128 // of what a client made up
	if len(field) > longest {
		field = strings.ToValidUTF8(field[:longest], "") + "…"
	}
	shown := cmp.Or(field, `""`)
	if strings.IndexFunc(field, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
		shown = strconv.Quote(field) // details are shown to people
	}
	return &problem{status: 400, code: code, detail: shown + " " + reason, field: cmp.Or(field, `""`)}
}

func invalidBody(field, reason string) *problem {
	return invalidField(wire.CodeInvalidBody, field, reason)
}
func invalidQuery(param, reason string) *problem {
	return invalidField(wire.CodeInvalidQuery, param, reason)
}
func invalidName(reason string) *problem { return invalidField(wire.CodeInvalidName, "name", reason) }
func invalidExpiration(reason string) *problem {
	return invalidField(wire.CodeInvalidExpirationDate, "expiration_date", reason)
}

// invalidCodes are the codes of fields that have one of their own.
var invalidCodes = map[string]string{
	"name":            wire.CodeInvalidName,
	"expiration_date": wire.CodeInvalidExpirationDate,
	"token":           wire.CodeInvalidValue,
}

// storeProblems is the table from the store's errors to answers. A detail that
// is empty is the error's own text. What is not here is a bare 500.
var storeProblems = []struct {
	err error
	problem
}{
	{kv.ErrInvalidToken, problem{status: 401, code: wire.CodeInvalidToken, challenge: `error="invalid_token"`, detail: "the token is not valid here"}},
	{kv.ErrNotFound, problem{status: 404, code: wire.CodeTokenNotFound, field: "name"}},
	{kv.ErrExists, problem{status: 409, code: wire.CodeNameTaken, field: "name"}},
	{kv.ErrValueTaken, problem{status: 409, code: wire.CodeValueTaken, field: "token"}},
	{kv.ErrFull, problem{status: 507, code: wire.CodeStorageFull, detail: "the disk is nearly full; nothing was changed"}},
	{kv.ErrBusy, problem{status: 503, code: wire.CodeOverloaded, detail: "too many changes are waiting; nothing was changed", retryAfter: "1"}},
	{kv.ErrStalled, problem{status: 503, code: wire.CodeStorageUnavailable, detail: "the disk does not answer; whether a change that got this answer was made is known when it does"}},
	{kv.ErrUnavailable, problem{status: 503, code: wire.CodeStorageUnavailable, detail: "a commit or the disk has failed, as the log says; whether a change that got this answer was made is known after a restart"}},
	{kv.ErrClosed, problem{status: 503, code: wire.CodeShuttingDown, detail: "the server is stopping", retryAfter: "1", close: true}},
}

// problemOf is the answer to an error. Known is false where the error is
// unexpected and belongs into the log.
func problemOf(err error) (p *problem, known bool) {
	if p, ok := errors.AsType[*problem](err); ok {
		return p, true
	}
	if invalid, ok := errors.AsType[*kv.InvalidError](err); ok {
		return invalidField(cmp.Or(invalidCodes[invalid.Field], wire.CodeInvalidBody), invalid.Field, invalid.Reason), true
	}
	if tooMany, ok := errors.AsType[*kv.TooManyError](err); ok {
		return &problem{status: 400, code: wire.CodeTooMany, detail: tooMany.Error() + "; nothing was changed"}, true
	}
	if missing, ok := errors.AsType[*kv.MissingError](err); ok {
		return &problem{status: 404, code: wire.CodeTokenNotFound, detail: missing.Error() + "; nothing was changed", field: "names"}, true
	}
	for _, entry := range storeProblems {
		if errors.Is(err, entry.err) {
			p := entry.problem
			if p.detail == "" {
				p.detail = err.Error()
			}
			return &p, true
		}
	}
	return errInternal, false
}

// brokenRequest is the answer to what fasthttp could not read. Its errors quote
// the request, so only their class is used.
func brokenRequest(err error) *problem {
	if _, ok := errors.AsType[*fasthttp.ErrSmallBuffer](err); ok {
		return errHeaderTooLarge
	}
	var timeout interface{ Timeout() bool } // fasthttp's own is no net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return errTimeout
	}
	return errBroken
}
