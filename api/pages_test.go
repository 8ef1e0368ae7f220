package api_test

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"tokend/api"
)

func TestReadyz(t *testing.T) {
	for _, c := range []struct {
		name   string
		fail   func(*server)
		status int
		want   string
	}{
		{"ready", func(*server) {}, 200, `{"status":"ready","writable":true}`},
		{"a full disk", func(s *server) { s.free.Store(0) }, 200, `{"status":"ready","writable":false,"reason":"storage_full"}`},
		{"a store that is gone", func(s *server) { do(s.t, s.store.Close()) }, 503, `{"status":"failed","writable":false,"reason":"the store cannot be read"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			c.fail(s)
			defer s.free.Store(1 << 40)
			a := s.askAs("", "GET", "/readyz", "")
			if a.status != c.status || strings.TrimSpace(a.body) != c.want {
				t.Errorf("%d %s", a.status, a.body)
			}
			if a := s.askAs("", "GET", "/healthz", ""); a.status != 200 {
				t.Errorf("healthz: %d", a.status)
			}
		})
	}
}

// While the disk lacks room, changes are refused and reads go on.
func TestFullDisk(t *testing.T) {
	s := newServer(t)
	s.create(`{"name":"x"}`)
	s.free.Store(0)
	for _, request := range [][3]string{
		{"POST", "/_/token", `{"name":"new"}`}, {"PUT", "/_/token", `{"name":"x","write":false}`}, {"DELETE", "/_/token?name=x", ""},
	} {
		expectProblem(t, s.ask(request[0], request[1], request[2]), 507, "storage_full", "")
	}
	for _, target := range []string{"/_/token", "/_/token?name=x", "/_/token/value?name=x"} {
		if a := s.ask("GET", target, ""); a.status != 200 {
			t.Errorf("%s: %d", target, a.status)
		}
	}
	s.free.Store(1 << 40)
	if a := s.ask("POST", "/_/token", `{"name":"new"}`); a.status != 201 {
		t.Error("room does not heal it")
	}
}

// On loopback, pages without a token answer only a Host that means this machine.
func TestHostRule(t *testing.T) {
	s := newServer(t, func(c *api.Settings) { c.AllowedHosts = []string{"monitor.example"} })
	for _, c := range []struct {
		host string
		ok   bool
	}{
		{"localhost", true}, {"LOCALHOST:8470", true}, {"127.0.0.1", true}, {"127.0.0.1:8470", true}, {"[::1]:8470", true}, {"[::1]", true},
		{"192.0.2.1", true}, {"monitor.example", true}, {"Monitor.Example:80", true},
		{"evil.example", false}, {"evil.example:8470", false}, {"127.0.0.1.evil.example", false}, {"localhost.evil.example", false},
		{"monitor.example.evil.example", false}, {"0x7f000001", false}, {"localhost.", false},
	} {
		for _, path := range []string{"/", "/metrics", "/version", "/openapi.yaml"} {
			a := s.raw("GET " + path + " HTTP/1.1\r\nHost: " + c.host + "\r\nConnection: close\r\n\r\n")
			want := "HTTP/1.1 200 "
			if !c.ok {
				want = "HTTP/1.1 421 "
			}
			if !strings.HasPrefix(a, want) {
				t.Errorf("%s at %q: %.60q", path, c.host, a)
			}
		}
		for _, path := range []string{"/healthz", "/readyz"} {
			if a := s.raw("GET " + path + " HTTP/1.1\r\nHost: " + c.host + "\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(a, "HTTP/1.1 200 ") {
				t.Errorf("%s at %q: %.60q", path, c.host, a)
			}
		}
	}
}

func TestMetrics(t *testing.T) {
	s := newServer(t)
	s.create(`{"name":"very-private-name"}`)
	s.ask("GET", "/_/token?name=very-private-name", "")
	s.ask("BREW", "/_/token", "")
	s.ask("GET", "/some/path", "")
	s.raw("nonsense\r\n\r\n")
	a := s.askAs("", "GET", "/metrics", "")
	for _, want := range []string{
		`tokend_http_requests_total{code="201",method="POST",route="/_/token"} 1`,
		`tokend_http_requests_total{code="200",method="GET",route="/_/token"} 1`,
		`tokend_http_requests_total{code="405",method="other",route="/_/token"} 1`,
		`tokend_http_requests_total{code="404",method="other",route="(unknown)"} 1`,
		`tokend_http_requests_total{code="400",method="other",route="(malformed)"} 1`,
		"tokend_http_requests_in_flight 1",
		"tokend_http_request_duration_seconds_bucket{route=\"/_/token\",le=\"0.001\"}",
	} {
		if !strings.Contains(a.body, want) {
			t.Errorf("%s is missing", want)
		}
	}
	for _, never := range []string{"very-private-name", "some/path", "BREW"} {
		if strings.Contains(a.body, never) {
			t.Errorf("%s is a label", never)
		}
	}
	if got := a.header.Get("Content-Type"); !strings.HasPrefix(got, "text/plain; version=0.0.4") {
		t.Errorf("content type %s", got)
	}
}

func TestFrontPage(t *testing.T) {
	s := newServer(t)
	t.Run("JSON for a program", func(t *testing.T) {
		a := s.askAs("", "GET", "/", "")
		if want := `{"name":"tokend","version":"1.2.3","health":{"status":"ready","writable":true},"api":"/openapi.yaml","ready":"/readyz","metrics":"/metrics"}` + "\n"; a.body != want {
			t.Errorf("got %s", a.body)
		}
	})
	t.Run("a page for a browser, which may load nothing", func(t *testing.T) {
		a := s.askAs("", "GET", "/", "", "Accept", "text/html,application/xhtml+xml")
		if !strings.Contains(a.body, "<h1>tokend 1.2.3</h1>") || !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") {
			t.Errorf("%v %s", a.header, a.body)
		}
		if !strings.HasPrefix(a.header.Get("Content-Security-Policy"), "default-src 'none';") {
			t.Errorf("policy %s", a.header.Get("Content-Security-Policy"))
		}
	})
	t.Run("its style is what the policy allows", func(t *testing.T) {
		a := s.askAs("", "GET", "/", "", "Accept", "text/html")
		_, style, _ := strings.Cut(a.body, "<style>")
		style, _, _ = strings.Cut(style, "</style>")
		hash := sha256.Sum256([]byte(style))
		if want := "style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "';"; len(style) < 50 || !strings.Contains(a.header.Get("Content-Security-Policy"), want) {
			t.Errorf("%s\n%s", a.header.Get("Content-Security-Policy"), style)
		}
		if strings.Contains(a.body, "style=") || strings.Contains(a.body, "<script") {
			t.Error("there is more that the policy does not allow")
		}
	})
	t.Run("the health", func(t *testing.T) {
		for _, c := range []struct {
			name, words, health string
			fail                func(*server)
		}{
			{"ready", "It is ready.", `{"status":"ready","writable":true}`, func(*server) {}},
			{"a full disk", "It verifies tokens, but takes no changes: storage_full.", `{"status":"ready","writable":false,"reason":"storage_full"}`,
				func(s *server) { s.free.Store(0) }},
			{"a store that is gone", "It is not ready: the store cannot be read.", `{"status":"failed","writable":false,"reason":"the store cannot be read"}`,
				func(s *server) { do(s.t, s.store.Close()) }},
		} {
			s := newServer(t)
			c.fail(s)
			if a := s.askAs("", "GET", "/", "", "Accept", "text/html"); a.status != 200 || !strings.Contains(a.body, c.words) {
				t.Errorf("%s: %d %s", c.name, a.status, a.body)
			}
			if a := s.askAs("", "GET", "/", ""); a.status != 200 || !strings.Contains(a.body, `"health":`+c.health) {
				t.Errorf("%s: %d %s", c.name, a.status, a.body)
			}
			s.free.Store(1 << 40)
		}
	})
	t.Run("the version", func(t *testing.T) {
		if a := s.askAs("", "GET", "/version", ""); a.body != `{"version":"1.2.3","revision":"abc","go":"go1"}`+"\n" {
			t.Error(a.body)
		}
	})
}
