package api

import (
	"cmp"
	"errors"
	"time"

	"github.com/valyala/fasthttp"

	"tokend/kv"
	"tokend/metrics"
)

// otherMethod is the label of methods that a path does not have: what clients
// send is open-ended, and labels must not be.
const otherMethod = "other"

// recorder records a route's answers.
func (s *Server) recorder(rt *route) func(*request, time.Duration) {
	if rt.operation != "" {
		s.metrics.Manages(rt.operation)
	}
	usual := []int{cmp.Or(rt.usual, fasthttp.StatusOK)}
	switch rt.access {
	case readAdmin, writeAdmin, holder, proxied:
		usual = append(usual, fasthttp.StatusUnauthorized, fasthttp.StatusForbidden, fasthttp.StatusInternalServerError, fasthttp.StatusServiceUnavailable)
	case introspector, scraper:
		usual = append(usual, fasthttp.StatusUnauthorized)
	case anyone:
	}
	byMethod := s.metrics.Route(cmp.Or(rt.method, otherMethod), rt.path, usual...)
	head := byMethod
	if rt.method == fasthttp.MethodGet {
		head = s.metrics.Route(fasthttp.MethodHead, rt.path)
	}
	return func(r *request, took time.Duration) {
		if r.ctx.IsHead() {
			head.Observe(r.stripe, r.ctx.Response.StatusCode(), took)
		} else {
			byMethod.Observe(r.stripe, r.ctx.Response.StatusCode(), took)
		}
	}
}

// count counts what was asked beside the request itself.
func (s *Server) count(r *request, rt *route) {
	if r.verified {
		s.metrics.Verified(r.stripe, r.verdict)
	}
	if rt.operation != "" {
		s.metrics.Managed(rt.operation, r.outcome())
	}
}

// outcome is what became of a management call.
func (r *request) outcome() string {
	switch {
	case r.failed != "":
		return r.failed
	case r.audited.begun:
		return "begun"
	}
	return metrics.Done
}

// recordVerdict notes how the verification of what was presented ended.
func (r *request) recordVerdict(err error) {
	if errors.Is(err, errNoToken) { // nothing was presented
		return
	}
	r.verified, r.verdict = true, verdictOf(err)
}

func verdictOf(err error) metrics.Result {
	if err == nil {
		return metrics.Valid
	}
	if refused, ok := errors.AsType[*kv.InvalidTokenError](err); ok {
		switch refused.Reason {
		case kv.ReasonUnknown:
			return metrics.InvalidUnknown
		case kv.ReasonExpired:
			return metrics.InvalidExpired
		case kv.ReasonInactive:
			return metrics.InvalidInactive
		case kv.ReasonMalformed:
		}
		return metrics.InvalidMalformed
	}
	if errors.Is(err, kv.ErrInvalidToken) || errors.Is(err, errTwoTokens) { // refused before it was looked up
		return metrics.InvalidMalformed
	}
	return metrics.Failed
}

// accesses are what is counted of those that are refused for who they are.
var accesses = map[access]metrics.Access{
	readAdmin:    metrics.Management,
	writeAdmin:   metrics.Management,
	holder:       metrics.Verification,
	proxied:      metrics.Verification,
	introspector: metrics.Introspection,
	scraper:      metrics.Scrape,
}

// countRefusal counts a request that was refused for who asks.
func (s *Server) countRefusal(rt *route, err error) {
	if access, ok := accesses[rt.access]; ok {
		if kind, ok := authFailureKind(err); ok {
			s.metrics.AuthenticationFailed(access, kind)
		}
	}
}

// authFailureKind is what was wrong with who asked, if that was.
func authFailureKind(err error) (kind metrics.Kind, ok bool) {
	if errors.Is(err, kv.ErrInvalidToken) {
		if verdictOf(err) == metrics.InvalidMalformed {
			return metrics.Malformed, true
		}
		return metrics.Invalid, true
	}
	p, ok := errors.AsType[*problem](err)
	if !ok {
		return 0, false
	}
	switch p {
	case errUnauthorized, errNotLocalAdmin, errNoToken, errNoCaller:
		return metrics.Missing, true
	case errMalformed, errTwoTokens:
		return metrics.Malformed, true
	case errBasic:
		return metrics.Invalid, true
	case errIssuedToken, errReadOnlyAdmin, errReadOnlyToken:
		return metrics.Scope, true
	}
	return 0, false
}
