package api

import (
	_ "embed"
	"strings"
	"sync/atomic"

	"github.com/valyala/fasthttp"
)

// state is what the process is doing.
type state struct{ v atomic.Int32 }

const (
	starting int32 = iota
	ready
	draining
)

func (s *state) set(v int32) { s.v.Store(v) }

func (s *state) is(v int32) bool { return s.v.Load() == v }

type readiness struct {
	Status   string `json:"status"`
	Writable bool   `json:"writable"`
	Reason   string `json:"reason,omitzero"`
}

func (s *Server) healthz(*request) (reply, error) {
	return reply{plain: map[string]string{"status": "ok"}}, nil
}

// readyz is 200 while tokens can be looked up, which a real read shows.
func (s *Server) readyz(r *request) (reply, error) {
	unready := func(status, reason string) (reply, error) {
		return reply{status: fasthttp.StatusServiceUnavailable, plain: readiness{Status: status, Reason: reason}}, nil
	}
	switch s.state.v.Load() {
	case starting:
		return unready("starting", "the server is starting")
	case draining:
		return unready("draining", "the server is stopping")
	}
	if err := s.Store.Ping(); err != nil {
		s.Log.Error("the store cannot be read", "request_id", string(r.id), "err", err)
		return unready("failed", "the store cannot be read")
	}
	if err := s.Store.Writable(); err != nil {
		p, _ := problemOf(err)
		return reply{plain: readiness{Status: "ready", Reason: p.code}}, nil
	}
	return reply{plain: readiness{Status: "ready", Writable: true}}, nil
}

func (s *Server) version(*request) (reply, error) {
	return reply{plain: versionView{s.Build.Version, s.Build.Revision, s.Build.Go}}, nil
}

type versionView struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Go       string `json:"go"`
}

//go:embed openapi.yaml
var openAPIDocument string

func (s *Server) openAPI(*request) (reply, error) {
	return reply{kind: "application/yaml", text: openAPIDocument}, nil
}

func (s *Server) scrape(r *request) (reply, error) {
	s.scraper(r.ctx)
	return reply{written: true}, nil
}

//go:embed page.html
var page string

// frontPage shows a person where to look, and a program the same as JSON.
func (s *Server) frontPage(r *request) (reply, error) {
	if !strings.Contains(string(r.ctx.Request.Header.Peek(fasthttp.HeaderAccept)), "text/html") {
		return reply{plain: frontView{"tokend", s.Build.Version, "/openapi.yaml", "/readyz", "/metrics"}}, nil
	}
	h := &r.ctx.Response.Header
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	return reply{kind: "text/html; charset=utf-8", text: strings.ReplaceAll(page, "{{version}}", s.Build.Version)}, nil
}

type frontView struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	API     string `json:"api"`
	Ready   string `json:"ready"`
	Metrics string `json:"metrics"`
}
