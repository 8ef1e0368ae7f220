package api

import (
	"slices"
	"strings"

	"github.com/fasthttp/router"
	"github.com/valyala/fasthttp"
)

// access says who may use a route.
type access int

const (
	anyone access = iota
	readAdmin
	writeAdmin
)

// route is everything that is to be known about a path and method.
type route struct {
	method string
	path   string
	access access
	params []string // query parameters; others are refused
	local  bool     // on loopback, only for a Host that means this machine
	handle func(*Server, *request) (reply, error)
}

// routes is what the server serves. HEAD is served wherever GET is; OPTIONS and
// 405 follow from the table.
var routes = []route{
	{method: "POST", path: "/_/token", access: writeAdmin, handle: (*Server).createToken},
	{method: "GET", path: "/_/token", access: readAdmin, params: []string{"name"}, handle: (*Server).listTokens},
	{method: "PUT", path: "/_/token", access: writeAdmin, handle: (*Server).replaceToken},
	{method: "DELETE", path: "/_/token", access: writeAdmin, params: []string{"name"}, handle: (*Server).deleteToken},
	{method: "GET", path: "/_/token/value", access: writeAdmin, params: []string{"name"}, handle: (*Server).tokenValue},

	{method: "GET", path: "/healthz", handle: (*Server).healthz},
	{method: "GET", path: "/readyz", handle: (*Server).readyz},
	{method: "GET", path: "/metrics", local: true, handle: (*Server).scrape},
	{method: "GET", path: "/version", local: true, handle: (*Server).version},
	{method: "GET", path: "/openapi.yaml", local: true, handle: (*Server).openAPI},
	{method: "GET", path: "/", local: true, handle: (*Server).frontPage},
}

// known is false for the routes that stand for an unknown path or method.
func (rt route) known() bool { return rt.method != "" }

// strictQuery reports whether unknown query parameters are refused.
func (rt route) strictQuery() bool { return strings.HasPrefix(rt.path, "/_/") }

// newRouter registers the table, and for each path an answer to every other
// method. The router's own redirects, OPTIONS and 405 would go past the adapter.
func (s *Server) newRouter() *router.Router {
	r := router.New()
	r.RedirectFixedPath = false
	r.RedirectTrailingSlash = false
	r.HandleOPTIONS = false
	r.HandleMethodNotAllowed = false

	methods := map[string][]string{}
	for _, rt := range routes {
		handler := s.adapt(rt)
		r.Handle(rt.method, rt.path, handler)
		methods[rt.path] = append(methods[rt.path], rt.method)
		if rt.method == fasthttp.MethodGet {
			r.HEAD(rt.path, handler)
			methods[rt.path] = append(methods[rt.path], fasthttp.MethodHead)
		}
	}
	for path, allowed := range methods {
		r.ANY(path, s.adapt(otherMethods(path, allowed)))
	}
	r.NotFound = s.adapt(route{path: "(unknown)", handle: func(*Server, *request) (reply, error) {
		return reply{}, errNotFound
	}})
	return r
}

// otherMethods answers the methods that a path does not have.
func otherMethods(path string, allowed []string) route {
	allowed = append(allowed, fasthttp.MethodOptions)
	slices.Sort(allowed)
	allow := strings.Join(allowed, ", ")
	return route{path: path, handle: func(_ *Server, r *request) (reply, error) {
		if string(r.ctx.Method()) == fasthttp.MethodOptions {
			return reply{status: fasthttp.StatusNoContent, allow: allow}, nil
		}
		return reply{}, methodNotAllowed(allow)
	}}
}
