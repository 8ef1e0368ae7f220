package api

import (
	"cmp"
	"slices"
	"strings"

	"tokend/api/wire"

	"github.com/fasthttp/router"
	"github.com/valyala/fasthttp"
)

// access says who may use a route.
type access int

const (
	anyone access = iota
	readAdmin
	writeAdmin
	holder       // of a good token
	proxied      // a proxy asks for a holder, in its dialect
	introspector // any admin or holder
	scraper      // anyone, or a holder where that is set
)

// route is everything that is to be known about a path and method.
type route struct {
	method     string
	path       string
	operation  string // what management it is, for the audit; empty: none
	access     access
	limit      int        // of the body, in bytes; 0: maxBodyBytes
	params     []string   // query parameters; others are refused
	need       needs      // of a proxy's check: what the original request needs
	local      bool       // on loopback, only for a Host that means this machine
	monitoring monitoring // whether it is for those who watch
	usual      int        // the status of most answers; 0: 200
	handle     func(*Server, *request) (reply, error)
}

// routes is what the server serves. HEAD is served wherever GET is; OPTIONS and
// 405 follow from the table.
var routes = []route{
	{method: "POST", path: wire.PathToken, operation: "create", access: writeAdmin, usual: 201, handle: (*Server).createToken},
	{method: "GET", path: wire.PathToken, operation: "list", access: readAdmin, params: listParams, handle: (*Server).listTokens},
	{method: "PUT", path: wire.PathToken, operation: "replace", access: writeAdmin, handle: (*Server).replaceToken},
	{method: "PATCH", path: wire.PathToken, operation: "update", access: writeAdmin, handle: (*Server).updateToken},
	{method: "DELETE", path: wire.PathToken, operation: "delete", access: writeAdmin, params: []string{"name"}, handle: (*Server).deleteToken},
	{method: "GET", path: wire.PathValue, operation: "value", access: writeAdmin, params: []string{"name"}, handle: (*Server).tokenValue},
	{method: "POST", path: wire.PathRotate, operation: "rotate", access: writeAdmin, handle: (*Server).rotateToken},
	{method: "POST", path: wire.PathBulk, operation: "bulk", access: writeAdmin, limit: 2 << 20, handle: (*Server).bulk},
	{method: "GET", path: wire.PathExport, operation: "export", access: writeAdmin, params: []string{"values"}, handle: (*Server).export},
	{method: "POST", path: wire.PathImport, operation: "import", access: writeAdmin, limit: 8 << 20, handle: (*Server).importTokens},
	{method: "GET", path: wire.PathBackup, operation: "backup", access: writeAdmin, handle: (*Server).backup},
	{method: "POST", path: wire.PathRekey, operation: "rekey", access: writeAdmin, handle: (*Server).rekey},

	{method: "GET", path: wire.PathVerify, access: holder, params: []string{"need"}, handle: (*Server).verify},
	{method: "POST", path: wire.PathVerify, access: holder, params: []string{"need"}, handle: (*Server).verify},
	{method: "POST", path: wire.PathIntrospect, access: introspector, handle: (*Server).introspect},

	{method: anyMethod, path: wire.PathAuthNginx, access: proxied, need: byHeader("X-Original-Method"), handle: (*Server).pass},
	{method: anyMethod, path: wire.PathAuthForward, access: proxied, need: byHeader("X-Forwarded-Method"), handle: (*Server).pass},
	{method: anyMethod, path: wire.PathAuthEnvoy, access: proxied, need: byOwnMethod, handle: (*Server).pass},
	{method: anyMethod, path: wire.PathAuthEnvoy + "/", access: proxied, need: byOwnMethod, handle: (*Server).pass},
	{method: anyMethod, path: wire.PathAuthEnvoy + "/{path:*}", access: proxied, need: byOwnMethod, handle: (*Server).pass},
	{method: anyMethod, path: wire.PathAuthRead, access: proxied, need: always(read), handle: (*Server).pass},
	{method: anyMethod, path: wire.PathAuthWrite, access: proxied, need: always(write), handle: (*Server).pass},

	{method: "GET", path: wire.PathHealth, monitoring: health, handle: (*Server).healthz},
	{method: "GET", path: wire.PathReady, monitoring: health, handle: (*Server).readyz},
	{method: "GET", path: wire.PathMetrics, monitoring: scraped, access: scraper, local: true, handle: (*Server).scrape},
	{method: "GET", path: wire.PathVersion, local: true, handle: (*Server).version},
	{method: "GET", path: wire.PathOpenAPI, local: true, handle: (*Server).openAPI},
	{method: "GET", path: "/", local: true, handle: (*Server).frontPage},
}

