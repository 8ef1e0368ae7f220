package api

import (
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"
	"github.com/valyala/fasthttp"

	"tokend/kv"
)

// request is a request on its way through the adapter.
type request struct {
	ctx   *fasthttp.RequestCtx
	id    string
	admin Admin    // who asks, behind a route that needs an admin
	grant kv.Grant // of the token that was presented, behind a route that checks it
	query url.Values
	space []byte // to build an answer in

	body     []byte
	bodyRead bool // to its end
}

// readBody takes the body. It is called once the request is allowed to have
// one.
func (r *request) readBody(limit int) error {
	stream := r.ctx.RequestBodyStream()
	if stream == nil {
		return nil
	}
	announced := r.ctx.Request.Header.ContentLength()
	if announced > limit {
		return errBodyTooLarge
	}
	body, err := io.ReadAll(io.LimitReader(stream, int64(limit)+1))
	switch {
	case err != nil:
		return brokenRequest(err)
	case len(body) > limit:
		return errBodyTooLarge
	case len(body) < announced: // fasthttp takes a connection that ends for the body's end
		return badRequest("the body is shorter than its Content-Length")
	}
	r.body, r.bodyRead = body, true
	return nil
}

// closeIfUnread closes the connection of a request whose body is left unread
// and not small: fasthttp reads over a small one to the next request. A client
// that is still sending must be let to, for a moment, if it is to read the
// answer.
func (r *request) closeIfUnread(stopping bool) {
	if r.bodyRead || r.ctx.RequestBodyStream() == nil {
		return
	}
	announced := r.ctx.Request.Header.ContentLength()
	if announced == chunked || announced > maxBodyBytes {
		r.ctx.Response.SetConnectionClose()
	}
	r.connection().linger = stopping || r.ctx.Response.ConnectionClose() || r.ctx.Request.Header.ConnectionClose()
}

func (r *request) connection() *connection { return r.ctx.Conn().(*connection) }

const requestIDHeader = "X-Request-Id"

// requestID is the client's own id where it sent a sane one.
func requestID(h *fasthttp.RequestHeader) string {
	id := h.Peek(requestIDHeader)
	if len(id) == 0 || len(id) > 64 {
		return newRequestID()
	}
	for _, c := range id {
		sane := '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || c == '.' || c == '_' || c == '-'
		if !sane {
			return newRequestID()
		}
	}
	return string(id)
}

func newRequestID() string { return ulid.Make().String() }

// parseQuery takes the query's parameters: each known, given once and not
// empty.
func (r *request) parseQuery(known []string) error {
	raw := string(r.ctx.URI().QueryString())
	if raw == "" {
		return nil
	}
	if slices.Contains(strings.Split(raw, "&"), "") {
		return invalidQuery("query", "has an empty parameter")
	}
	query, err := url.ParseQuery(raw)
	if err != nil {
		return invalidQuery("query", "is not well encoded")
	}
	for _, name := range slices.Sorted(maps.Keys(query)) { // so that the same query gets the same answer
		values := query[name]
		switch {
		case !utf8.ValidString(name):
			return invalidQuery("query", "is not valid UTF-8")
		case !slices.Contains(known, name):
			return invalidQuery(name, "is not a parameter here"+allowedHere(known))
		case len(values) > 1:
			return invalidQuery(name, "is given more than once")
		case values[0] == "":
			return invalidQuery(name, "is empty")
		}
	}
	r.query = query
	return nil
}

func allowedHere(known []string) string {
	if len(known) == 0 {
		return "; there are none"
	}
	return "; there is " + strings.Join(known, ", ")
}

// name is the query's name, or nil where it is not given.
func (r *request) name() *string {
	if values := r.query["name"]; len(values) > 0 {
		return &values[0]
	}
	return nil
}
