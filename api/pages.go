package api

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html"
	"strings"

	"tokend/api/wire"

	"github.com/valyala/fasthttp"
)

func (s *Server) healthz(*request) (reply, error) {
	return reply{plain: map[string]string{"status": "ok"}}, nil
}

// readyz is 200 while tokens can be looked up, which a real read shows.
func (s *Server) readyz(r *request) (reply, error) {
	readiness := s.logReadiness(r)
	if readiness.Status != "ready" {
		return reply{status: fasthttp.StatusServiceUnavailable, plain: readiness}, nil
	}
	return reply{plain: readiness}, nil
}

// IsReady reports whether tokens can be looked up.
func (s *Server) IsReady() bool {
	readiness, _ := s.readiness()
	return readiness.Status == "ready"
}

// logReadiness is readiness, and the log has the cause where it is none.
func (s *Server) logReadiness(r *request) wire.Readiness {
	readiness, err := s.readiness()
	if err != nil {
		s.log.Error("the store cannot be read", "request_id", string(r.id), "err", err)
	}
	return readiness
}

func (s *Server) readiness() (wire.Readiness, error) {
	switch s.state.v.Load() {
	case starting:
		return wire.Readiness{Status: "starting", Reason: "the server is starting"}, nil
	case draining:
		return wire.Readiness{Status: "draining", Reason: "the server is stopping"}, nil
	}
	if err := s.store.Ping(context.Background()); err != nil {
		return wire.Readiness{Status: "failed", Reason: "the store cannot be read"}, err
	}
	if err := s.store.Writable(); err != nil {
		p, _ := problemOf(err)
		return wire.Readiness{Status: "ready", Reason: p.code}, nil
	}
	return wire.Readiness{Status: "ready", Writable: true}, nil
}

func (s *Server) version(*request) (reply, error) {
	return reply{plain: wire.Version{Version: s.build.Version, Revision: s.build.Revision, Go: s.build.Go}}, nil
}

//go:embed openapi.yaml
var openAPIDocument string

func (s *Server) openAPI(*request) (reply, error) {
	return reply{kind: "application/yaml", text: openAPIDocument}, nil
}

// scrape is for one at a time: it takes a hundred times as long as a verification,
// and a crowd of scrapers must not have more than one core.
func (s *Server) scrape(r *request) (reply, error) {
	s.scraping.Lock()
	defer s.scraping.Unlock()
	s.scraper(r.ctx)
	return reply{written: true}, nil
}

// page is filled in by hand: html/template would add 5 MB to the binary, since the linker then
// keeps every exported method.
//
//go:embed page.html
var page string

// pagePolicy lets a browser load nothing, and style the page as it says itself.
var pagePolicy = func() string {
	_, style, _ := strings.Cut(page, "<style>")
	style, _, _ = strings.Cut(style, "</style>")
	hash := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

// frontPage shows a person where to look, and a program the same as JSON.
func (s *Server) frontPage(r *request) (reply, error) {
	view := wire.Front{
		Name: "tokend", Version: s.build.Version, Health: s.logReadiness(r),
		API: "/openapi.yaml", Ready: "/readyz",
	}
	metricsLink := ""
	if !s.metricsApart {
		view.Metrics = wire.PathMetrics
		metricsLink = `<li><a href="/metrics">Metrics</a>, for Prometheus</li>`
	}
	r.ctx.Response.Header.Set(fasthttp.HeaderVary, fasthttp.HeaderAccept)
	if !strings.Contains(strings.ToLower(string(r.ctx.Request.Header.Peek(fasthttp.HeaderAccept))), "text/html") {
		return reply{plain: view}, nil
	}
	h := &r.ctx.Response.Header
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	return reply{kind: "text/html; charset=utf-8", text: strings.NewReplacer(
		"{{version}}", html.EscapeString(view.Version),
		"{{health}}", html.EscapeString(inWords(view.Health)),
		"{{metrics}}", metricsLink,
	).Replace(page)}, nil
}

func inWords(r wire.Readiness) string {
	switch {
	case r.Writable:
		return "It is ready."
	case r.Status == "ready":
		return "It verifies tokens, but takes no changes: " + r.Reason + "."
	}
	return "It is not ready: " + r.Reason + "."
}
