package api_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"tokend/kv"
	"tokend/kv/kvtest"
)

// checks are the proxies' paths, with the way in which each tells the original
// method. Where none is told, the path decides.
var checks = []struct {
	path  string
	needs func(method string) (sent string, headers []string)
}{
	{"/_/auth/nginx", func(m string) (string, []string) { return "GET", []string{"X-Original-Method", m} }},
	{"/_/auth/forward", func(m string) (string, []string) { return "GET", []string{"X-Forwarded-Method", m} }},
	{"/_/auth/envoy", func(m string) (string, []string) { return m, nil }},
	{"/_/auth/envoy/", func(m string) (string, []string) { return m, nil }},
	{"/_/auth/envoy/some/path", func(m string) (string, []string) { return m, nil }},
}

func TestForwardAuth_methods(t *testing.T) {
	s := newServer(t)
	values := issued(t, s)
	for _, c := range checks {
		for method, safe := range map[string]bool{
			"GET": true, "HEAD": true, "OPTIONS": true,
			"POST": false, "PUT": false, "PATCH": false, "DELETE": false, "TRACE": false, "CONNECT": false,
			"get": false, "Get": false, "PROPFIND": false, "GETX": false, "G": false, "M-SEARCH": false,
		} {
			if method == "CONNECT" && strings.Contains(c.path, "envoy") {
				continue // its target is no path
			}
			sent, headers := c.needs(method)
			t.Run(c.path+" "+method, func(t *testing.T) {
				if a := s.askAs("Bearer "+values["good"], sent, c.path, "", headers...); a.status != 200 {
					t.Errorf("good: %d %s", a.status, a.body)
				} else {
					expectIdentity(t, a, "good", "true")
				}
				want, challenge := 403, needsWrite
				if safe {
					want, challenge = 200, ""
				}
				expectRefusal(t, s.askAs("Bearer "+values["reader"], sent, c.path, "", headers...), want, challenge)
			})
		}
	}
	t.Run("fixed", func(t *testing.T) {
		for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS", "DELETE", "BREW"} {
			for _, c := range []struct {
				path, token string
				status      int
				challenge   string
			}{
				{"/_/auth/read", "reader", 200, ""}, {"/_/auth/read", "good", 200, ""},
				{"/_/auth/write", "reader", 403, needsWrite}, {"/_/auth/write", "good", 200, ""},
			} {
				expectRefusal(t, s.askAs("Bearer "+values[c.token], method, c.path, ""), c.status, c.challenge)
			}
		}
	})
	t.Run("a method that is not told for sure needs write", func(t *testing.T) {
		for _, c := range []struct {
			path    string
			headers []string
		}{
			{"/_/auth/nginx", nil},
			{"/_/auth/nginx", []string{"X-Original-Method", ""}},
			{"/_/auth/nginx", []string{"X-Original-Method", "GET", "X-Original-Method", "GET"}},
			{"/_/auth/nginx", []string{"X-Original-Method", "GET", "x-original-method", "POST"}},
			{"/_/auth/nginx", []string{"X-Original-Method", "GET, POST"}},
			{"/_/auth/nginx", []string{"X-Original-Method", "GET\x80"}},
			{"/_/auth/nginx", []string{"X-Forwarded-Method", "GET"}},
			{"/_/auth/nginx", []string{"X_Original_Method", "GET"}},
			{"/_/auth/forward", nil},
			{"/_/auth/forward", []string{"X-Original-Method", "GET"}},
			{"/_/auth/forward", []string{"X-Forwarded-Method", "GET", "X-Forwarded-Method", "GET"}},
			{"/_/auth/forward", []string{"X-HTTP-Method-Override", "GET", "X-Forwarded-Method", "POST"}},
		} {
			expectRefusal(t, s.askAs("Bearer "+values["reader"], "GET", c.path, "", c.headers...), 403, needsWrite)
		}
		for _, headers := range [][]string{{"X-Original-Method", "GET"}, {"X-Forwarded-Method", "GET"}} {
			expectRefusal(t, s.askAs("Bearer "+values["reader"], "POST", "/_/auth/envoy/x", "", headers...), 403, needsWrite)
			expectRefusal(t, s.askAs("Bearer "+values["reader"], "GET", "/_/auth/write", "", headers...), 403, needsWrite)
		}
	})
}

// Whatever is not good is 401, and the challenges are those of verification.
func TestForwardAuth_refusals(t *testing.T) {
	s := newServer(t)
	values := issued(t, s)
	paths := []string{"/_/auth/read", "/_/auth/write"}
	for _, c := range checks {
		paths = append(paths, c.path)
	}
	for _, path := range paths {
		t.Run(path, func(t *testing.T) {
			for _, headers := range append(blank(), []string{"Authorization", "Basic eDp5"}) {
				expectRefusal(t, s.askAs("", "GET", path, "", headers...), 401, realm)
				a := s.askAs("", "GET", path, "", append(headers, "X-API-Key", values["good"], "X-Original-Method", "GET", "X-Forwarded-Method", "GET")...)
				expectRefusal(t, a, 200, "")
			}
			expectAlike(t, s, path, append(notGood(values), doubled(values["good"])...))
		})
	}
}

