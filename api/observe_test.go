package api_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokend/api"
	"tokend/kv"
	"tokend/metrics"
)

// series are the values of all series as a scrape has them.
func (s *server) series() map[string]float64 {
	s.t.Helper()
	a := s.askAs("", "GET", "/metrics", "")
	if a.status != 200 {
		s.t.Fatal(a.body)
	}
	all := map[string]float64{}
	for line := range strings.Lines(a.body) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		cut := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(strings.TrimSpace(line[cut:]), 64)
		do(s.t, err)
		all[line[:cut]] = value
	}
	return all
}

// expectIncrease says how much series of a family have grown since before; others of
// it have not.
func expectIncrease(t *testing.T, family string, before, after map[string]float64, want map[string]float64) {
	t.Helper()
	for series, value := range after {
		labels, ok := strings.CutPrefix(series, family+"{")
		if labels = strings.TrimSuffix(labels, "}"); ok && value-before[series] != want[labels] {
			t.Errorf("%s: %+v, want %+v", series, value-before[series], want[labels])
		}
	}
	for labels := range want {
		if _, ok := after[family+"{"+labels+"}"]; !ok {
			t.Errorf("%s{%s} is missing", family, labels)
		}
	}
}

// expectCounted says what of a request is counted: how the verification ended and
// what was wrong with who asks, or nothing of either.
func (s *server) expectCounted(t *testing.T, access, result, kind string, ask func()) {
	t.Helper()
	before := s.series()
	ask()
	after := s.series()
	results, failures := map[string]float64{}, map[string]float64{}
	if result != "" {
		results[`result="`+result+`"`] = 1
	}
	if kind != "" {
		failures[`access="`+access+`",kind="`+kind+`"`] = 1
	}
	expectIncrease(t, "tokend_verifications_total", before, after, results)
	expectIncrease(t, "tokend_authentication_failures_total", before, after, failures)
}

func TestVerificationsAreCounted(t *testing.T) {
	s := newServer(t)
	writer := s.create(`{"name":"writer"}`)
	reader := s.create(`{"name":"reader","write":false}`)
	inactive := s.create(`{"name":"inactive","active":false}`)
	expired := s.create(fmt.Sprintf(`{"name":"expired","expiration_date":%d}`, s.store.Clock.Now().Add(time.Second).UnixMilli()))
	s.store.Clock.Advance(time.Minute)
	unknown := kv.NewValue("tkd").Reveal()

	for _, c := range []struct {
		name          string
		authorization string
		target        string
		headers       []string
		result, kind  string // empty: none is counted
	}{
		{"valid", "Bearer " + writer, "/_/token/verify?need=write", nil, "valid", ""},
		{"valid as a key", "", "/_/auth/read", []string{"X-API-Key", reader}, "valid", ""},
		{"for a proxy", "Bearer " + reader, "/_/auth/nginx", []string{"X-Original-Method", "GET"}, "valid", ""},
		{"may not write", "Bearer " + reader, "/_/token/verify?need=write", nil, "insufficient_scope", "insufficient_scope"},
		{"may not write, for a proxy", "Bearer " + reader, "/_/auth/write", nil, "insufficient_scope", "insufficient_scope"},
		{"unknown", "Bearer " + unknown, "/_/token/verify", nil, "invalid_unknown", "invalid"},
		{"inactive", "Bearer " + inactive, "/_/auth/read", nil, "invalid_inactive", "invalid"},
		{"expired", "Bearer " + expired, "/_/auth/read", nil, "invalid_expired", "invalid"},
		{"malformed", "Bearer x", "/_/auth/read", nil, "invalid_malformed", "malformed"},
		{"no one token", "Bearer a b", "/_/auth/read", nil, "invalid_malformed", "malformed"},
		{"two tokens", "Bearer " + writer, "/_/token/verify", []string{"X-API-Key", writer}, "invalid_malformed", "malformed"},
		{"two tokens, for a proxy", "Bearer " + writer, "/_/auth/read", []string{"X-API-Key", writer}, "invalid_malformed", "malformed"},
		{"none", "", "/_/auth/read", nil, "", "missing"},
		{"another scheme", "Basic eDp5", "/_/token/verify", nil, "", "missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.expectCounted(t, "verification", c.result, c.kind, func() {
				s.askAs(c.authorization, "GET", c.target, "", c.headers...)
			})
		})
	}
}

