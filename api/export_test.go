package api

import (
	"strings"

	"github.com/valyala/fasthttp"

	"tokend/kv"
)

// RouteKeys are the method and path of every route.
func RouteKeys() (keys [][2]string) {
	for _, rt := range routes {
		method := rt.method
		if method == anyMethod {
			method = "GET" // one that stands for all
		}
		keys = append(keys, [2]string{method, strings.Replace(rt.path, ":*", "", 1)})
	}
	return keys
}

// Document is openapi.yaml.
var Document = openAPIDocument

// TooManyConnections is the answer beyond the limit.
const TooManyConnections = tooManyConnections

// AddRoute adds a route to a server that is not serving yet.
func (s *Server) AddRoute(path string, handle func() string) {
	s.router.GET(path, s.adapt(&route{method: "GET", path: path, handle: func(*Server, *request) (reply, error) {
		return reply{kind: "text/plain", text: handle()}, nil
	}}))
}

// AddStream adds a route whose body calls next for each token that it lists.
func (s *Server) AddStream(path string, next func()) {
	s.router.GET(path, s.adapt(&route{method: "GET", path: path, handle: func(_ *Server, r *request) (reply, error) {
		reply, err := s.list(r)
		if err != nil {
			return reply, err
		}
		token := reply.stream.next
		reply.stream.next = func() (any, error, bool) {
			next()
			return token()
		}
		return reply, nil
	}}))
}

// DecodeToken decodes a body as POST and PUT do.
func DecodeToken(body []byte) (name string, err error) {
	var b tokenBody
	if err := decode(body, &b); err != nil {
		return "", err
	}
	spec, err := b.spec()
	return spec.Name, err
}

// ParseWholeNumber reads a JSON number.
var ParseWholeNumber = parseWholeNumber

// FieldOf is the field that an error names.
func FieldOf(err error) (status int, field string) {
	p, _ := problemOf(err)
	return p.status, p.field
}

// Codes are the codes of all problems.
func Codes() []string {
	codes := []string{"overloaded", "master_key_unusable"} // the first also of tooManyConnections
	for _, p := range []*problem{
		errNotFound, errUnauthorized, errMalformed, errIssuedToken, errNoToken, errTwoTokens, errReadOnlyToken, errNoCaller, errBasic, errInternalForProxy, errAuditUnavailable, errNotLocalAdmin, errReadOnlyAdmin, errMisdirected,
		bodyTooLarge(0), errHeaderTooLarge, errTimeout, errVersion, errBroken, errInternal, methodNotAllowed(""),
		invalidBody("", ""), invalidQuery("", ""), invalidName(""), invalidExpiration(""),
	} {
		codes = append(codes, p.code)
	}
	for _, code := range invalidCodes {
		codes = append(codes, code)
	}
	for _, err := range []error{&kv.TooManyError{}, &kv.MissingError{}, errNothingToChange} {
		p, _ := problemOf(err)
		codes = append(codes, p.code)
	}
	for _, entry := range storeProblems {
		codes = append(codes, entry.code)
	}
	return codes
}

// Connections is the number of open connections.
func (s *Server) Connections() int { return s.connections.count() }

// Handle answers a request that was read already.
func (s *Server) Handle(ctx *fasthttp.RequestCtx) { s.router.Handler(ctx) }

// CheckFraming is what the adapter thinks of a request's first line and headers, and
// how long its body is: -1 in chunks.
func CheckFraming(h *fasthttp.RequestHeader) (length int, err error) {
	const none = -2 // fasthttp's
	if length = h.ContentLength(); length == none {
		length = 0
	}
	return length, checkFraming(h, false)
}

// ParseQuery takes a query as the list does.
func ParseQuery(query string) error {
	var ctx fasthttp.RequestCtx
	ctx.Request.SetRequestURI("/_/token?" + query)
	r := (&requestPool{}).get(&ctx)
	defer r.release()
	if err := r.parseQuery(listParams); err != nil {
		return err
	}
	_, err := r.listQuery()
	return err
}

// TokenInForm finds the token to introspect.
var TokenInForm = tokenInForm

// ParseImportLine reads a line of an import and gives the problem with it.
func (s *Server) ParseImportLine(text []byte) (name string, wrong error) {
	l := s.parseLine(1, text)
	if l.wrong != nil {
		return "", l.wrong
	}
	return l.token.Name, nil
}
