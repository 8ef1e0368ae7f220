package api

import (
	"cmp"

	"tokend/api/wire"
	"tokend/kv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/valyala/fasthttp"
)

// reply is what a handler answers where nothing went wrong. At most one of
// data, plain, json, text, stream and written is set.
type reply struct {
	status int    // 0: 200
	data   any    // shown as {"data":[…]}
	plain  any    // shown as it is
	json   []byte // encoded already; it is copied
	text   string // with kind, its content type
	kind   string
	stream *stream

	// identity is whose token was checked; an application reads it in headers.
	identity *kv.Grant

	written bool   // the handler has written the answer itself
	allow   string // for OPTIONS
}

func (r *request) succeed(reply reply) {
	answer := &r.ctx.Response
	r.addHeaders()
	if reply.written {
		return
	}
	if reply.status != 0 {
		answer.SetStatusCode(reply.status)
	}
	if reply.allow != "" {
		answer.Header.Set(fasthttp.HeaderAllow, reply.allow)
	}
	switch {
	case reply.data != nil:
		r.writeJSON(wire.JSON, wire.Data[any]{Data: []any{reply.data}})
	case reply.plain != nil:
		r.writeJSON(wire.JSON, reply.plain)
	case reply.json != nil:
		answer.Header.SetContentType(wire.JSON)
		answer.SetBody(reply.json)
	case reply.stream != nil:
		r.audited.begun = true
		r.writeStream(reply.stream)
	case reply.kind != "":
		answer.Header.SetContentType(reply.kind)
		answer.SetBodyString(reply.text)
	}
	if reply.identity != nil {
		r.addIdentity(reply.identity)
	}
}

// fail answers with a problem, whatever was prepared before.
func (r *request) fail(p *problem) {
	r.failed = p.code
	answer := &r.ctx.Response
	answer.Reset()
	r.addHeaders()
	answer.SetStatusCode(p.status)
	if p.status == fasthttp.StatusUnauthorized || p.challenge != "" {
		challenge := cmp.Or(p.scheme, "Bearer") + ` realm="tokend"`
		if p.challenge != "" {
			challenge += ", " + p.challenge
		}
		answer.Header.Set(fasthttp.HeaderWWWAuthenticate, challenge)
	}
	if p.allow != "" {
		answer.Header.Set(fasthttp.HeaderAllow, p.allow)
	}
	if p.retryAfter != "" {
		answer.Header.Set(fasthttp.HeaderRetryAfter, p.retryAfter)
	}
	if p.close {
		answer.SetConnectionClose()
		if c := r.connection(); c != nil {
			c.linger = true
		}
	}
	r.writeJSON(wire.ProblemJSON, wire.Problem{
		Type:       "about:blank",
		Title:      fasthttp.StatusMessage(p.status),
		Status:     p.status,
		Code:       p.code,
		Detail:     valueShape.ReplaceAllLiteralString(p.detail, hidden), // which may have been pasted into the wrong place
		Field:      valueShape.ReplaceAllLiteralString(p.field, hidden),
		RequestID:  string(r.id),
		OAuthError: p.oauth,
	})
}

var (
	requestIDName    = []byte(wire.HeaderRequestID)
	cacheControlName = []byte(fasthttp.HeaderCacheControl)
	noStore          = []byte("no-store")
)

// addHeaders adds what every answer carries.
func (r *request) addHeaders() {
	h := &r.ctx.Response.Header
	h.SetCanonical(requestIDName, r.id)
	h.SetCanonical(cacheControlName, noStore)
}

func (r *request) writeJSON(kind string, v any) {
	encoded, err := json.Marshal(v, jsontext.AllowInvalidUTF8(true)) // an error must never fail
	if err != nil {
		panic(err) // the views always encode
	}
	r.ctx.Response.Header.SetContentType(kind)
	r.ctx.Response.SetBody(append(encoded, '\n'))
}

// writeStream sends a stream in chunks, or to HTTP/1.0, which has none, with its
// length.
func (r *request) writeStream(l *stream) {
	size := -1
	if !r.ctx.Request.Header.IsHTTP11() {
		var err error
		if size, err = l.Length(); err != nil {
			_ = l.Close()
			p, _ := problemOf(err)
			r.fail(p)
			return
		}
	}
	r.ctx.Response.Header.SetContentType(l.form.kind)
	r.ctx.Response.SetBodyStream(l, size)
}