// Of an introspection the token that it is about is counted, not the caller's.
func TestIntrospectionsAreCounted(t *testing.T) {
	s := newServer(t)
	value := s.create(`{"name":"x"}`)
	for _, c := range []struct {
		name, authorization, body, result, kind string
	}{
		{"valid", "Bearer " + adminToken, "token=" + value, "valid", ""},
		{"malformed, asked by a holder", "Bearer " + value, "token=x", "invalid_malformed", ""},
		{"no caller", "", "token=" + value, "", "missing"},
		{"a wrong caller", "Bearer " + kv.NewValue("tkd").Reveal(), "token=" + value, "", "invalid"},
		{"a wrong password", "Basic " + base64.StdEncoding.EncodeToString([]byte("x:wrong")), "token=" + value, "", "invalid"},
		{"no token", "Bearer " + adminToken, "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.expectCounted(t, "introspection", c.result, c.kind, func() {
				s.askAs(c.authorization, "POST", "/_/token/introspect", c.body)
			})
		})
	}
}

func TestManagementIsCounted(t *testing.T) {
	s := newServer(t)
	issued := s.create(`{"name":"x"}`)
	before := s.series()
	s.ask("POST", "/_/token", `{"name":"x"}`)
	s.ask("POST", "/_/token", `{"name":"y"}`)
	s.ask("GET", "/_/token", "")
	s.askAs("Bearer "+issued, "DELETE", "/_/token?name=x", "")
	s.askAs("", "DELETE", "/_/token?name=x", "")
	s.askAs("Bearer", "DELETE", "/_/token?name=x", "")
	s.askAs("Bearer "+readerToken, "DELETE", "/_/token?name=x", "")
	s.askAs("Bearer "+kv.NewValue("tkd").Reveal(), "DELETE", "/_/token?name=x", "")
	s.ask("OPTIONS", "/_/token", "")
	after := s.series()
	expectIncrease(t, "tokend_management_calls_total", before, after, map[string]float64{
		`operation="create",outcome="done"`:               1,
		`operation="create",outcome="name_taken"`:         1,
		`operation="list",outcome="begun"`:                1,
		`operation="delete",outcome="unauthorized"`:       1,
		`operation="delete",outcome="insufficient_scope"`: 2,
		`operation="delete",outcome="invalid_token"`:      1,
		`operation="delete",outcome="invalid_request"`:    1,
	})
	expectIncrease(t, "tokend_authentication_failures_total", before, after, map[string]float64{
		`access="management",kind="missing"`:            1,
		`access="management",kind="malformed"`:          1,
		`access="management",kind="invalid"`:            1,
		`access="management",kind="insufficient_scope"`: 2,
	})
	expectIncrease(t, "tokend_verifications_total", before, after, nil)
}

func TestAuditFailuresAreCounted(t *testing.T) {
	s := newServer(t, func(c *api.Settings) { c.Audit = api.Audit{Handler: brokenHandler{}} })
	s.ask("GET", "/_/token?name=x", "")
	if n := s.series()["tokend_audit_failures_total"]; n != 1 {
		t.Errorf("%v failures of one call", n)
	}
}

type brokenHandler struct{ slog.Handler }

func (brokenHandler) Handle(context.Context, slog.Record) error { return errors.New("broken") }

func TestBytesAreCounted(t *testing.T) {
	s := newServer(t)
	before := s.series()
	const request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
	received, sent := len(request), len(s.raw(request))
	between := s.series()
	after := s.series() // as long as the one before
	for name, want := range map[string]int{"tokend_received_bytes_total": received, "tokend_sent_bytes_total": sent} {
		scrape := after[name] - between[name]
		// The scrapes differ in length by what their numbers have more digits.
		if got := between[name] - before[name] - scrape; got < float64(want)-60 || got > float64(want)+60 {
			t.Errorf("%s: %v, want some %d", name, got, want)
		}
	}
}

