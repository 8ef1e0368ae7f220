package api

import (
	"net/url"
	"slices"
	"strings"

	"github.com/oklog/ulid/v2"
	"github.com/valyala/fasthttp"
)

// request is a request on its way through the adapter.
type request struct {
	ctx   *fasthttp.RequestCtx
	id    string
	admin Admin // who asks, behind a route that needs an admin
	query url.Values
}

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
		return invalidField("invalid_query", "query", "has an empty parameter")
	}
	query, err := url.ParseQuery(raw)
	if err != nil {
		return invalidField("invalid_query", "query", "is not well encoded")
	}
	for name, values := range query {
		switch {
		case !slices.Contains(known, name):
			return invalidField("invalid_query", name, "is not a parameter here"+allowedHere(known))
		case len(values) > 1:
			return invalidField("invalid_query", name, "is given more than once")
		case values[0] == "":
			return invalidField("invalid_query", name, "is empty")
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

// param is a query parameter, or nil where it is not given.
func (r *request) param(name string) *string {
	if values := r.query[name]; len(values) > 0 {
		return &values[0]
	}
	return nil
}
