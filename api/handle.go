package api

import (
	"cmp"
	"runtime/debug"
	"slices"
	"time"

	"github.com/valyala/fasthttp"
)

// adapt makes a route's handler: every answer but those to broken requests goes
// through here.
func (s *Server) adapt(rt *route) fasthttp.RequestHandler {
	observe := s.recorder(rt)
	elsewhere := &route{path: rt.path, handle: (*Server).notFound}
	return func(ctx *fasthttp.RequestCtx) {
		start := time.Now()
		r := s.requests.get(ctx)
		rt := rt
		if !s.serves(r, rt) {
			rt = elsewhere
		}
		defer r.release()
		s.metrics.Begin(r.stripe)
		defer s.metrics.End(r.stripe)
		r.receivedAt = start
		r.identify(start)
		s.respond(r, rt)
		s.audit(r, rt)
		s.count(r, rt)
		r.closeIfUnclear(s.state.is(draining))
		took := time.Since(start)
		if c := r.connection(); c != nil {
			c.answer(start.Add(took), r.crowd.sees(c.number, start))
		}
		observe(r, took)
		if s.settings.Load().AccessLog {
			s.logAccess(r, rt, took)
		}
	}
}

// logAccess logs a request by its route: a raw path may hold anything.
func (s *Server) logAccess(r *request, rt *route, took time.Duration) {
	s.log.Info("request", "method", cmp.Or(methodOf(r), otherMethod), "route", rt.path, "status", r.ctx.Response.StatusCode(),
		"who", r.who(), "from", r.from(), "took", took, "request_id", string(r.id))
}

// methodOf is the request's method if it is one of HTTP's.
func methodOf(r *request) string {
	method := string(r.ctx.Method())
	if slices.Contains(knownMethods, method) {
		return method
	}
	return ""
}

var knownMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

func (s *Server) respond(r *request, rt *route) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("panic", "route", rt.path, "admin", r.admin.Name, "request_id", string(r.id), "panic", p, "stack", string(debug.Stack()))
			r.fail(rt.internal())
		}
	}()
	reply, err := s.answer(r, rt)
	if err == nil {
		reply.status = cmp.Or(reply.status, rt.usual)
		r.succeed(reply)
		return
	}
	s.countRefusal(rt, err)
	p, known := problemOf(err)
	if !known {
		p = rt.internal()
		s.log.Error("unexpected failure", "route", rt.path, "admin", r.admin.Name, "request_id", string(r.id), "err", err)
	}
	if rt.access == introspector && p.status == fasthttp.StatusUnauthorized {
		p = p.refusesCaller()
	}
	r.fail(p)
}

// answer carries out a request, with the checks in the order that the contract
// gives. Path and method come first: they chose the route.
func (s *Server) answer(r *request, rt *route) (reply, error) {
	if err := checkFraming(&r.ctx.Request.Header, rt.access == proxied); err != nil {
		return reply{}, err
	}
	if !rt.known() {
		return rt.handle(s, r)
	}
	if rt.local && !s.servesHost(r.ctx) {
		return reply{}, errMisdirected
	}
	if err := s.authorize(r, rt); err != nil {
		return reply{}, err
	}
	if err := s.admit(r, rt); err != nil {
		return reply{}, err
	}
	if err := s.announce(r, rt); err != nil {
		return reply{}, err
	}
	if rt.access == proxied { // the rest of the request is none of our business
		return rt.handle(s, r)
	}
	if err := r.readBody(rt.bodyLimit()); err != nil {
		return reply{}, err
	}
	if rt.strictQuery() {
		if err := r.parseQuery(rt.params); err != nil {
			return reply{}, err
		}
	}
	return rt.handle(s, r)
}

// refuse answers what fasthttp could not read.
func (s *Server) refuse(ctx *fasthttp.RequestCtx, err error) {
	p := brokenRequest(err)
	r := s.requests.get(ctx)
	defer r.release()
	r.id = r.ids.next(time.Now()) // its headers may be half read
	r.connection().linger = true
	s.log.Debug("broken request", "code", p.code, "peer", ctx.RemoteAddr(), "request_id", string(r.id))
	r.fail(p)
	s.broken.Observe(r.stripe, p.status, 0)
}