// serveMetrics opens a listener for metrics and gives its address.
func (s *server) serveMetrics() string {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	do(s.t, err)
	go func() { _ = s.ServeMetrics(l) }() // until the server shuts down
	return l.Addr().String()
}

func TestServeMetrics(t *testing.T) {
	s := newServer(t, func(c *api.Config) { c.MetricsApart = true })
	apart := s.serveMetrics()
	for _, c := range []struct {
		method, path string
		usual, apart int
	}{
		{method: "GET", path: "/metrics", usual: 404, apart: 200},
		{method: "HEAD", path: "/metrics", usual: 404, apart: 200},
		{method: "POST", path: "/metrics", usual: 404, apart: 405},
		{method: "OPTIONS", path: "/metrics", usual: 404, apart: 204},
		{method: "GET", path: "/healthz", usual: 200, apart: 200},
		{method: "GET", path: "/readyz", usual: 200, apart: 200},
		{method: "GET", path: "/", usual: 200, apart: 404},
		{method: "GET", path: "/version", usual: 200, apart: 404},
		{method: "GET", path: "/openapi.yaml", usual: 200, apart: 404},
		{method: "GET", path: "/_/token", usual: 200, apart: 404},
		{method: "OPTIONS", path: "/_/token", usual: 204, apart: 404},
		{method: "GET", path: "/_/auth/read", usual: 401, apart: 404},
		{method: "GET", path: "/_/auth/envoy/", usual: 401, apart: 404},
		{method: "GET", path: "/nowhere", usual: 404, apart: 404},
	} {
		if a := s.ask(c.method, c.path, ""); a.status != c.usual {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, a.status, c.usual)
		}
		address := s.address
		s.address = apart
		a := s.raw(c.method + " " + c.path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		s.address = address
		if !strings.HasPrefix(a, fmt.Sprintf("HTTP/1.1 %d ", c.apart)) {
			t.Errorf("%s %s, apart: %.20s, want %d", c.method, c.path, a, c.apart)
		}
	}
	address := s.address
	s.address = apart
	if a := s.raw("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); !strings.Contains(a, "this address has only /metrics, /healthz and /readyz") {
		t.Errorf("it does not say what is there: %s", a)
	}
	s.address = address
	if a := s.ask("GET", "/", ""); strings.Contains(a.body, "metrics") {
		t.Errorf("the front page leads to metrics: %s", a.body)
	}
	if a := s.askAs("", "GET", "/", "", "Accept", "text/html"); strings.Contains(a.body, "/metrics") {
		t.Errorf("the front page leads to metrics: %s", a.body)
	}
}

// A crowd of others does not keep those who watch away.
func TestServeMetrics_crowd(t *testing.T) {
	s := newServer(t, func(c *api.Config) { c.MetricsApart = true }, func(c *api.Settings) { c.MaxConnections = 2 })
	apart := s.serveMetrics()
	for range 2 {
		c, err := net.Dial("tcp", s.address)
		do(t, err)
		defer func() { do(t, c.Close()) }()
		_, err = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
		do(t, err)
		_, err = c.Read(make([]byte, 1))
		do(t, err)
	}
	for range 3 {
		if a := s.raw("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(a, "HTTP/1.1 503 ") {
			t.Fatalf("there is room: %s", a)
		}
	}
	if n := strings.Count(s.log.String(), "connection limit reached"); n != 1 {
		t.Errorf("it is said %d times", n)
	}
	s.address = apart
	series := s.series()
	for name, want := range map[string]float64{"tokend_connections": 2, "tokend_connections_limit": 2, "tokend_connections_refused_total": 3} {
		if series[name] != want {
			t.Errorf("%s is %v, want %v", name, series[name], want)
		}
	}
}