// Proxies pass the client's own query along: nothing in it may decide.
func TestForwardAuth_ignoresTheQuery(t *testing.T) {
	s := newServer(t)
	values := issued(t, s)
	for _, query := range []string{
		"?need=read", "?need=read&need=write", "?", "?&", "?=", "?%zz", "?x=1;y=2", "?name=%00", "?" + strings.Repeat("a=b&", 3000),
		"?method=GET&X-Original-Method=GET&access_token=" + values["good"],
	} {
		for _, path := range []string{"/_/auth/nginx", "/_/auth/forward", "/_/auth/write"} {
			expectRefusal(t, s.askAs("Bearer "+values["reader"], "GET", path+query, ""), 403, needsWrite)
			expectRefusal(t, s.askAs("", "GET", path+query, ""), 401, realm)
			expectRefusal(t, s.askAs("Bearer "+values["good"], "GET", path+query, ""), 200, "")
		}
		expectRefusal(t, s.askAs("Bearer "+values["reader"], "POST", "/_/auth/envoy/x"+query, ""), 403, needsWrite)
		expectRefusal(t, s.askAs("Bearer "+values["reader"], "GET", "/_/auth/envoy/x"+query, ""), 200, "")
	}
}

// Everything beneath /_/auth/envoy is Envoy's, byte by byte, and nothing in it
// leads elsewhere.
func TestForwardAuth_envoyPaths(t *testing.T) {
	s := newServer(t)
	values := issued(t, s)
	for _, path := range []string{
		"", "/", "//", "///a", "/.", "/..", "/../..", "/../../healthz", "/../../_/token", "/a/../../../metrics", "/./x", "/a//b",
		"/%2e%2e", "/%2e%2e/%2e%2e/healthz", "/%2F", "/%", "/%zz", "/%00", "/é", "/\x80\xff", "/a\\b", "/{x}", "/*", "/:id", "/;a=b",
		"/_/token", "/_/auth/read", "/#", "/#fragment", "/a#b?c#d", "/" + strings.Repeat("x", 15<<10), "/" + strings.Repeat("../", 5<<10),
		"/" + strings.Repeat("/", 15<<10), "/a?b#c", "?", "?#", "#",
	} {
		for _, c := range []struct {
			token, method, want string
		}{
			{"good", "GET", "200"}, {"good", "DELETE", "200"}, {"reader", "GET", "200"}, {"reader", "POST", "403"}, {"unknown", "GET", "401"}, {"", "GET", "401"},
		} {
			credential := ""
			if c.token != "" {
				credential = "Authorization: Bearer " + values[c.token] + "\r\n"
			}
			got := s.raw(c.method + " /_/auth/envoy" + path + " HTTP/1.1\r\nHost: x\r\n" + credential + "Connection: close\r\nContent-Length: 0\r\n\r\n")
			if !strings.HasPrefix(got, "HTTP/1.1 "+c.want+" ") {
				t.Errorf("%s %.40q as %s: %.300s", c.method, path, c.token, got)
			}
			if c.want != "200" && strings.Contains(got, "X-Token-") {
				t.Errorf("a refusal identifies somebody: %s", got)
			}
		}
	}
	t.Run("what only begins alike is not", func(t *testing.T) {
		for _, path := range []string{"/_/auth/envoyx", "/_/auth/Envoy", "/_/auth", "/_/auth/", "/_/auth/nginx/", "/_/auth/nginx/x", "/_/auth/forward/x", "/_/auth/read/", "//_/auth/envoy", "/_/../_/auth/envoy"} {
			if got := s.raw("GET " + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + values["good"] + "\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 404 ") {
				t.Errorf("%s: %.200s", path, got)
			}
		}
	})
}

// A proxy that sends the client's body along, of whatever size, gets its answer
// all the same.
func TestForwardAuth_bodies(t *testing.T) {
	s := newServer(t)
	values := issued(t, s)
	for _, size := range []int{1, 64 << 10, 64<<10 + 1, 1 << 20} {
		for _, path := range []string{"/_/auth/nginx", "/_/auth/forward", "/_/auth/envoy/x", "/_/auth/write"} {
			body := strings.Repeat("x", size)
			expectRefusal(t, s.askAs("Bearer "+values["good"], "POST", path, body), 200, "")
			expectRefusal(t, s.askAs("Bearer "+values["reader"], "POST", path, body), 403, needsWrite)
			expectRefusal(t, s.askAs("", "POST", path, body), 401, realm)
		}
		got := s.raw(fmt.Sprintf("POST /_/auth/write HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n",
			values["good"], size, strings.Repeat("x", size)))
		if !strings.HasPrefix(got, "HTTP/1.1 200 ") {
			t.Errorf("chunked: %.200s", got)
		}
	}
}

// What goes wrong inside is 503, with which every proxy refuses.
func TestForwardAuth_failures(t *testing.T) {
	var value kv.Value
	s := newServer(t, func(store *kvtest.Store) {
		var err error
		_, value, err = store.Create(context.Background(), kv.Spec{Name: "x", Active: true, Write: true})
		do(t, err)
		store.Damage("x")
	})
	expect := func(want string) {
		t.Helper()
		for _, path := range []string{"/_/auth/read", "/_/auth/nginx", "/_/auth/forward", "/_/auth/envoy/x"} {
			a := s.askAs("Bearer "+value.Reveal(), "GET", path, "")
			expectRefusal(t, a, 503, "")
			if p := a.problem(t); p.Code != want {
				t.Error(a.body)
			}
		}
	}
	expect("internal")
	if a := s.askAs("Bearer "+value.Reveal(), "GET", "/_/token/verify", ""); a.status != 500 || a.problem(t).Code != "internal" {
		t.Errorf("verify: %d %s", a.status, a.body)
	}
	if !strings.Contains(s.log.String(), "the store is damaged") {
		t.Errorf("the log does not say why:\n%s", s.log)
	}
	do(t, s.store.Close())
	expect("shutting_down")
}