// monitoring is what a route is to those who watch.
type monitoring int

const (
	none    monitoring = iota
	health             // which is everywhere
	scraped            // which may be apart
)

// serves reports whether a route is there on the listener that a request came by.
func (s *Server) serves(r *request, rt *route) bool {
	if c := r.connection(); c != nil && c.role == metricsOnly {
		return rt.monitoring != none
	}
	return rt.monitoring != scraped || !s.metricsApart
}

// notFound says where something is.
func (s *Server) notFound(r *request) (reply, error) {
	if c := r.connection(); c != nil && c.role == metricsOnly {
		return reply{}, errNotFoundApart
	}
	return reply{}, errNotFound
}

// anyMethod is the method of a route that takes all, also ones that nobody
// knows.
const anyMethod = "any"

// known is false for the routes that stand for an unknown path or method.
func (rt *route) known() bool { return rt.method != "" }

// strictQuery reports whether unknown query parameters are refused.
func (rt *route) strictQuery() bool { return strings.HasPrefix(rt.path, "/_/") }

func (rt *route) bodyLimit() int { return cmp.Or(rt.limit, maxBodyBytes) }

// internal is the answer to an unexpected failure.
func (rt *route) internal() *problem {
	if rt.access == proxied {
		return errInternalForProxy
	}
	return errInternal
}

// newRouter registers the table, and for each path an answer to every other
// method. The router's own redirects, OPTIONS and 405 would go past the adapter.
func (s *Server) newRouter() *router.Router {
	r := router.New()
	r.RedirectFixedPath = false
	r.RedirectTrailingSlash = false
	r.HandleOPTIONS = false
	r.HandleMethodNotAllowed = false

	methods := map[string][]string{}
	monitorings := map[string]monitoring{}
	slashed := map[string]fasthttp.RequestHandler{} // the router cannot tell a path that ends in a slash from one that does not
	for i := range routes {
		rt := &routes[i]
		handler := s.adapt(rt)
		if rt.method == anyMethod {
			if strings.HasSuffix(rt.path, "/") {
				slashed[rt.path] = handler
			} else {
				r.ANY(rt.path, handler)
			}
			continue
		}
		r.Handle(rt.method, rt.path, handler)
		methods[rt.path] = append(methods[rt.path], rt.method)
		monitorings[rt.path] = rt.monitoring
		if rt.method == fasthttp.MethodGet {
			r.HEAD(rt.path, handler)
			methods[rt.path] = append(methods[rt.path], fasthttp.MethodHead)
		}
	}
	for path, allowed := range methods {
		r.ANY(path, s.adapt(otherMethods(path, allowed, monitorings[path])))
	}
	notFound := s.adapt(&route{path: "(unknown)", usual: 404, handle: (*Server).notFound})
	r.NotFound = func(ctx *fasthttp.RequestCtx) {
		if handler := slashed[string(ctx.URI().PathOriginal())]; handler != nil {
			handler(ctx)
			return
		}
		notFound(ctx)
	}
	return r
}

// otherMethods answers the methods that a path does not have.
func otherMethods(path string, allowed []string, monitoring monitoring) *route {
	allowed = append(allowed, fasthttp.MethodOptions)
	slices.Sort(allowed)
	allow := strings.Join(allowed, ", ")
	return &route{path: path, usual: 405, monitoring: monitoring, handle: func(_ *Server, r *request) (reply, error) {
		if string(r.ctx.Method()) == fasthttp.MethodOptions {
			return reply{status: fasthttp.StatusNoContent, allow: allow}, nil
		}
		return reply{}, methodNotAllowed(allow)
	}}
}
