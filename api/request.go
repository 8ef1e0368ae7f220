package api

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"
	"github.com/valyala/fasthttp"

	"tokend/api/wire"
	"tokend/kv"
	"tokend/metrics"
)

// request is a request on its way through the adapter. It is used again for
// another one, so nothing of it may be kept.
type request struct {
	received

	// What stays from one request to the next. The pool has some for each core.
	stripe int // of metrics
	ids    idMaker
	space  []byte // to build an answer in

	crowd crowd
	pool  *requestPool
}

// received is what belongs to one request.
type received struct {
	ctx        *fasthttp.RequestCtx
	receivedAt time.Time
	id         []byte // the client's own, or made

	authorization, apiKey header // an empty one is none
	bareBearer            bool   // there is an Authorization of Bearer and nothing else, which is none either

	admin  Admin    // who asks, on a route that needs an admin
	holder string   // the name of the token that the caller presented, if that is known
	grant  kv.Grant // of that token, on a route that checks it
	query  url.Values

	body     []byte
	bodyRead bool // to its end

	leave func() // a place among the requests under way; nil: it has none

	failed   string         // the code of the problem that was answered
	verified bool           // what was presented to be verified was
	verdict  metrics.Result // of that
	audited  audited
}

// requestPool keeps requests that are not under way.
type requestPool struct {
	pool sync.Pool
	made atomic.Uint32
}

func (p *requestPool) get(ctx *fasthttp.RequestCtx) *request {
	r, ok := p.pool.Get().(*request)
	if !ok {
		r = &request{
			stripe: int(p.made.Add(1) % metrics.Stripes),
			ids:    idMaker{random: bufio.NewReaderSize(rand.Reader, 1<<10)},
			pool:   p,
		}
	}
	r.ctx = ctx
	return r
}

// header is a header that must not be there twice.
type header struct {
	count int
	value []byte // of the first
}

func (h *header) add(value []byte) {
	if h.count == 0 {
		h.value = value
	}
	h.count++
}

func (r *request) release() {
	if r.leave != nil {
		r.leave()
	}
	r.received = received{}
	r.pool.pool.Put(r)
}

// readBody takes the body. It is called once the request is allowed to have
// one.
func (r *request) readBody(limit int) error {
	stream := r.ctx.RequestBodyStream()
	if stream == nil || r.bodyRead {
		return nil
	}
	announced := r.ctx.Request.Header.ContentLength()
	if announced > limit {
		return bodyTooLarge(limit)
	}
	body, err := io.ReadAll(io.LimitReader(stream, int64(limit)+1))
	switch {
	case err != nil:
		return brokenRequest(err)
	case len(body) > limit:
		return bodyTooLarge(limit)
	case len(body) < announced: // fasthttp takes a connection that ends for the body's end
		return badRequest("the body is shorter than its Content-Length")
	}
	r.body, r.bodyRead = body, true
	return nil
}

// closeIfUnclear closes the connection of a request where it is not clear where the
// next one begins. A body in chunks is such: fasthttp takes lines of them that others
// read differently (RFC 9112, section 7.1). So is one that is left unread and not small:
// fasthttp reads over a small one. A client that is still sending must be let to, for a
// moment, if it is to read the answer.
func (r *request) closeIfUnclear(stopping bool) {
	if r.ctx.RequestBodyStream() == nil {
		return
	}
	announced := r.ctx.Request.Header.ContentLength()
	if announced == chunked || announced > maxBodyBytes && !r.bodyRead {
		r.ctx.Response.SetConnectionClose()
	} else if r.bodyRead {
		return
	}
	r.connection().linger = stopping || r.ctx.Response.ConnectionClose() || r.ctx.Request.Header.ConnectionClose()
}

// connection is nil for a request that came by none.
func (r *request) connection() *connection {
	c, _ := r.ctx.Conn().(*connection)
	return c
}

// identify looks at the headers that many requests have, and gives the request
// the client's own id where it sent a sane one.
func (r *request) identify(now time.Time) {
	var id []byte
	for name, value := range r.ctx.Request.Header.All() {
		switch string(name) {
		case "Authorization":
			value = trimEnd(value)
			if bytes.EqualFold(value, bearerName) {
				r.bareBearer = true
			} else if len(value) > 0 {
				r.authorization.add(value)
			}
		case "X-Api-Key":
			if value = trimEnd(value); len(value) > 0 {
				r.apiKey.add(value)
			}
		case wire.HeaderRequestID:
			if id == nil {
				id = value
			}
		}
	}
	if len(id) == 0 || len(id) > 64 || !isSane(id) || mayBeValue(id) {
		id = r.ids.next(now)
	}
	r.id = id
}

// trimEnd takes the white space of a header's value away that fasthttp leaves at its end (RFC
// 9110, section 5.5).
func trimEnd(value []byte) []byte {
	for len(value) > 0 && (value[len(value)-1] == ' ' || value[len(value)-1] == '\t') {
		value = value[:len(value)-1]
	}
	return value
}

// idMaker makes request ids: ULIDs, which sort by time.
type idMaker struct {
	random *bufio.Reader // of what the system gives, in larger portions
	id     ulid.ULID
	text   [ulid.EncodedSize]byte
}

// next is good until it is called again.
func (m *idMaker) next(now time.Time) []byte {
	err := m.id.SetTime(ulid.Timestamp(now))
	if err == nil {
		_, err = io.ReadFull(m.random, m.id[6:])
	}
	if err == nil {
		err = m.id.MarshalTextTo(m.text[:])
	}
	if err != nil {
		panic(err) // the time is not after the year 10889, and crypto/rand does not fail
	}
	return m.text[:]
}

func isSane(id []byte) bool {
	for _, c := range id {
		sane := '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || c == '.' || c == '_' || c == '-'
		if !sane {
			return false
		}
	}
	return true
}

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
