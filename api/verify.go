package api

import (
	"bytes"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"tokend/api/wire"
	"tokend/kv"
	"tokend/metrics"
)

// authorizeHolder lets pass whoever presents a good token, and notes what it
// grants.
func (s *Server) authorizeHolder(r *request) (err error) {
	token, err := r.presented()
	if err == nil {
		r.grant, err = s.store.Verify(token)
		r.holder = r.grant.Name
	}
	r.recordVerdict(err)
	return err
}

// authorizeScraper lets pass anyone, or only who presents a good token.
func (s *Server) authorizeScraper(r *request) error {
	if !s.settings.Load().MetricsToken {
		return nil
	}
	token, err := r.presented()
	if err != nil {
		return err
	}
	return s.verifyFor(token, read)
}

// verifyFor verifies a token that must be enough for a need.
func (s *Server) verifyFor(token []byte, n need) error {
	grant, err := s.store.Verify(token)
	if err == nil && !permits(&grant, n) {
		err = errReadOnlyToken
	}
	return err
}

// presented is the one token in Authorization: Bearer or in X-API-Key.
func (r *request) presented() ([]byte, error) {
	scheme, token, ok := splitAuthorization(r.authorization.value)
	switch {
	case r.authorization.count > 1 || r.apiKey.count > 1 || r.apiKey.count == 1 && scheme == bearer:
		return nil, errTwoTokens
	case r.apiKey.count == 1:
		return r.apiKey.value, nil
	case scheme != bearer:
		return nil, errNoToken
	case !ok:
		return nil, kv.ErrInvalidToken
	}
	return token, nil
}

// verify answers what the presented token grants.
func (s *Server) verify(r *request) (reply, error) {
	need, err := r.need()
	if err != nil {
		return reply{}, err
	}
	if err := r.require(need); err != nil {
		return reply{}, err
	}
	r.space = appendGrant(r.space[:0], &r.grant)
	return reply{json: r.space, identity: &r.grant}, nil
}

// need is what a token must be good for.
type need int

const (
	read need = iota
	write
)

// permits reports whether a grant is enough for a need. Every way to present a token asks it:
// verification and proxies by require, scrapes and introspection by verifyFor, and the scopes
// of an introspection.
func permits(g *kv.Grant, n need) bool {
	switch n {
	case read:
		return true
	case write:
		return g.Write
	}
	return false
}

// require refuses a token that is good, but not for this.
func (r *request) require(n need) error {
	if permits(&r.grant, n) {
		return nil
	}
	r.verdict = metrics.InsufficientScope
	return errReadOnlyToken
}

// need is the query's need, by default read.
func (r *request) need() (need, error) {
	switch need := r.query.Get("need"); need {
	case "", "read":
		return read, nil
	case "write":
		return write, nil
	default:
		return read, invalidQuery("need", "must be read or write")
	}
}

// appendGrant shows a grant as {"data":[…]}. It is written by hand, since it is
// the answer that has to be fast.
func appendGrant(b []byte, g *kv.Grant) []byte {
	b = append(b, `{"data":[{"name":`...)
	b, err := jsontext.AppendQuote(b, g.Name)
	if err != nil {
		panic(err) // names are UTF-8
	}
	b = append(b, `,"write":`...)
	b = strconv.AppendBool(b, g.Write)
	b = append(b, `,"expires":`...)
	b = strconv.AppendBool(b, g.Expires)
	b = append(b, `,"expiration_date":`...)
	b = strconv.AppendInt(b, g.ExpirationDate.UnixMilli(), 10)
	return append(b, "}]}\n"...)
}

// The headers that tell an application who called. All are there on every
// success, so that a proxy which copies them leaves nothing of the client's own.
var (
	tokenNameHeader    = []byte(wire.HeaderTokenName)
	tokenWriteHeader   = []byte(wire.HeaderTokenWrite)
	tokenRotatedHeader = []byte(wire.HeaderTokenRotated)
)

func (r *request) addIdentity(g *kv.Grant) {
	h := &r.ctx.Response.Header
	r.space = appendEscaped(r.space[:0], g.Name)
	h.SetCanonical(tokenNameHeader, r.space)
	h.SetCanonical(tokenWriteHeader, boolean(g.Write))
	h.SetCanonical(tokenRotatedHeader, boolean(!g.GraceEnds.IsZero()))
}

var trueText, falseText = []byte("true"), []byte("false")

func boolean(v bool) []byte {
	if v {
		return trueText
	}
	return falseText
}

// appendEscaped writes every byte that is not unreserved in RFC 3986 as %XX.
func appendEscaped(b []byte, name string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', bytes.IndexByte([]byte("-._~"), c) >= 0:
			b = append(b, c)
		default:
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return b
}