// Who watches keeps nobody else away either.
func TestServeMetrics_watchers(t *testing.T) {
	s := newServer(t, func(c *api.Config) { c.MetricsApart = true }, func(c *api.Settings) { c.MaxConnections = 2 })
	apart := s.serveMetrics()
	hold := func() (answer string) {
		c, err := net.Dial("tcp", apart)
		do(t, err)
		t.Cleanup(func() { do(t, c.Close()) })
		_, err = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
		do(t, err)
		begin := make([]byte, len("HTTP/1.1 200"))
		_, err = io.ReadFull(c, begin)
		do(t, err)
		return string(begin)
	}
	for i := range 20 {
		want := "HTTP/1.1 200"
		if i >= 16 {
			want = "HTTP/1.1 503"
		}
		if got := hold(); got != want {
			t.Errorf("watcher %d: %s", i, got)
		}
	}
	for range 3 {
		if a := s.raw("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(a, "HTTP/1.1 200 ") {
			t.Errorf("others are refused: %s", a)
		}
	}
	for line, want := range map[string]int{"limit=16 for_metrics=true": 1, "for_metrics=false": 0} {
		if n := strings.Count(s.log.String(), line); n != want {
			t.Errorf("the log has %s %d times, want %d", line, n, want)
		}
	}
}

// What is not served on an address is no management call there.
func TestServeMetrics_management(t *testing.T) {
	var log logBuffer
	s := newServer(t, func(c *api.Config) { c.MetricsApart = true }, func(c *api.Settings) {
		c.Audit = api.Audit{Handler: slog.NewTextHandler(&log, nil)}
	})
	s.address = s.serveMetrics()
	before := s.series()
	s.raw("GET /_/token HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer " + adminToken + "\r\n\r\n")
	expectIncrease(t, "tokend_management_calls_total", before, s.series(), nil)
	if log.String() != "" {
		t.Errorf("it is in the audit: %s", &log)
	}
}

// Scrapes wait for each other, so that a crowd of them takes one core at most.
func TestScrapesTakeTurns(t *testing.T) {
	var now, most atomic.Int32
	s := newServer(t, func(c *api.Config) {
		c.Metrics.RegisterSnapshot(func() (state metrics.Snapshot) {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(5 * time.Millisecond)
			now.Add(-1)
			return state
		})
	})
	var scrapes sync.WaitGroup
	for range 8 {
		scrapes.Go(func() {
			if a := s.raw("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); !strings.Contains(a, "tokend_ready 0") {
				t.Errorf("no scrape: %.100s", a)
			}
		})
	}
	scrapes.Wait()
	if most.Load() != 1 {
		t.Errorf("%d at once", most.Load())
	}
}

func TestMetricsToken(t *testing.T) {
	s := newServer(t)
	value := s.create(`{"name":"prometheus","write":false}`)
	before := s.series()
	settings := s.settings
	settings.MetricsToken = true
	s.Apply(settings)
	for _, c := range []struct {
		authorization string
		headers       []string
		status        int
		code          string
	}{
		{"", nil, 401, "unauthorized"},
		{"Bearer " + kv.NewValue("tkd").Reveal(), nil, 401, "invalid_token"},
		{"Bearer " + adminToken, nil, 401, "invalid_token"},
		{"Bearer " + value, []string{"X-API-Key", value}, 400, "invalid_request"},
		{"Bearer " + value, nil, 200, ""},
		{"", []string{"X-API-Key", value}, 200, ""},
	} {
		a := s.askAs(c.authorization, "GET", "/metrics", "", c.headers...)
		if a.status != c.status || c.code != "" && a.problem(t).Code != c.code {
			t.Errorf("%.12s %.10s: %d %.200s", c.authorization, c.headers, a.status, a.body)
		}
		if c.status != 200 && strings.Contains(a.body, "tokend_") {
			t.Error("a refusal tells metrics")
		}
	}
	if got := s.ask("GET", "/_/token?name=prometheus", "").data(t)[0]["last_used_at"]; got == nil {
		t.Error("the scrape does not count as a use")
	}
	for _, path := range []string{"/healthz", "/readyz", "/version", "/"} {
		if a := s.askAs("", "GET", path, ""); a.status != 200 {
			t.Errorf("%s needs a token: %d", path, a.status)
		}
	}
	s.Apply(s.settings)
	after := s.series()
	expectIncrease(t, "tokend_authentication_failures_total", before, after, map[string]float64{
		`access="metrics",kind="missing"`:   1,
		`access="metrics",kind="malformed"`: 1,
		`access="metrics",kind="invalid"`:   2,
	})
	expectIncrease(t, "tokend_verifications_total", before, after, nil)
}
